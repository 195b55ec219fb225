package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"example.com/bookstore/sparkjob/job"
	"example.com/bookstore/sparkjob/stream"
)

const (
	// startTimeout is how long a query may take until its first trigger.
	startTimeout = 60 * time.Second
	// maxFailures in a row, without a micro-batch between them, end the job.
	maxFailures = 5
)

// Submit runs the job until ctx ends, and then stops its queries. It starts those
// that do not run, and goes on watching those that do, such as after a driver was
// killed. A query that fails is started again from its checkpoint. What happens is
// written to out, a line an event.
//
// It returns nil if the queries ended because ctx did or because somebody stopped
// them, and otherwise why they could not go on.
func Submit(ctx context.Context, c Config, out io.Writer) error {
	if err := Check(ctx, c); err != nil {
		return err
	}
	session, err := Connect(ctx, c)
	if err != nil {
		return err
	}
	defer session.Close()
	version, err := session.Version(ctx)
	if err != nil {
		return err
	}
	if err := job.Prepare(ctx, session, c.Job); err != nil {
		return err
	}
	w := &watcher{config: c, session: session, out: out}
	w.printf("Spark %s at %s, session %s", version, session.Address(), session.ID())

	running, err := active(ctx, session)
	if err != nil {
		return err
	}
	// Side by side, since the first micro-batch of each waits for Spark to load
	// classes. Every query is seen running before any is left to itself.
	queries := make([]*stream.Query, len(job.Names))
	starting, startCtx := errgroup.WithContext(ctx)
	for i, name := range job.Names {
		starting.Go(func() (err error) {
			queries[i], err = w.begin(startCtx, name, running[name])
			return err
		})
	}
	if err := starting.Wait(); err != nil {
		for _, query := range queries {
			if query != nil {
				err = errors.Join(err, w.stop(query))
			}
		}
		return err
	}
	w.printf("Checkpoints are below %s", w.config.Job.Checkpoint(""))
	w.printf("Ctrl-C stops the queries; the next submit goes on from their checkpoints")

	group, groupCtx := errgroup.WithContext(ctx)
	for i, name := range job.Names {
		group.Go(func() error { return w.watch(groupCtx, name, queries[i]) })
	}
	return group.Wait()
}

// active returns the running queries of the session by name.
func active(ctx context.Context, session *stream.Session) (map[string]*stream.Query, error) {
	list, err := session.Streams().Active(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the running queries: %w", err)
	}
	byName := make(map[string]*stream.Query, len(list))
	for _, query := range list {
		byName[query.Name()] = query
	}
	return byName, nil
}

type watcher struct {
	config  Config
	session *stream.Session

	mu  sync.Mutex
	out io.Writer
}

func (w *watcher) printf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Fprintf(w.out, format+"\n", args...)
}

// begin starts a query, unless it runs already, and waits until it really works:
// Spark gives an id also to a query that dies at once.
func (w *watcher) begin(ctx context.Context, name string, running *stream.Query) (*stream.Query, error) {
	query, verb := running, "runs already"
	if query == nil {
		// Whoever gives up while the request is under way would not know whether
		// the query started, and leave it behind.
		startCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
		defer cancel()
		var err error
		if query, err = job.Start(startCtx, w.session, w.config.Job, name); err != nil {
			return nil, err
		}
		verb = "runs"
	}
	if err := confirm(ctx, query); err != nil {
		return nil, errors.Join(fmt.Errorf("starting query %s: %w", name, err), w.stop(query))
	}
	w.printf("%-16s %s, id %s", name, verb, query.ID())
	return query, nil
}

// confirm waits for a query's first trigger.
func confirm(ctx context.Context, query *stream.Query) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		status, err := query.Status(ctx)
		if err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		if !status.IsActive {
			exception, err := query.Exception(ctx)
			if exception != nil {
				err = exception
			} else if err == nil {
				err = errors.New("it ended at once, without an error")
			}
			return struct{}{}, backoff.Permanent(err)
		}
		progress, err := query.LastProgress(ctx)
		if err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		if progress == nil && !strings.HasPrefix(status.Message, "Waiting for") {
			return struct{}{}, fmt.Errorf("no micro-batch yet (%s); does the Spark master have a worker with free cores?", status.Message)
		}
		return struct{}{}, nil
	}, backoff.WithBackOff(backoff.NewConstantBackOff(200*time.Millisecond)), backoff.WithMaxElapsedTime(startTimeout))
	return err
}

// watch reports a query's micro-batches until it ends, and starts it again where
// it failed.
func (w *watcher) watch(ctx context.Context, name string, query *stream.Query) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = time.Second, 30*time.Second
	failures := 0
	for {
		err := w.follow(ctx, name, query, func() { failures = 0; pause.Reset() })
		if ctx.Err() != nil {
			return w.stop(query)
		}
		var failed *stream.QueryException
		if err == nil {
			w.printf("%-16s was stopped", name)
			return nil
		}
		if !errors.As(err, &failed) {
			return fmt.Errorf("watching query %s: %w", name, err)
		}
		if failures++; failures == maxFailures {
			return fmt.Errorf("query %s failed %d times in a row: %w", name, failures, failed)
		}
		wait := pause.NextBackOff()
		w.printf("%-16s failed and starts again in %.1f s: %s", name, wait.Seconds(), firstLine(failed.Message))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		if query, err = w.begin(ctx, name, nil); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// follow prints each micro-batch that had rows and calls completed after each.
func (w *watcher) follow(ctx context.Context, name string, query *stream.Query, completed func()) error {
	last := int64(-1)
	for progress, err := range query.Progress(ctx) {
		if err != nil {
			return err
		}
		if progress.BatchID > last {
			last = progress.BatchID
			completed()
		}
		if rows := progress.NumInputRows(); rows > 0 {
			w.printf("%s  %-16s batch %-6d %7d records %9.1f/s %6.2f s",
				progress.Timestamp.UTC().Format("15:04:05Z"), name, progress.BatchID, rows,
				progress.ProcessedRowsPerSecond(), progress.BatchDuration.Seconds())
		}
	}
	return nil
}

// stop ends a query, although the context that it ran under is over.
func (w *watcher) stop(query *stream.Query) error {
	ctx, cancel := context.WithTimeout(context.Background(), w.config.StopTimeout)
	defer cancel()
	if err := query.Stop(ctx); err != nil {
		return fmt.Errorf("stopping query %s: %w", query.Name(), err)
	}
	w.printf("%-16s stopped", query.Name())
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
