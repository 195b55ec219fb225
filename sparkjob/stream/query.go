package stream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"
)

// Query is a handle to a streaming query, as PySpark's StreamingQuery is. It
// holds no state of the query: each method asks the server. It is safe for use
// by several goroutines, and remains usable after the query has ended, for about
// an hour.
type Query struct {
	session         *Session
	id, runID, name string
	ends            bool // by itself, when the available data is processed
}

// ID returns the query's id, a UUID. It is kept in the checkpoint, so that a
// query that is started again from it has the same one.
func (q *Query) ID() string { return q.id }

// RunID returns the id of this run of the query, a UUID, new at each start.
func (q *Query) RunID() string { return q.runID }

// Name returns the query's name, empty if it has none or if the handle comes
// from [Session.Attach].
func (q *Query) Name() string { return q.name }

// String returns the name, or the id of a query without one.
func (q *Query) String() string {
	if q.name != "" {
		return q.name
	}
	return q.id
}

// Status is what a query is doing.
type Status struct {
	// Message describes it in Spark's words, such as "Waiting for data to
	// arrive".
	Message string
	// IsDataAvailable tells whether there is data to process.
	IsDataAvailable bool
	// IsTriggerActive tells whether a trigger is being processed. It stays
	// false in continuous mode.
	IsTriggerActive bool
	// IsActive tells whether the query runs.
	IsActive bool
}

// underWay tells whether the query has done its first step and lives: it waits
// for data or its next trigger, or in continuous mode, it commits. It may be
// under way and not say so.
func (s *Status) underWay() bool {
	return strings.HasPrefix(s.Message, "Waiting for ") || strings.HasPrefix(s.Message, "Committing epoch ")
}

// IsActive tells whether the query runs.
func (q *Query) IsActive(ctx context.Context) (bool, error) {
	s, err := q.Status(ctx)
	if err != nil {
		return false, err
	}
	return s.IsActive, nil
}

// Status returns what the query is doing.
func (q *Query) Status(ctx context.Context) (*Status, error) {
	r, err := q.ask(ctx, "asking for the status", queryCommand{Status: true})
	if err != nil {
		return nil, err
	}
	if r.Status == nil {
		return nil, fmt.Errorf("asking for the status of query %s: the server's answer holds none", q)
	}
	s := Status(*r.Status)
	return &s, nil
}

// LastProgress returns the progress of the last micro-batch, or an idle one
// after it, or nil before the first is done.
func (q *Query) LastProgress(ctx context.Context) (*Progress, error) {
	all, err := q.progress(ctx, queryCommand{LastProgress: true})
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[len(all)-1], nil
}

// RecentProgress returns the progress of the last micro-batches, and idle ones,
// oldest first.
// The server keeps 100 (spark.sql.streaming.numRecentProgressUpdates).
func (q *Query) RecentProgress(ctx context.Context) ([]*Progress, error) {
	return q.progress(ctx, queryCommand{RecentProgress: true})
}

func (q *Query) progress(ctx context.Context, c queryCommand) ([]*Progress, error) {
	r, err := q.ask(ctx, "asking for the progress", c)
	if err != nil {
		return nil, err
	}
	all := make([]*Progress, 0, len(r.Progress.JSON))
	for _, text := range r.Progress.JSON {
		p := new(Progress)
		if err := p.UnmarshalJSON([]byte(text)); err != nil {
			return nil, fmt.Errorf("reading the progress of query %s: %w", q, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// Progress iterates over the query's progress, one element a micro-batch, each
// exactly once and in order, without idle ones. It begins with what the server
// has kept and goes on, polling, until the query ends or the loop is left. The
// last pair is (nil, error) if the query failed, with its [*QueryException], if
// the server did, or if ctx ended. Batches are missed only if more than the
// server keeps are done between two polls. A continuous query reports none.
func (q *Query) Progress(ctx context.Context) iter.Seq2[*Progress, error] {
	return func(yield func(*Progress, error) bool) {
		for p, err := range q.Reports(ctx) {
			if err == nil && p.Idle() {
				continue
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

// Reports is as Progress with the idle reports among the micro-batches: a query that
// finds no new data gives a sign of life every ten seconds.
func (q *Query) Reports(ctx context.Context) iter.Seq2[*Progress, error] {
	return func(yield func(*Progress, error) bool) {
		var c progressCursor
		for {
			// Asked first, so that what is done before the end is not missed.
			active, err := q.IsActive(ctx)
			if err != nil {
				yield(nil, err)
				return
			}
			fresh, err := c.next(ctx, q)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, p := range fresh {
				if !yield(p, nil) {
					return
				}
			}
			if !active {
				if err := q.failure(ctx); err != nil {
					yield(nil, err)
				}
				return
			}
			if err := sleep(ctx, q.session.options.pollInterval); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// progressCursor remembers how far a query's progress has been read.
type progressCursor struct{ last *Progress }

// next returns the progress since the last call.
func (c *progressCursor) next(ctx context.Context, q *Query) ([]*Progress, error) {
	newest, err := q.LastProgress(ctx)
	if err != nil || newest == nil || newest.same(c.last) {
		return nil, err
	}
	fresh := []*Progress{newest}
	// The list is a hundred times as long, so it is only asked for where a batch
	// may have been missed.
	if c.last == nil || c.last.Idle() || newest.Idle() || newest.BatchID != c.last.BatchID+1 {
		recent, err := q.RecentProgress(ctx)
		if err != nil {
			return nil, err
		}
		fresh = after(recent, c.last)
	}
	if len(fresh) > 0 {
		c.last = fresh[len(fresh)-1]
	}
	return fresh, nil
}

// after gives the part of recent that comes after last.
func after(recent []*Progress, last *Progress) []*Progress {
	if last == nil {
		return recent
	}
	for i, p := range recent {
		if p.same(last) {
			return recent[i+1:]
		}
	}
	// The server has forgotten last: all that it kept is newer.
	return recent
}

// ProcessAllAvailable waits until the data that the source had at the time of
// the call is processed. It is meant for tests: with a source that always has
// more data it may take forever. The error is the [*QueryException] of a query
// that failed, and [ErrNotActive] for a query that had already been stopped.
func (q *Query) ProcessAllAvailable(ctx context.Context) error {
	active, err := q.IsActive(ctx)
	if err != nil {
		return err
	}
	if active {
		_, err = q.ask(ctx, "waiting for the available data", queryCommand{ProcessAllAvailable: true})
		var answer *ServerError
		if err == nil || !errors.As(err, &answer) || answer.kind != nil {
			return err
		}
	}
	if failure := q.failure(ctx); failure != nil {
		return failure
	}
	if err == nil && !q.ends {
		return fmt.Errorf("waiting for the available data of query %s: %w", q, ErrNotActive)
	}
	return err
}

// awaitSlice is how long the server is asked to wait at a time. The call is
// abandoned at once when ctx ends; this is how long the server's thread stays.
const awaitSlice = 2 * time.Second

// AwaitTermination waits until the query ends, for at most timeout, or for as
// long as ctx allows if timeout is 0. It tells whether the query has ended, and
// how: the error is nil if it was stopped or had no more data, and its
// [*QueryException] if it failed.
func (q *Query) AwaitTermination(ctx context.Context, timeout time.Duration) (bool, error) {
	ended, err := await(timeout, func(slice time.Duration) (bool, error) {
		r, err := q.ask(ctx, "awaiting the end", queryCommand{AwaitTermination: &awaitTimeout{slice.Milliseconds()}})
		if err != nil {
			return false, err
		}
		return r.AwaitTermination.Terminated, nil
	})
	var answer *ServerError
	if errors.As(err, &answer) && answer.kind == nil {
		// The server answers with the query's exception, but short of its parts.
		if failure := q.failure(ctx); failure != nil {
			return true, failure
		}
	}
	if ended && err == nil {
		err = q.failure(ctx)
	}
	return ended, err
}

// await asks the server to wait, a slice at a time, until it says that what is
// awaited has ended or the timeout has passed.
func await(timeout time.Duration, ask func(slice time.Duration) (bool, error)) (bool, error) {
	if timeout < 0 {
		return false, fmt.Errorf("awaiting an end: the timeout %v is negative", timeout)
	}
	deadline := time.Now().Add(timeout)
	for {
		slice := awaitSlice
		if timeout > 0 {
			slice = min(slice, max(time.Until(deadline), time.Millisecond))
		}
		ended, err := ask(slice)
		if ended || err != nil || (timeout > 0 && !time.Now().Before(deadline)) {
			return ended, err
		}
	}
}

// Exception returns why the query failed, or nil if it runs or ended without a
// failure. The second value says that the server could not be asked.
func (q *Query) Exception(ctx context.Context) (*QueryException, error) {
	r, err := q.ask(ctx, "asking for the exception", queryCommand{Exception: true})
	if err != nil {
		return nil, err
	}
	e := r.Exception
	if e.Message == "" && e.ErrorClass == "" {
		return nil, nil
	}
	return &QueryException{QueryID: q.id, RunID: q.runID, Message: e.Message, ErrorClass: e.ErrorClass, StackTrace: e.StackTrace}, nil
}

// failure is Exception as one error, nil if there is none.
func (q *Query) failure(ctx context.Context) error {
	e, err := q.Exception(ctx)
	if err != nil {
		return err
	}
	if e != nil {
		return e
	}
	return nil
}

// Explain returns the physical plan of the last micro-batch, and the logical
// plans too if extended. Before the first batch the text says that there is none.
func (q *Query) Explain(ctx context.Context, extended bool) (string, error) {
	r, err := q.ask(ctx, "explaining", queryCommand{Explain: &explain{Extended: extended}})
	if err != nil {
		return "", err
	}
	return r.Explain.Result, nil
}

// Stop ends the query and returns when it has ended. A query that has ended
// already is no error. What it had processed is in its checkpoint.
func (q *Query) Stop(ctx context.Context) error {
	_, err := q.ask(ctx, "stopping", queryCommand{Stop: true})
	return err
}

// ask sends a command about the query.
func (q *Query) ask(ctx context.Context, doing string, c queryCommand) (*queryResult, error) {
	c.QueryID = instanceID{ID: q.id, RunID: q.runID}
	a, err := q.session.execute(ctx, plan{Command: &command{Query: &c}})
	if err != nil {
		return nil, fmt.Errorf("%s of query %s: %w", doing, q, q.session.explainMissing(ctx, err))
	}
	return &a.Query, nil
}
