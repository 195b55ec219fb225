// The command stack runs the whole data's path: Kafka, Cassandra, Spark and the
// bookstore's own programs, in containers where a Docker engine answers, else as
// processes of this machine. Run it from the project's folder.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"example.com/bookstore/deploy/stack/compose"
	"example.com/bookstore/deploy/stack/preflight"
	"example.com/bookstore/deploy/stack/service"
	"example.com/bookstore/deploy/stack/supervisor"
	"example.com/bookstore/schema/env"
)

const (
	settingsFile = "deploy/stack.env"
	tlsFile      = "deploy/tls.env"
)

type commands struct {
	Up     upCmd     `cmd:"" help:"Start the engines and the store, wait until they answer, and print their addresses."`
	Down   downCmd   `cmd:"" help:"Stop everything. Data stay."`
	Start  startCmd  `cmd:"" help:"Start one service, such as sparkjob, and wait until it answers."`
	Stop   stopCmd   `cmd:"" help:"Stop one service."`
	Status statusCmd `cmd:"" help:"Show each service; exit with 1 if one that was started does not run or answer."`
	Logs   logsCmd   `cmd:"" help:"Print the last lines of the logs."`
	Clean  cleanCmd  `cmd:"" help:"Stop everything and delete data and logs."`
	Which  whichCmd  `cmd:"" help:"Print which stack the other commands use: compose or local. STACK forces one."`
	Exec   execCmd   `cmd:"" help:"Run a command with a throwaway local stack of its own: free ports, passwords and data that are gone afterwards."`
}

func main() {
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "stack:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run() (code int, err error) {
	if err := env.Load(); err != nil {
		return 1, err
	}
	var cli commands
	parsed := kong.Parse(&cli, kong.Name("stack"), kong.Description("The engines and programs of the data's path, in containers or as processes of this machine."),
		kong.UsageOnError(), kong.Bind(&code))
	if _, err := os.Stat(settingsFile); err != nil {
		return 1, fmt.Errorf("there is no %s here: run this command from the project's folder", settingsFile)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	parsed.BindTo(ctx, (*context.Context)(nil))
	err = parsed.Run()
	return code, err
}

// stack is what the commands need of either.
type stack interface {
	Up(ctx context.Context, names []string) error
	Down(ctx context.Context) error
	Start(ctx context.Context, name string) error
	Stop(ctx context.Context, name string) error
	Status(ctx context.Context) error
	Logs(ctx context.Context, name string, n int) error
	Clean(ctx context.Context) error
	Addresses(ctx context.Context) error
	Dir() string
}

const (
	inContainers = "compose"
	inProcesses  = "local"
)

// choose returns the name of the stack to use: the one that STACK names, else the local
// one if it runs, else containers if a Docker engine answers.
func choose(ctx context.Context) (string, error) {
	switch name := os.Getenv("STACK"); name {
	case inContainers, inProcesses:
		return name, nil
	case "":
	default:
		return "", fmt.Errorf("STACK is %q, not %s or %s", name, inContainers, inProcesses)
	}
	local, err := openLocal(os.Stdout)
	if err != nil {
		return "", err
	}
	if running, err := local.Running(); err != nil || running {
		return inProcesses, err
	}
	if compose.Available(ctx) {
		return inContainers, nil
	}
	return inProcesses, nil
}

// open returns the stack to use.
func open(ctx context.Context, out *os.File) (stack, error) {
	name, err := choose(ctx)
	if err != nil {
		return nil, err
	}
	if name == inProcesses {
		return openLocal(out)
	}
	cfg, err := settings()
	if err != nil {
		return nil, err
	}
	return compose.New(cfg, ".", out), nil
}

// settings reads the environment.
func settings() (service.Config, error) {
	var cfg service.Config
	parser, err := kong.New(&cfg, kong.Name("environment"))
	if err != nil {
		return cfg, err
	}
	if _, err := parser.Parse(nil); err != nil {
		return cfg, fmt.Errorf("reading the settings: %w", err)
	}
	return cfg, nil
}

// openLocal returns the local stack that the environment describes.
func openLocal(out *os.File) (*supervisor.Stack, error) {
	cfg, err := settings()
	if err != nil {
		return nil, err
	}
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, err
	}
	if cfg.CheckpointLocation == "" {
		cfg.CheckpointLocation = "file://" + filepath.Join(cfg.Dir, "data", "checkpoints")
	}
	// For the programs that the stack starts.
	if err := errors.Join(os.Setenv("STACK_DIR", cfg.Dir), os.Setenv("CHECKPOINT_LOCATION", cfg.CheckpointLocation)); err != nil {
		return nil, err
	}
	return supervisor.New(cfg, ".", out)
}

// openWithSecrets is open for a command that starts something: the passwords are made
// the first time.
func openWithSecrets(ctx context.Context, out *os.File) (stack, error) {
	if os.Getenv("CASSANDRA_ADMIN_PASSWORD") == "" {
		created, err := preflight.EnvFile(".env", ".env.example")
		if err != nil {
			return nil, err
		}
		if created {
			fmt.Fprintln(out, "made .env with new passwords")
		}
		if err := env.Load(); err != nil {
			return nil, err
		}
	}
	return open(ctx, out)
}

// selection is which services a command brings up.
type selection struct {
	EnginesOnly bool     `help:"Only the engines, none of our own programs." xor:"selection"`
	Only        []string `help:"Only these services and what they need, such as kafka,cassandra." placeholder:"SERVICE" xor:"selection"`
}

func (s selection) names(all ...string) []string {
	switch {
	case s.EnginesOnly:
		return supervisor.Engines
	case len(s.Only) > 0:
		return s.Only
	}
	return all
}

type upCmd struct{ selection }

func (c *upCmd) Run(ctx context.Context) error {
	stack, err := openWithSecrets(ctx, os.Stdout)
	if err != nil {
		return err
	}
	if err := stack.Up(ctx, c.names(append(supervisor.Engines, service.Store)...)); err != nil {
		return err
	}
	return stack.Addresses(ctx)
}

type downCmd struct{}

func (*downCmd) Run(ctx context.Context) error {
	stack, err := open(ctx, os.Stdout)
	if err != nil {
		return err
	}
	return stack.Down(ctx)
}

type startCmd struct {
	Service string `arg:"" help:"kafka, cassandra, spark-master, spark-worker, spark-connect, store or sparkjob; one of several nodes as kafka-2."`
}

func (c *startCmd) Run(ctx context.Context) error {
	stack, err := openWithSecrets(ctx, os.Stdout)
	if err != nil {
		return err
	}
	return stack.Start(ctx, c.Service)
}

type stopCmd struct {
	Service string `arg:"" help:"kafka, cassandra, spark-master, spark-worker, spark-connect, store or sparkjob; one of several nodes as kafka-2."`
}

func (c *stopCmd) Run(ctx context.Context) error {
	stack, err := open(ctx, os.Stdout)
	if err != nil {
		return err
	}
	return stack.Stop(ctx, c.Service)
}

type statusCmd struct{}

func (*statusCmd) Run(ctx context.Context) error {
	stack, err := open(ctx, os.Stdout)
	if err != nil {
		return err
	}
	return stack.Status(ctx)
}

type logsCmd struct {
	Service string `arg:"" optional:"" help:"Of this service; of all when absent."`
	Lines   int    `short:"n" default:"20" help:"How many lines of each log."`
}

func (c *logsCmd) Run(ctx context.Context) error {
	stack, err := open(ctx, os.Stdout)
	if err != nil {
		return err
	}
	return stack.Logs(ctx, c.Service, c.Lines)
}

type cleanCmd struct {
	Yes bool `help:"Do not ask."`
}

func (c *cleanCmd) Run(ctx context.Context) error {
	stack, err := open(ctx, os.Stdout)
	if err != nil {
		return err
	}
	if !c.Yes {
		if err := confirm(stack.Dir()); err != nil {
			return err
		}
	}
	return stack.Clean(ctx)
}

// confirm asks on the terminal.
func confirm(dir string) error {
	if !supervisor.Terminal(os.Stdin) {
		return errors.New("clean deletes all data and asks first, but there is no terminal to ask on: add --yes")
	}
	fmt.Printf("This deletes all events, tables and logs in %s. Type yes to go on: ", dir)
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != "yes" {
		return errors.New("nothing was deleted")
	}
	return nil
}

type whichCmd struct{}

func (*whichCmd) Run(ctx context.Context) error {
	name, err := choose(ctx)
	if err != nil {
		return err
	}
	fmt.Println(name)
	return nil
}

type execCmd struct {
	selection
	Nodes   int      `help:"Nodes of Kafka and Cassandra, 1 or 3; as STACK_NODES says if absent." placeholder:"N"`
	TLS     bool     `name:"tls" help:"Encrypt the ways to Kafka and Cassandra; as STACK_TLS says if absent."`
	Command []string `arg:"" passthrough:"" help:"The command and its arguments, after --."`
}

func (c *execCmd) Run(ctx context.Context, code *int) error {
	args := c.Command
	if args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return errors.New("exec needs a command after --")
	}
	if c.Nodes != 0 {
		if err := env.Reload("STACK_NODES", strconv.Itoa(c.Nodes)); err != nil {
			return err
		}
	}
	if c.TLS {
		if err := env.Reload("STACK_TLS", "true"); err != nil {
			return err
		}
	}
	if os.Getenv("KAFKA_SASL_PASSWORD") == "" { // of the throwaway stack, which is to come
		if err := os.Setenv("KAFKA_SASL_PASSWORD", rand.Text()); err != nil {
			return err
		}
	}
	main, err := openLocal(os.Stderr)
	if err != nil {
		return err
	}
	if err := main.Sweep(ctx); err != nil {
		return err
	}
	text, err := env.Stack(".")
	if err != nil {
		return err
	}
	cfg, err := settings()
	if err != nil {
		return err
	}
	if cfg.TLS {
		tls, err := os.ReadFile(tlsFile)
		if err != nil {
			return err
		}
		text = append(text, tls...)
	}
	dir, err := supervisor.Isolate(ctx, main.Dir(), text, service.Hosts(cfg.Nodes)...)
	if err != nil {
		return err
	}
	keepLogs := filepath.Join(main.Dir(), "logs", filepath.Base(dir))
	stack, err := openLocal(os.Stderr) // whose command has stdout for itself
	if err != nil {
		return err
	}
	setup := !c.EnginesOnly && len(c.Only) == 0
	*code, err = stack.Exec(ctx, c.names(supervisor.Engines...), setup, args, keepLogs)
	return err
}
