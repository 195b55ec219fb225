//go:build integration

// Package e2e tests the data's whole path, from a click to a row, on the real
// engines of a stack of its own: go run ./deploy/stack exec -- go test -tags integration ./deploy/e2e
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gocql/gocql"
	"github.com/google/uuid"

	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/secret"
)

// binaries of the programs, built once.
var binaries string

func TestMain(m *testing.M) {
	for _, name := range []string{"STACK_DIR", "KAFKA_BOOTSTRAP_SERVERS", "CASSANDRA_PORT", "CASSANDRA_JOB_PASSWORD", "SPARK_REMOTE"} {
		if os.Getenv(name) == "" {
			fmt.Fprintf(os.Stderr, "%s is not set: run these tests with `task test`\n", name)
			os.Exit(1)
		}
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	var err error
	if binaries, err = os.MkdirTemp("", "e2e"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(binaries)
	build := exec.Command("go", "build", "-race", "-o", binaries, "../../sparkjob", "../../producer", "../demo", "../visitors")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintf(os.Stderr, "building the programs: %v\n", err)
		return 1
	}
	return m.Run()
}

// process is a program of the project under test.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // of its end; read after done

	mu  sync.Mutex
	out bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// start runs a program with additional environment variables until the test ends.
func start(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(filepath.Join(binaries, name), args...), done: make(chan struct{})}
	p.cmd.Dir = t.TempDir() // so that no .env is read
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(40 * time.Second):
			p.cmd.Process.Kill()
			<-p.done
			t.Errorf("%s did not end within 40 s of SIGTERM", name)
		}
		if t.Failed() {
			t.Logf("output of %s %v:\n%s", name, args, p.output())
		}
	})
	return p
}

// end sends a signal and returns the exit code.
func (p *process) end(t *testing.T, signal os.Signal) int {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	return p.wait(t, 40*time.Second)
}

func (p *process) wait(t *testing.T, timeout time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(timeout):
		t.Fatalf("%s has not ended after %v; its output:\n%s", p.cmd.Path, timeout, p.output())
		return -1
	}
}

// run runs a program to its end and returns its outputs and exit code.
func run(t *testing.T, env []string, name string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(binaries, name), args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), env...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// eventually polls until check returns nil, and fails the test with its last
// error when time is over.
func eventually(t *testing.T, timeout time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", timeout, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// pipeline is a topic, a job and its checkpoints of one test's own. The job runs the
// queries that most tests need.
type pipeline struct {
	topic       string
	checkpoints string // their folder
	env         []string
}

// with returns the environment with additional variables.
func (p pipeline) with(variables ...string) []string { return slices.Concat(p.env, variables) }

func newPipeline(t *testing.T) pipeline {
	t.Helper()
	name := "e2e_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	folder := t.TempDir()
	p := pipeline{topic: name, checkpoints: folder, env: []string{
		"KAFKA_TOPIC=" + name,
		"SPARK_JOB_NAME=" + name,
		"SPARK_QUERIES=events,rejected_events",
		"CHECKPOINT_LOCATION=file://" + folder,
	}}
	if out, errOut, code := run(t, p.env, "sparkjob", "setup"); code != 0 {
		t.Fatalf("sparkjob setup: exit code %d\n%s%s", code, out, errOut)
	}
	return p
}

// submit starts the driver and waits until its queries run.
func (p pipeline) submit(t *testing.T) *process {
	t.Helper()
	driver := start(t, p.env, "sparkjob", "submit")
	eventually(t, 120*time.Second, func() error {
		select {
		case <-driver.done:
			t.Fatalf("sparkjob submit ended: %v\n%s", driver.err, driver.output())
		default:
		}
		if !strings.Contains(driver.output(), "Ctrl-C stops the queries") {
			return errors.New("sparkjob submit has not started its queries: " + driver.output())
		}
		return nil
	})
	return driver
}

// store starts the web store on a free port and returns its URL.
func (p pipeline) store(t *testing.T) (string, *process) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	store := start(t, p.with("STORE_ADDR="+address), "producer")
	eventually(t, 20*time.Second, func() error {
		response, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			body, _ := io.ReadAll(response.Body)
			return fmt.Errorf("/readyz: %s %s", response.Status, body)
		}
		return nil
	})
	return "http://" + address, store
}

// openCassandra connects as the job's role.
func openCassandra(t *testing.T) *gocql.Session {
	t.Helper()
	port := 0
	if _, err := fmt.Sscan(os.Getenv("CASSANDRA_PORT"), &port); err != nil {
		t.Fatal(err)
	}
	session, err := cassandra.Config{
		Hosts: []string{"127.0.0.1"}, Port: port, Datacenter: os.Getenv("CASSANDRA_DATACENTER"),
		User: cassandra.JobUser, Password: secret.String(os.Getenv("CASSANDRA_JOB_PASSWORD")), Keyspace: cassandra.Keyspace,
	}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	return session
}

func getJSON(t *testing.T, url string, into any) error {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(into)
}
