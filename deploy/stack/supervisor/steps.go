package supervisor

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// step is a piece of work that waits for others.
type step struct {
	name  string
	after []string
	run   func(ctx context.Context) error
}

// runSteps runs each step as soon as those that it waits for are done, and returns
// the first error, which also ends the others. Waiting for a step that is not in the
// list is no waiting.
func runSteps(ctx context.Context, steps []step) error {
	done := make(map[string]chan struct{}, len(steps))
	for _, s := range steps {
		done[s.name] = make(chan struct{})
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range steps {
		group.Go(func() error {
			for _, name := range s.after {
				other, ok := done[name]
				if !ok {
					continue
				}
				select {
				case <-other:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			if err := s.run(ctx); err != nil {
				return err
			}
			close(done[s.name])
			return nil
		})
	}
	return group.Wait()
}
