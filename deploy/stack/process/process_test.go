package process

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newProcess returns a process that is stopped when the test ends.
func newProcess(t *testing.T) Process {
	t.Helper()
	dir := t.TempDir()
	p := Process{Name: "thing", PIDFile: filepath.Join(dir, "run", "thing.pid"), LogFile: filepath.Join(dir, "logs", "thing.log")}
	t.Cleanup(func() {
		if err := p.Stop(context.Background(), 0); err != nil {
			t.Error(err)
		}
	})
	return p
}

func start(t *testing.T, p Process, script string) <-chan error {
	t.Helper()
	exited, err := p.Start(t.Context(), []string{"/bin/sh", "-c", script}, os.Environ(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return exited
}

func wantState(t *testing.T, p Process, want State) Status {
	t.Helper()
	st, err := p.Status()
	if err != nil {
		t.Fatal(err)
	}
	if st.State != want {
		t.Fatalf("state = %s, want %s", st.State, want)
	}
	return st
}

// waitFor polls until done, or ends the test.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 10 s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func logLines(t *testing.T, file string, n int) []string {
	t.Helper()
	lines, err := Tail(file, n)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func TestStartAndStop(t *testing.T) {
	p := newProcess(t)
	wantState(t, p, Stopped)
	start(t, p, "echo hello; exec sleep 60")
	st := wantState(t, p, Running)
	if since := time.Since(st.Started); since < -startTolerance || since > time.Minute {
		t.Errorf("started %s ago", since)
	}
	if st.RSS == 0 {
		t.Error("RSS = 0 of a running process")
	}
	if sid, err := unix.Getsid(st.PID); err != nil || sid != st.PID {
		t.Errorf("session of the process = %d, %v; want its own, %d", sid, err, st.PID)
	}
	waitFor(t, "the log", func() bool { return slices.Equal(logLines(t, p.LogFile, 5), []string{"hello"}) })
	for range 2 { // the second finds nothing to stop
		if err := p.Stop(t.Context(), 5*time.Second); err != nil {
			t.Fatal(err)
		}
		wantState(t, p, Stopped)
	}
	// It may remain a zombie until its parent, this test, has waited for it.
	waitFor(t, "the end of the process", func() bool { return gone(st.PID) })
}

func TestEndsByItself(t *testing.T) {
	p := newProcess(t)
	exited := start(t, p, "exit 3")
	if err := <-exited; err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("result = %v, want exit status 3", err)
	}
	wantState(t, p, Dead)
}

func TestStopKillsWhatIgnoresIt(t *testing.T) {
	p := newProcess(t)
	start(t, p, "trap '' TERM; echo deaf; while :; do sleep 0.05; done")
	waitFor(t, "the trap", func() bool { return len(logLines(t, p.LogFile, 1)) == 1 })
	st := wantState(t, p, Running)
	if err := p.Stop(t.Context(), 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the end of the process", func() bool { return gone(st.PID) })
}

func TestStopDrains(t *testing.T) {
	p := newProcess(t)
	start(t, p, "trap 'sleep 0.3; echo drained; exit' TERM; echo up; while :; do sleep 0.05; done")
	waitFor(t, "the trap", func() bool { return len(logLines(t, p.LogFile, 1)) == 1 })
	if err := p.Stop(t.Context(), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if got := logLines(t, p.LogFile, 1); !slices.Equal(got, []string{"drained"}) {
		t.Errorf("last line = %q, want drained", got)
	}
}

// A Spark worker that is killed leaves its executors, which are in its group.
func TestStopEndsTheGroupOfADeadLeader(t *testing.T) {
	p := newProcess(t)
	exited := start(t, p, "sleep 60 & echo $!; wait")
	var child int
	waitFor(t, "the child's pid", func() bool {
		lines := logLines(t, p.LogFile, 1)
		if len(lines) == 1 {
			child, _ = strconv.Atoi(lines[0])
		}
		return child > 0
	})
	st := wantState(t, p, Running)
	if err := syscall.Kill(st.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-exited; err == nil {
		t.Error("a killed process ended without an error")
	}
	wantState(t, p, Dead)
	if gone(child) {
		t.Fatal("the child ended with its parent; this test shows nothing")
	}
	if err := p.Stop(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the child's end", func() bool {
		members := group(record{PID: st.PID, Started: st.Started})
		return len(members) == 0
	})
}

// A pid file may be older than the machine's last start.
func TestRecycledPIDIsLeftAlone(t *testing.T) {
	other := newProcess(t)
	start(t, other, "exec sleep 60")
	stranger := wantState(t, other, Running).PID

	p := newProcess(t)
	if err := os.MkdirAll(filepath.Dir(p.PIDFile), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := p.write(record{PID: stranger, Started: time.Now().Add(-time.Hour)}); err != nil {
		t.Fatal(err)
	}
	wantState(t, p, Dead)
	if err := p.Stop(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	wantState(t, p, Stopped)
	wantState(t, other, Running)
}

func TestStopEndsWithItsContext(t *testing.T) {
	p := newProcess(t)
	start(t, p, "trap '' TERM; echo deaf; while :; do sleep 0.05; done")
	waitFor(t, "the trap", func() bool { return len(logLines(t, p.LogFile, 1)) == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Stop(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want the context's", err)
	}
	wantState(t, p, Running)
}

func TestBadPIDFile(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":      "123",
		"the init":     `{"pid":1,"started":"2020-01-01T00:00:00Z"}`,
		"a group of 0": `{"pid":0}`,
	} {
		t.Run(name, func(t *testing.T) {
			p := Process{Name: "thing", PIDFile: filepath.Join(t.TempDir(), "thing.pid")}
			if err := os.WriteFile(p.PIDFile, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Status(); err == nil || !strings.Contains(err.Error(), p.PIDFile) {
				t.Errorf("Status: error = %v, want one that names the file", err)
			}
			if err := p.Stop(t.Context(), 0); err == nil {
				t.Error("Stop: no error")
			}
		})
	}
}

func TestPIDFileNamesPIDAndStart(t *testing.T) {
	p := newProcess(t)
	start(t, p, "exec sleep 60")
	text, err := os.ReadFile(p.PIDFile)
	if err != nil {
		t.Fatal(err)
	}
	var rec record
	if err := json.Unmarshal(text, &rec); err != nil {
		t.Fatal(err)
	}
	if st := wantState(t, p, Running); rec.PID != st.PID || !rec.Started.Equal(st.Started) {
		t.Errorf("pid file = %s, want pid %d, started %s", text, st.PID, st.Started)
	}
}

func TestLogOfTheRunBeforeIsKept(t *testing.T) {
	p := newProcess(t)
	for _, word := range []string{"first", "second", "third"} {
		if err := <-start(t, p, "echo "+word); err != nil {
			t.Fatal(err)
		}
	}
	if got := logLines(t, p.LogFile, 9); !slices.Equal(got, []string{"third"}) {
		t.Errorf("log = %q, want third", got)
	}
	if got := logLines(t, p.LogFile+".1", 9); !slices.Equal(got, []string{"second"}) {
		t.Errorf("log of the run before = %q, want second", got)
	}
}

func TestTail(t *testing.T) {
	long := strings.Repeat("x", tailBytes)
	for _, test := range []struct {
		name, text string
		n          int
		want       []string
	}{
		{"empty", "", 3, nil},
		{"only newlines", "\n\n", 3, nil},
		{"fewer than asked", "a\nb\n", 3, []string{"a", "b"}},
		{"more than asked", "a\nb\nc\n", 2, []string{"b", "c"}},
		{"no newline at the end", "a\nb", 1, []string{"b"}},
		{"longer than what is read", long + "\nlast\n", 1, []string{"last"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "log")
			if err := os.WriteFile(file, []byte(test.text), 0o644); err != nil {
				t.Fatal(err)
			}
			if got := logLines(t, file, test.n); !slices.Equal(got, test.want) {
				t.Errorf("Tail(%d) = %.60q, want %.60q", test.n, got, test.want)
			}
		})
	}
	if got := logLines(t, filepath.Join(t.TempDir(), "none"), 3); got != nil {
		t.Errorf("Tail of no file = %q", got)
	}
}
