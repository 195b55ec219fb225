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

	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/sparkjob/checkpoint"
	"example.com/bookstore/sparkjob/job"
	"example.com/bookstore/sparkjob/lease"
	"example.com/bookstore/sparkjob/stream"
)

// startTimeout is how long a query is waited for: to be taken by Spark, and then for its
// first micro-batch, which takes longer where there is much to read.
const startTimeout = 60 * time.Second

// Submit runs the job, or those of its queries that c names, until ctx ends, and then
// stops its queries. It starts those that do not run, and goes on watching those that
// do, such as after a driver was killed. A query that fails is started again from its
// checkpoint, and all of them are when the server has lost the session or was started
// anew. What happens is written to out, a line an event.
//
// It does so while it holds the job's lease. Another driver's is an error, or is waited
// for in standby; without one that is valid no query is started. If another driver takes
// it, Submit ends and leaves the queries to that one.
//
// It returns nil if the queries ended because ctx did or because somebody stopped
// them, and otherwise why they could not go on.
func Submit(ctx context.Context, c Config, out io.Writer) error {
	if err := Check(ctx, c); err != nil {
		return unlessEnded(ctx, err)
	}
	w := &watcher{config: c, out: out, tracker: newTracker(c.Topic.Name, c.queries())}
	store := lease.Cassandra(c.Cassandra)
	defer store.Close()
	var err error
	if w.lease, err = lease.Acquire(ctx, store, lease.Options{Job: c.JobName, Standby: c.Standby, Info: w.info, Warn: w.warn}); err != nil {
		return unlessEnded(ctx, Hint(err, c))
	}
	w.tracker.leaseHeld = w.lease.Held
	ctx, release := w.keepLease(ctx)
	stop := w.observe(ctx)
	err = supervise(ctx, w)
	var lost *lease.LostError
	if errors.As(context.Cause(ctx), &lost) {
		err = errors.Join(lost, err)
	}
	w.tracker.end(err)
	err = errors.Join(err, stop())
	release(err == nil && ctx.Err() == nil)
	return err
}

// keepLease renews the lease until release is called, and so also while the queries are
// being stopped. The context that it returns ends with ctx, and when the lease is lost.
func (w *watcher) keepLease(ctx context.Context) (held context.Context, release func(stopped bool)) {
	held, lose := context.WithCancelCause(ctx)
	keeping, end := context.WithCancel(context.WithoutCancel(ctx))
	var keeper sync.WaitGroup
	keeper.Go(func() {
		if err := w.lease.Keep(keeping); err != nil {
			lose(err)
		}
	})
	return held, func(stopped bool) {
		end()
		keeper.Wait()
		lose(nil)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTimeout)
		defer cancel()
		if err := w.lease.Release(last, stopped); err != nil {
			w.warn(fmt.Sprintf("The job's lease could not be given back, and ends by itself within %.0f s: %s", lease.TTL.Seconds(), firstLine(err.Error())),
				"the lease could not be given back", "error", firstLine(err.Error()))
		}
	}
}

// observe begins what looks at the queries beside the job itself, and returns what ends
// it and waits for that.
func (w *watcher) observe(ctx context.Context) (stop func() error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the end is reported, too
	stopMetrics := w.serveMetrics(ctx)
	var observers errgroup.Group
	observers.Go(func() error { return w.watchTopic(ctx) })
	observers.Go(func() error {
		(&reporter{watcher: w, well: time.Now()}).report(ctx)
		return nil
	})
	return func() error {
		cancel()
		stopMetrics()
		return observers.Wait()
	}
}

// supervise joins the session again as often as it is lost.
func supervise(ctx context.Context, w *watcher) error {
	pause := newPause()
	for started := false; ; {
		err := w.session(ctx, started, func() { started = true; pause.Reset() })
		if err == nil || !started || failed(err) || ctx.Err() != nil {
			return err
		}
		wait := pause.NextBackOff()
		why := firstLine(err.Error())
		w.tracker.setAll(cassandra.QueryRestarting, "Spark has gone away: "+why)
		w.warn(fmt.Sprintf("Spark has gone away, asking again in %.1f s: %s", wait.Seconds(), why),
			"Spark has gone away", "retry_in", wait, "error", why)
		if !sleep(ctx, wait) {
			return unlessEnded(ctx, err)
		}
	}
}

// newPause is how long to wait before something is tried again.
func newPause() *backoff.ExponentialBackOff {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.Multiplier, pause.MaxInterval = time.Second, 2, 30*time.Second
	return pause
}

// failed reports whether err says that a query cannot run. Any other error says that
// the server could not be asked, which may pass: one that is being shut down answers
// with whatever it stumbles over.
func failed(err error) bool {
	var exception *stream.QueryException
	return errors.As(err, &exception) || checkpoint.IsMisfit(err)
}

// unlessEnded returns err, or nil if ctx has ended: being told to end is no failure.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// watcher is one run of Submit.
type watcher struct {
	config  Config
	tracker *tracker
	lease   *lease.Lease

	mu  sync.Mutex
	out io.Writer
}

// info tells a fact: as a line to whoever reads, or as a record to a log.
func (w *watcher) info(line, message string, attrs ...any) {
	if w.config.Log != nil {
		w.config.Log.Info(message, attrs...)
		return
	}
	w.println(line)
}

// warn tells a fact about which somebody may have to do something.
func (w *watcher) warn(line, message string, attrs ...any) {
	if w.config.Log != nil {
		w.config.Log.Warn(message, attrs...)
		return
	}
	w.println(line)
}

func (w *watcher) println(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Fprintln(w.out, line)
}

// queryLine is a line about one query.
func queryLine(name, format string, args ...any) string {
	return fmt.Sprintf("%-18s ", name) + fmt.Sprintf(format, args...)
}

// session joins the job's session on the server, sees that every query runs, calls
// started and watches them. It stops them when ctx ends, when one of them cannot run
// and when they could not all be started the first time; otherwise they are left to be
// joined again. If it is not the first time, a query that fails at its start is started
// again like any that fails: Spark may be going away once more.
func (w *watcher) session(ctx context.Context, again bool, started func()) (err error) {
	session, err := Connect(ctx, w.config)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	defer session.Close()
	version, err := session.Version(ctx)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	if err := job.Prepare(ctx, session, w.config.Job); err != nil {
		return unlessEnded(ctx, err)
	}
	running, err := active(ctx, session)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	w.info(fmt.Sprintf("Spark %s at %s, session %s", version, session.Address(), session.ID()),
		"joined Spark", "version", version, "address", session.Address(), "session", session.ID())

	names := w.config.queries()
	runs := make([]*run, len(names))
	for i, name := range names {
		runs[i] = &run{watcher: w, session: session, name: name, query: running[name]}
	}
	var absent []string
	for _, r := range runs {
		if r.query == nil {
			absent = append(absent, r.name)
		}
	}
	begun := again
	defer func() {
		err = unlessEnded(ctx, err)
		if err == nil || failed(err) || !begun {
			err = errors.Join(err, w.stop(ctx, runs))
		}
	}()
	if err := w.fit(ctx, absent...); err != nil {
		return err
	}
	// Side by side, since the first micro-batch of each waits for Spark to load
	// classes. Every query is seen running before any is left to itself.
	starting, startCtx := errgroup.WithContext(ctx)
	for _, r := range runs {
		starting.Go(func() error {
			err := r.begin(startCtx)
			if again && failed(err) && !checkpoint.IsMisfit(err) {
				r.failure, err = err, nil
			}
			return err
		})
	}
	if err := starting.Wait(); err != nil {
		return err
	}
	begun = true
	started()
	w.info("Checkpoints are below "+w.config.Job.Checkpoint("")+
		"\nCtrl-C stops the queries; the next submit goes on from their checkpoints",
		"all queries run", "checkpoints", w.config.Job.Checkpoint(""))

	watching, watchCtx := errgroup.WithContext(ctx)
	for _, r := range runs {
		watching.Go(func() error { return r.watch(watchCtx) })
	}
	return watching.Wait()
}

// stop ends what runs, also when the context that it ran under is over. What another
// driver looks after now is none of this one's business.
func (w *watcher) stop(ctx context.Context, runs []*run) error {
	if w.lease.Lost() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.config.StopTimeout)
	defer cancel()
	var stopping errgroup.Group
	for _, r := range runs {
		if r.query == nil {
			continue
		}
		stopping.Go(func() error {
			if err := r.query.Stop(ctx); err != nil {
				return fmt.Errorf("stopping query %s: %w", r.name, err)
			}
			w.tracker.set(r.name, cassandra.QueryStopped, "the driver has stopped it")
			w.info(queryLine(r.name, "stopped"), "query stopped", "query", r.name)
			return nil
		})
	}
	return stopping.Wait()
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

// run is one query of the job, which its session has started or taken over.
type run struct {
	*watcher
	session *stream.Session
	name    string
	query   *stream.Query // nil while none runs
	failure error         // of its start, which watch sees to
}

// begin starts the query, unless it runs already, and waits until it really works:
// Spark gives an id also to a query that dies at once.
func (r *run) begin(ctx context.Context) error {
	verb := "runs already"
	if r.query == nil {
		if err := r.lease.Await(ctx); err != nil {
			return fmt.Errorf("waiting for the job's lease: %w", err)
		}
		// Whoever gives up while the request is under way would not know whether
		// the query started, and leave it behind.
		startCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
		defer cancel()
		query, err := job.Start(startCtx, r.session, r.config.Job, r.name)
		if err != nil {
			return r.explain(err)
		}
		r.query, verb = query, "runs"
	}
	switch err := confirm(ctx, r.query); {
	case errors.Is(err, errNoBatch):
		r.warn(queryLine(r.name, "is in its first micro-batch for %.0f s; does the Spark master have a worker with free cores?", startTimeout.Seconds()),
			"first micro-batch takes long", "query", r.name, "after", startTimeout)
	case err != nil:
		return fmt.Errorf("starting query %s: %w", r.name, r.explain(err))
	}
	r.tracker.set(r.name, cassandra.QueryRunning, "")
	r.info(queryLine(r.name, "%s, id %s", verb, r.query.ID()), "query "+verb, "query", r.name, "id", r.query.ID(), "run_id", r.query.RunID())
	return nil
}

// errNoBatch says that a query works at its first micro-batch.
var errNoBatch = errors.New("no micro-batch yet")

// confirm waits for a query's first trigger. Its error is errNoBatch where that takes
// longer than startTimeout.
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
			return struct{}{}, errNoBatch
		}
		return struct{}{}, nil
	}, backoff.WithBackOff(backoff.NewConstantBackOff(200*time.Millisecond)), backoff.WithMaxElapsedTime(startTimeout))
	return err
}

// watch reports the query's micro-batches until somebody stops it or ctx ends, and
// starts it again where it failed.
func (r *run) watch(ctx context.Context) error {
	pause := newPause()
	failures := 0
	completed := func() { failures = 0; pause.Reset() }
	err := r.failure
	if err == nil {
		err = r.follow(ctx, completed)
	}
	for {
		if ctx.Err() != nil {
			return unlessEnded(ctx, err)
		}
		if err == nil {
			r.query = nil
			r.tracker.set(r.name, cassandra.QueryStopped, "somebody stopped it")
			r.info(queryLine(r.name, "was stopped"), "query was stopped by somebody else", "query", r.name)
			return nil
		}
		if err := r.explain(err); checkpoint.IsMisfit(err) {
			r.query = nil
			r.tracker.set(r.name, cassandra.QueryFailed, err.Error())
			return err // the next start would end in the same way
		}
		var failed *stream.QueryException
		if !errors.As(err, &failed) {
			return fmt.Errorf("watching query %s: %w", r.name, err)
		}
		r.query = nil
		why := firstLine(failed.Message)
		if failures++; failures >= r.config.MaxFailures {
			r.tracker.set(r.name, cassandra.QueryFailed, why)
			return fmt.Errorf("query %s failed %d times in a row: %w", r.name, failures, failed)
		}
		wait := pause.NextBackOff()
		r.tracker.set(r.name, cassandra.QueryRestarting, "failed: "+why)
		r.warn(queryLine(r.name, "failed and starts again in %.1f s: %s", wait.Seconds(), why),
			"query failed", "query", r.name, "retry_in", wait, "error", why)
		if !sleep(ctx, wait) {
			return nil
		}
		// What fails in its first micro-batch again, as while Cassandra is away, is one more failure.
		if err = r.fit(ctx, r.name); err == nil {
			err = r.begin(ctx)
		}
		if err == nil {
			err = r.follow(ctx, completed)
		}
	}
}

// follow takes in what Spark reports of the query, tells of each micro-batch that had
// records and calls completed after each.
func (r *run) follow(ctx context.Context, completed func()) error {
	for progress, err := range r.query.Reports(ctx) {
		if err != nil {
			return err
		}
		if stalled := r.tracker.progressed(r.name, progress, time.Now()); stalled > 0 {
			r.info(queryLine(r.name, "goes on after %.0f s", stalled.Seconds()), "query goes on", "query", r.name, "stalled_for", stalled)
		}
		if progress.Idle() {
			continue
		}
		completed()
		if records := progress.NumInputRows(); records > 0 {
			r.info(fmt.Sprintf("%s  %-16s batch %-6d %7d records %9.1f/s %6.2f s",
				progress.Timestamp.UTC().Format("15:04:05Z"), r.name, progress.BatchID, records,
				progress.ProcessedRowsPerSecond(), progress.BatchDuration.Seconds()),
				"micro-batch", "query", r.name, "batch", progress.BatchID, "records", records,
				"records_per_second", progress.ProcessedRowsPerSecond(), "took", progress.BatchDuration)
		}
	}
	return nil
}

// sleep waits, and reports whether it did so to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
