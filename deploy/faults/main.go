// Command faults lets visitors come to a store of its own and meanwhile kills, freezes or
// fills up what carries their events, one thing after the other. After each it holds what
// was acknowledged against what is stored. It stands around the whole of the data's path.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

const description = `Kills what carries events, under load, and looks whether one is lost.

It starts a throwaway stack of its own, beside whatever runs. For each fault visitors
come, something goes wrong and is undone, the visitors go, and what was acknowledged is
held against Kafka and Cassandra. The exit status is 1 if an event was lost, stored
twice, stored differently or not stored in time.

Examples:

  # all of it, some ten minutes
  task faults

  # what there is
  go run ./deploy/faults --list

  # two of them, three times, with files of the results
  go run ./deploy/faults --only store-killed,disk-full --runs 3 --out faults.md

  # one of three brokers, nodes and workers
  go run ./deploy/faults --cluster`

const readme = "README.md"

// command is its settings.
type command struct {
	Only    []string `placeholder:"NAME" help:"Only these faults, as --list names them."`
	List    bool     `help:"Print what the faults are, and do nothing."`
	Cluster bool     `help:"The faults of a stack with three brokers, three nodes of Cassandra and two workers, of which one dies."`
	Rate    float64  `placeholder:"VISITS" help:"Visits that begin, a second: 20, or 5 with --cluster, whose eleven processes share this machine. Each makes about eight events."`
	Runs    int      `default:"1" help:"How often, each time from empty topics, tables and checkpoints."`
	Out     string   `type:"path" placeholder:"FILE" help:"Write the table to this file as Markdown, and the rows as JSON lines to one beside it, named .jsonl."`
	Readme  bool     `help:"Write the table into README.md."`

	OnStack string `hidden:"" placeholder:"DIR" help:"The stack is there, described by the environment; the programs are in this folder."`
}

// Validate is called by kong after parsing.
func (c *command) Validate() error {
	if c.Rate == 0 {
		c.Rate = 20
		if c.Cluster {
			c.Rate = 5
		}
	}
	if c.Rate < 0 {
		return fmt.Errorf("--rate is %v: without visitors nothing can be lost", c.Rate)
	}
	if c.Runs < 1 {
		return fmt.Errorf("--runs is %d, not at least 1", c.Runs)
	}
	if c.Readme && len(c.Only) > 0 {
		return errors.New("--readme is for the whole table, without --only")
	}
	_, err := c.chosen()
	return err
}

// faults are those of the stack that is asked for.
func (c *command) faults() []Fault {
	if c.Cluster {
		return ThreeNodes
	}
	return OneNode
}

// chosen are those that are to be made.
func (c *command) chosen() ([]Fault, error) {
	if len(c.Only) == 0 {
		return c.faults(), nil
	}
	var names []string
	for _, f := range c.faults() {
		names = append(names, f.Name)
	}
	for _, name := range c.Only {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("--only: there is no fault %q, only %s", name, strings.Join(names, ", "))
		}
	}
	return slices.DeleteFunc(slices.Clone(c.faults()), func(f Fault) bool { return !slices.Contains(c.Only, f.Name) }), nil
}

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "faults: %v\n", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(args []string) (code int, err error) {
	var c command
	parser, err := kong.New(&c, kong.Name("faults"), kong.Description(description), kong.ShortUsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 80}))
	if err != nil {
		return 1, err
	}
	_, err = parser.Parse(args)
	parser.FatalIfErrorf(err)
	if c.List {
		fmt.Println(list(c.faults()))
		return 0, nil
	}
	if c.OnStack == "" {
		return onStackOfItsOwn(&c, args)
	}

	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	var w where
	if parser, err = kong.New(&w, kong.Name("environment")); err == nil {
		_, err = parser.Parse(nil)
	}
	if err != nil {
		return 1, fmt.Errorf("reading what the environment says of the stack: %w", err)
	}
	if copies := min(w.KafkaCopies, w.CassandraCopies); c.Cluster && copies < 3 {
		return 1, fmt.Errorf("the stack has %d copies of what it keeps, and not 3: nothing would be proven", copies)
	}
	chosen, err := c.chosen()
	if err != nil {
		return 1, err
	}
	return 0, c.run(ctx, chosen, &stand{where: w, project: ".", binaries: c.OnStack, rate: c.Rate, patience: 2 * time.Minute}, os.Stdout, os.Stderr)
}

// onStackOfItsOwn starts a throwaway stack, and this program again on that.
func onStackOfItsOwn(c *command, args []string) (code int, err error) {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	binaries, err := os.MkdirTemp("", "faults-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(binaries)
	if err := build(ctx, ".", binaries); err != nil {
		return 1, err
	}
	stack := []string{"exec", "--engines-only"}
	if c.Cluster {
		stack = append(stack, "--nodes", "3")
	}
	stack = append(append(stack, "--", self, "--on-stack", binaries), args...)
	cmd := exec.CommandContext(ctx, filepath.Join(binaries, "stack"), stack...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// It ends the stack before it ends itself. Where somebody types Ctrl-C, the terminal
	// has told all of them.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 3 * time.Minute
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil // it has said why
	}
	return 0, err
}

var errNotWhole = errors.New("not everything that was acknowledged is stored once and as it was sent")

// run makes the faults on a stack that is there.
func (c *command) run(ctx context.Context, faults []Fault, s *stand, out, progress io.Writer) (err error) {
	s.frozen = map[string]int{}
	if s.folder, err = os.MkdirTemp("", "faults-run-"); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, s.close(context.WithoutCancel(ctx)))
		if err == nil {
			err = os.RemoveAll(s.folder)
		} else {
			err = fmt.Errorf("%w\nledgers and outputs are in %s", err, s.folder)
		}
	}()

	var rows []Row
	for n := 1; n <= c.Runs && ctx.Err() == nil; n++ {
		if n > 1 {
			if err := s.renew(ctx); err != nil {
				return err
			}
		}
		for _, f := range faults {
			fmt.Fprintf(progress, "%-18s ", f.Name)
			row := s.try(ctx, f, n)
			if ctx.Err() != nil {
				fmt.Fprintln(progress, "cut short")
				break
			}
			rows = append(rows, row)
			fmt.Fprintln(progress, row.line())
		}
	}
	if len(rows) > 0 {
		fmt.Fprintln(out, forTerminal(rows))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if c.Out != "" {
		err = errors.Join(err, write(c.Out, faults, rows))
	}
	if c.Readme {
		err = errors.Join(err, insertInto(readme, c.Cluster, forReaders(faults, rows)))
	}
	if slices.ContainsFunc(rows, func(r Row) bool { return !r.Well() }) {
		err = errors.Join(err, errNotWhole)
	}
	return err
}

// line tells how one fault went.
func (r Row) line() string {
	switch {
	case r.Skipped != "":
		return r.Skipped
	case r.Error != "":
		return fmt.Sprintf("%s: %s", r.Verdict(), r.Error)
	}
	return fmt.Sprintf("%6.1f s  %6d acknowledged  %s", r.Seconds, r.Acknowledged, r.Verdict())
}
