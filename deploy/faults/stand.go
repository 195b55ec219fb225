package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"

	"example.com/bookstore/deploy/child"
	"example.com/bookstore/deploy/stack/service"
	"example.com/bookstore/deploy/stack/supervisor"
	"example.com/bookstore/schema/secret"
)

// where is what the environment of a stack says of it. Kong reads it.
type where struct {
	StackDir              string        `env:"STACK_DIR" required:"" hidden:""`
	StoreURL              string        `env:"STORE_URL" required:"" hidden:""`
	KafkaBootstrapServers string        `env:"KAFKA_BOOTSTRAP_SERVERS" required:"" hidden:""`
	Topic                 string        `env:"KAFKA_TOPIC" required:"" hidden:""`
	CassandraHosts        []string      `env:"CASSANDRA_HOSTS" required:"" hidden:""`
	CassandraPort         int           `env:"CASSANDRA_PORT" required:"" hidden:""`
	CassandraDatacenter   string        `env:"CASSANDRA_DATACENTER" required:"" hidden:""`
	KafkaCopies           int           `env:"KAFKA_REPLICATION_FACTOR" required:"" hidden:""`
	CassandraCopies       int           `env:"CASSANDRA_REPLICATION_FACTOR" required:"" hidden:""`
	JobPassword           secret.String `name:"cassandra-job-password" env:"CASSANDRA_JOB_PASSWORD" required:"" hidden:""`
}

// stand is a running stack with what a fault needs of it.
type stand struct {
	where
	project  string // folder of the project
	binaries string // folder of our programs, from build
	folder   string // of ledgers and outputs
	rate     float64
	patience time.Duration // of reconcile

	// What is not as the stack knows it, and is put right by close.
	frozen    map[string]int // pids by service
	disk      string         // small one of the spool
	elsewhere *child.Child   // the driver
	poison    []place        // written by the fault of that name
	probe     *probe         // of the fault that is under way
}

// build compiles the programs that are run as a person would run them.
func build(ctx context.Context, project, binaries string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binaries, "./deploy/stack", "./deploy/visitors", "./sparkjob")
	cmd.Dir = project
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the programs: %w\n%s", err, out)
	}
	return nil
}

// run runs one of the programs to its end, with additional variables, and returns its
// stdout.
func (s *stand) run(ctx context.Context, environ []string, name string, args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(s.binaries, name), args...)
	cmd.Dir, cmd.Env = s.project, append(os.Environ(), environ...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	err := cmd.Run()
	if ctx.Err() != nil {
		return out.String(), context.Cause(ctx)
	}
	if err != nil {
		said := strings.TrimSpace(errs.String())
		if said == "" {
			said = strings.TrimSpace(out.String())
		}
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, said)
	}
	return out.String(), nil
}

func (s *stand) stack(ctx context.Context, args ...string) error {
	_, err := s.run(ctx, nil, "stack", args...)
	return err
}

// ready starts whatever of the stack does not run.
func (s *stand) ready(ctx context.Context) error {
	return errors.Join(s.stack(ctx, "up"), s.stack(ctx, "start", service.Sparkjob))
}

// healthy asks whether all queries of the job are well.
func (s *stand) healthy(ctx context.Context) error {
	_, err := s.run(ctx, nil, "sparkjob", "status", "--check")
	return err
}

// renew empties the stack: topics, tables and checkpoints.
func (s *stand) renew(ctx context.Context) error { return s.stack(ctx, "clean", "--yes") }

func (s *stand) freeze(name string) error {
	pid, err := s.pid(name)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("freezing %s, pid %d: %w", name, pid, err)
	}
	s.frozen[name] = pid
	return nil
}

func (s *stand) thaw(name string) error {
	pid := s.frozen[name]
	delete(s.frozen, name)
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		return fmt.Errorf("letting %s, pid %d, go on: %w", name, pid, err)
	}
	return nil
}

func (s *stand) thawAll() (err error) {
	for name := range s.frozen {
		err = errors.Join(err, s.thaw(name))
	}
	return err
}

// close ends what the stack does not know of.
func (s *stand) close(ctx context.Context) error {
	var errs []error
	errs = append(errs, s.thawAll())
	if s.elsewhere != nil {
		errs = append(errs, s.elsewhere.End(ctx, syscall.SIGTERM, time.Minute))
	}
	return errors.Join(append(errs, s.unmount())...)
}

// begin starts one of our programs in a folder, with additional variables.
func (s *stand) begin(ctx context.Context, name, folder, output string, environ []string, args ...string) (*child.Child, error) {
	return child.Command{Path: filepath.Join(s.binaries, name), Args: args, Dir: folder, Environ: environ, Log: output}.Start(ctx)
}

// driverElsewhere starts the driver as on another machine: in an empty folder, which is
// its home as well, with another port.
func driverElsewhere(ctx context.Context, s *stand) error {
	folder, err := os.MkdirTemp(s.folder, "elsewhere-")
	if err != nil {
		return fmt.Errorf("starting the driver elsewhere: %w", err)
	}
	free, err := supervisor.FreePorts(ctx)
	if err != nil {
		return err
	}
	s.elsewhere, err = s.begin(ctx, "sparkjob", folder, filepath.Join(s.folder, "driver-elsewhere.log"), []string{
		"HOME=" + folder, "STACK_DIR=" + folder,
		"SPARKJOB_METRICS_ADDR=" + net.JoinHostPort("127.0.0.1", strconv.Itoa(free())),
	}, "submit")
	if err != nil {
		return err
	}
	return poll(ctx, 200*time.Millisecond, 2*time.Minute, func() error {
		if err := s.elsewhere.Ended(); err != nil {
			return backoff.Permanent(err)
		}
		said, err := os.ReadFile(s.elsewhere.Log())
		if err != nil {
			return err
		}
		if !bytes.Contains(said, []byte("Checkpoints are below")) {
			return fmt.Errorf("the driver elsewhere does not say that its queries run: %s", bytes.TrimSpace(said))
		}
		return nil
	})
}

// driverBack ends it in good order and starts the stack's own again.
func driverBack(ctx context.Context, s *stand) (err error) {
	if s.elsewhere != nil {
		err = s.elsewhere.End(ctx, syscall.SIGTERM, time.Minute)
		s.elsewhere = nil
	}
	return errors.Join(err, s.stack(ctx, "start", service.Sparkjob))
}

// metric reads one of the store's.
func (s *stand) metric(ctx context.Context, name string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.StoreURL+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("reading the store's metrics: %w", err)
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, fmt.Errorf("reading the store's metrics: %w", err)
	}
	for line := range strings.Lines(string(page)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("the store's metrics have no %s", name)
}
