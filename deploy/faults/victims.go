package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	gops "github.com/shirou/gopsutil/v4/process"

	"example.com/bookstore/deploy/stack/process"
)

// pid finds the process of a service of the stack.
func (s *stand) pid(name string) (int, error) {
	st, err := s.status(name)
	if err != nil {
		return 0, err
	}
	if st.State != process.Running {
		return 0, fmt.Errorf("%s is %s: it must run before something can happen to it", name, st.State)
	}
	return st.PID, nil
}

func (s *stand) status(name string) (process.Status, error) {
	return process.Process{Name: name, PIDFile: filepath.Join(s.StackDir, "run", name+".pid")}.Status()
}

// awaitDead returns once nothing is left of a killed process.
func (s *stand) awaitDead(ctx context.Context, name string) error {
	return poll(ctx, 50*time.Millisecond, 10*time.Second, func() error {
		st, err := s.status(name)
		if err != nil {
			return backoff.Permanent(err)
		}
		if st.State == process.Running {
			return fmt.Errorf("%s, pid %d, is still there after SIGKILL", name, st.PID)
		}
		return nil
	})
}

// executorClass is the main class of a JVM that runs Spark's tasks.
const executorClass = "CoarseGrainedExecutorBackend"

// executors are the JVMs that a worker has started, which are in its process group.
func executors(worker int) ([]int, error) {
	pids, err := gops.Pids()
	if err != nil {
		return nil, fmt.Errorf("looking for executors: %w", err)
	}
	var found []int
	for _, pid := range pids {
		group, err := syscall.Getpgid(int(pid))
		if err != nil || group != worker || int(pid) == worker {
			continue
		}
		proc, err := gops.NewProcess(pid)
		if err != nil {
			continue // it has ended just now
		}
		if line, err := proc.Cmdline(); err == nil && strings.Contains(line, executorClass) {
			found = append(found, int(pid))
		}
	}
	return found, nil
}

// poll does it until it returns nil or something permanent, and returns its last error
// when the time is over.
func poll(ctx context.Context, every, within time.Duration, do func() error) error {
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := do()
		if err != nil && ctx.Err() == nil {
			last = err
		}
		return struct{}{}, err
	}, backoff.WithBackOff(backoff.NewConstantBackOff(every)), backoff.WithMaxElapsedTime(within))
	if err != nil && ctx.Err() == nil && last != nil {
		var permanent *backoff.PermanentError
		if errors.As(last, &permanent) {
			return permanent.Err
		}
		return fmt.Errorf("after %s: %w", within, last)
	}
	return err
}
