//go:build integration

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"example.com/bookstore/sparkjob/stream"
)

func stackCommand(args ...string) *exec.Cmd {
	cmd := exec.Command("go", append([]string{"run", "./deploy/stack"}, args...)...)
	cmd.Dir = "../.."
	return cmd
}

// stack runs a command of the supervisor on the stack under test.
func stack(t *testing.T, args ...string) {
	t.Helper()
	if out, err := stackCommand(args...).CombinedOutput(); err != nil {
		t.Fatalf("stack %v: %v\n%s", args, err, out)
	}
}

func awaitOutput(t *testing.T, p *process, text string, times int) {
	t.Helper()
	eventually(t, 120*time.Second, func() error {
		if n := strings.Count(p.output(), text); n < times {
			return fmt.Errorf("%q came %d times, want %d:\n%s", text, n, times, p.output())
		}
		select {
		case <-p.done:
			t.Fatalf("it has ended: %v\n%s", p.err, p.output())
		default:
		}
		return nil
	})
}

// processOf is the process of one of the stack's services.
func processOf(t *testing.T, service string) (pid int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(os.Getenv("STACK_DIR"), "run", service+".pid"))
	if err != nil {
		t.Fatal(err)
	}
	var process struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal(text, &process); err != nil || process.PID <= 1 {
		t.Fatalf("%s, %v", text, err)
	}
	return process.PID
}

// A Connect server that ends takes its queries with it. The driver starts them
// again on the next one, from their checkpoints, also if that ends while they start.
func TestSubmitOutlivesTheConnectServer(t *testing.T) {
	p := newPipeline(t)
	url, _ := p.store(t)
	driver := p.submit(t)
	awaitStored(t, post(t, url, 100))
	awaitRead(t, p, 100)

	stack(t, "stop", "spark-connect")
	t.Cleanup(func() { stack(t, "start", "spark-connect") }) // where this test fails in between
	meanwhile := post(t, url, 100)
	awaitOutput(t, driver, "Spark has gone away", 1)
	// Other than start, the driver does not wait until the server has practised.
	starting := stackCommand("start", "spark-connect")
	if err := starting.Start(); err != nil {
		t.Fatal(err)
	}
	awaitOutput(t, driver, "Spark 3", 2)
	err := syscall.Kill(processOf(t, "spark-connect"), syscall.SIGKILL)
	if startErr := starting.Wait(); err != nil || startErr == nil {
		t.Fatalf("a server was killed while it started (%v), and its start has not failed", err)
	}
	awaitOutput(t, driver, "Spark has gone away", 2)
	stack(t, "start", "spark-connect")

	awaitOutput(t, driver, "Ctrl-C stops the queries", 2)
	awaitStored(t, meanwhile)
	awaitRead(t, p, 100)
	if code := driver.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("sparkjob submit ended with %d:\n%s", code, driver.output())
	}
}

// A 3.5 server keeps 100 sessions and ends the queries of those it drops. The
// driver notices and starts its queries again.
func TestSubmitOutlivesItsSession(t *testing.T) {
	p := newPipeline(t)
	url, _ := p.store(t)
	driver := p.submit(t)
	awaitStored(t, post(t, url, 100))
	awaitRead(t, p, 100)

	// The driver asks twice a second, so its session is never the oldest, unless it
	// is held still.
	if err := driver.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var crowd errgroup.Group
	crowd.SetLimit(8)
	for range 300 { // the server keeps its 100 in parts, each with a share of them
		crowd.Go(func() error {
			session, err := stream.Connect(t.Context(), os.Getenv("SPARK_REMOTE")+"/;user_id=crowd;session_id="+uuid.NewString())
			if err != nil {
				return err
			}
			session.Close()
			return nil
		})
	}
	err := crowd.Wait()
	if err := errors.Join(err, driver.cmd.Process.Signal(syscall.SIGCONT)); err != nil {
		t.Fatal(err)
	}
	awaitOutput(t, driver, "Spark has gone away", 1)
	awaitOutput(t, driver, "Ctrl-C stops the queries", 2)
	awaitStored(t, post(t, url, 100))
	awaitRead(t, p, 100)
}
