package supervisor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"example.com/bookstore/deploy/stack/process"
	"example.com/bookstore/deploy/stack/service"
)

// Down stops every service, each before those that it needs. Data stay.
func (s *Stack) Down(ctx context.Context) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.Sweep(ctx); err != nil {
		return err
	}
	began := time.Now()
	stopped, err := s.stopAll(ctx, func(svc *service.Service) time.Duration { return svc.Drain })
	if err != nil {
		return err
	}
	if stopped == 0 {
		s.say("nothing runs")
		return nil
	}
	s.say("down after %s; the data stay in %s", seconds(time.Since(began)), relative(filepath.Join(s.builder.Dir, "data")))
	return nil
}

// Stop stops one service.
func (s *Stack) Stop(ctx context.Context, name string) error {
	svc, err := s.find(name)
	if err != nil {
		return err
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	st, err := svc.Status()
	if err != nil {
		return err
	}
	if err := svc.Stop(ctx, svc.Drain); err != nil {
		return err
	}
	if st.State == process.Running {
		s.say("%s is stopped", name)
	} else {
		s.say("%s did not run", name)
	}
	return nil
}

// stopAll stops the services from last to first and returns how many there were. Nodes of
// one cluster stop side by side: the last of them would wait for the others in vain.
func (s *Stack) stopAll(ctx context.Context, drain func(*service.Service) time.Duration) (int, error) {
	var stopped atomic.Int32
	for rest := s.services; len(rest) > 0; {
		first := len(rest) - 1
		for first > 0 && slices.Contains(rest[first].With, rest[first-1].Name) {
			first--
		}
		group, groupCtx := errgroup.WithContext(ctx)
		for _, svc := range rest[first:] {
			group.Go(func() error {
				st, err := svc.Status()
				if err != nil || st.State == process.Stopped {
					return err
				}
				began := time.Now()
				if err := svc.Stop(groupCtx, drain(svc)); err != nil {
					return err
				}
				stopped.Add(1)
				if drain(svc) > 0 {
					s.say("%-14s stopped in %s", svc.Name, seconds(time.Since(began)))
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return int(stopped.Load()), err
		}
		rest = rest[:first]
	}
	return int(stopped.Load()), nil
}

// Clean stops every service and deletes data and logs.
func (s *Stack) Clean(ctx context.Context) error {
	if err := s.Down(ctx); err != nil {
		return err
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	for _, folder := range []string{"data", "logs", "run"} {
		if err := os.RemoveAll(filepath.Join(s.builder.Dir, folder)); err != nil {
			return fmt.Errorf("deleting %s: %w", folder, err)
		}
	}
	s.say("data and logs in %s are deleted", relative(s.builder.Dir))
	return nil
}

// Dir is the stack's folder as the user would write it.
func (s *Stack) Dir() string { return relative(s.builder.Dir) }

// Sweep ends throwaway stacks whose command was killed before it could do so.
func (s *Stack) Sweep(ctx context.Context) error {
	locks, err := filepath.Glob(filepath.Join(s.builder.Dir, throwawayPrefix+"*", ownerLock))
	if err != nil {
		return err
	}
	for _, file := range locks {
		unlock, ok, err := tryLock(file)
		if err != nil {
			return err
		}
		if !ok {
			continue // its command is alive
		}
		dir := filepath.Dir(file)
		orphan := &Stack{out: s.out}
		orphan.builder, orphan.services, err = build(*s.builder, dir)
		if err == nil {
			err = orphan.discard(ctx)
		}
		unlock()
		if err != nil {
			return err
		}
		s.say("ended what a killed exec left in %s", relative(dir))
	}
	return nil
}

// discard kills every service of a throwaway stack and deletes its folder.
func (s *Stack) discard(ctx context.Context) error {
	if _, err := s.stopAll(ctx, func(*service.Service) time.Duration { return 0 }); err != nil {
		return err
	}
	return os.RemoveAll(s.builder.Dir)
}
