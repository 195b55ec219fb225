package child

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shell starts a script, and returns once it says "ready".
func shell(t *testing.T, script string) *Child {
	t.Helper()
	p, err := Command{
		Path: "/bin/sh", Args: []string{"-c", script}, Dir: t.TempDir(), Environ: []string{"WORD=ready"}, Log: filepath.Join(t.TempDir(), "log"),
	}.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(-p.PID(), syscall.SIGKILL) })
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if said, err := os.ReadFile(p.Log()); err == nil && strings.Contains(string(said), "ready") {
			return p
		}
		if time.Now().After(deadline) {
			t.Fatalf("the script says nothing: %v", p.Ended())
		}
	}
}

func TestEnd(t *testing.T) {
	p := shell(t, `trap 'echo bye; exit 3' TERM; echo $WORD; while :; do sleep 0.01; done`)
	if err := p.Ended(); err != nil {
		t.Errorf("while it runs: %v", err)
	}
	if err := p.End(t.Context(), syscall.SIGTERM, time.Minute); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{"Ended": p.Ended(), "End": p.End(t.Context(), syscall.SIGTERM, time.Minute)} {
		if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "bye") {
			t.Errorf("%s after its end: %v", name, err)
		}
	}
}

func TestWhatIgnoresTheSignalIsKilled(t *testing.T) {
	const stubborn = `trap '' TERM; echo $WORD; while :; do sleep 0.01; done`
	if err := shell(t, stubborn).End(t.Context(), syscall.SIGTERM, 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "sh did not end within 50ms of terminated") {
		t.Errorf("out of time: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := shell(t, stubborn)
	if err := p.End(ctx, syscall.SIGTERM, time.Hour); err == nil || !strings.Contains(err.Error(), "not given the time") || p.Ended() == nil {
		t.Errorf("with a context that has ended: %v", err)
	}
}

func TestStartOfNothing(t *testing.T) {
	if _, err := (Command{Path: filepath.Join(t.TempDir(), "nothing"), Log: filepath.Join(t.TempDir(), "log")}).Start(t.Context()); err == nil || !strings.Contains(err.Error(), "starting nothing") {
		t.Errorf("%v", err)
	}
}
