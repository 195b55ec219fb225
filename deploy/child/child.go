// Package child runs a program beside the one that starts it, which also ends it. The
// bench and the faults run what they measure and watch with it; it stands beside the data's path.
package child

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Command is a program that can be started.
type Command struct {
	Path    string
	Args    []string // without the program's name
	Dir     string   // it runs in; the present one if empty
	Environ []string // NAME=value, beside the variables of this process, over which they win
	Log     string   // file of its stdout and stderr, made anew
}

// Child is a program that was started.
type Child struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

// Start starts it. It goes on when ctx ends: End ends it, in good order. It has a process
// group of its own, so that Ctrl-C is for this program alone.
func (c Command) Start(ctx context.Context) (*Child, error) {
	log, err := os.Create(c.Log)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", filepath.Base(c.Path), err)
	}
	defer log.Close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), c.Path, c.Args...)
	cmd.Dir, cmd.Env = c.Dir, append(os.Environ(), c.Environ...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", filepath.Base(c.Path), err)
	}
	p := &Child{cmd: cmd, log: c.Log, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in ProcessState
		close(p.done)
	}()
	return p, nil
}

// PID is its number.
func (p *Child) PID() int { return p.cmd.Process.Pid }

// Log is the file of what it says.
func (p *Child) Log() string { return p.log }

// Ended returns nil while it runs, and then an error with the last of what it has said.
func (p *Child) Ended() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	const most = 2000
	said, _ := os.ReadFile(p.log) // if it cannot be read, the name of the file must do
	said = bytes.TrimSpace(said)
	return fmt.Errorf("%s has ended by itself (%s), as %s tells: %s", filepath.Base(p.cmd.Path), p.cmd.ProcessState, p.log, said[max(0, len(said)-most):])
}

// End sends a signal and waits until it has ended, and kills it if that takes longer than
// within or ctx ends. It returns an error if it had to, or if there was nothing to end.
func (p *Child) End(ctx context.Context, signal syscall.Signal, within time.Duration) error {
	if err := p.Ended(); err != nil {
		return err
	}
	err := p.cmd.Process.Signal(signal)
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		err = errors.Join(err, fmt.Errorf("%s did not end within %v of %v", filepath.Base(p.cmd.Path), within, signal))
	case <-ctx.Done():
		err = errors.Join(err, fmt.Errorf("%s was not given the time to end: %w", filepath.Base(p.cmd.Path), context.Cause(ctx)))
	}
	err = errors.Join(err, p.cmd.Process.Kill())
	<-p.done
	return err
}
