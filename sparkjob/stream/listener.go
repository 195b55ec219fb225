package stream

import (
	"context"
	"time"
)

// Listener is told of what the queries of a session do, as PySpark's
// StreamingQueryListener is. Fields may be nil. They are called one at a time,
// from the goroutine that called [Manager.Listen].
type Listener struct {
	// OnStarted is told of each query, once, before anything else about it;
	// also of those that ran already when Listen was called.
	OnStarted func(q *Query)
	// OnProgress is told of each micro-batch, exactly once and in order.
	OnProgress func(q *Query, p *Progress)
	// OnIdle is told of a query that has had no data for ten seconds
	// (spark.sql.streaming.noDataProgressEventInterval), and again every ten
	// seconds.
	OnIdle func(q *Query, at time.Time)
	// OnTerminated is told of each query that ended, after its last progress;
	// failure is nil unless the query failed.
	OnTerminated func(q *Query, failure *QueryException)
}

// Listen tells l of the session's queries until ctx ends, which is what it then
// returns, or the server cannot be asked. A listener of Spark's own would have
// to be Python or Scala code on the server; this one polls, at the interval of
// [WithPollInterval]. It hears of every query that this Session starts; of one
// started elsewhere only if it runs at the time of a poll.
func (m *Manager) Listen(ctx context.Context, l Listener) error {
	log := &startLog{}
	m.session.mu.Lock()
	m.session.started[log] = struct{}{}
	m.session.mu.Unlock()
	defer func() {
		m.session.mu.Lock()
		delete(m.session.started, log)
		m.session.mu.Unlock()
	}()

	var watched []*watchedQuery
	known := map[string]bool{} // run ids; the list and the log overlap
	for {
		active, err := m.Active(ctx)
		if err != nil {
			return err
		}
		for _, q := range append(log.take(m.session), active...) {
			if known[q.runID] {
				continue
			}
			known[q.runID] = true
			watched = append(watched, &watchedQuery{Query: q})
			if l.OnStarted != nil {
				l.OnStarted(q)
			}
		}
		remaining := watched[:0]
		for _, w := range watched {
			ended, err := w.report(ctx, l)
			if err != nil {
				return err
			}
			if !ended {
				remaining = append(remaining, w)
			}
		}
		watched = remaining
		if err := sleep(ctx, m.session.options.pollInterval); err != nil {
			return err
		}
	}
}

// watchedQuery is how far a listener has followed a query.
type watchedQuery struct {
	*Query
	cursor progressCursor
}

// report tells l what is new, and whether the query has ended.
func (w *watchedQuery) report(ctx context.Context, l Listener) (ended bool, err error) {
	active, err := w.IsActive(ctx) // first, so that what is done before the end is not missed
	if err != nil {
		return false, err
	}
	fresh, err := w.cursor.next(ctx, w.Query)
	if err != nil {
		return false, err
	}
	for _, p := range fresh {
		switch {
		case p.Idle() && l.OnIdle != nil:
			l.OnIdle(w.Query, p.Timestamp)
		case !p.Idle() && l.OnProgress != nil:
			l.OnProgress(w.Query, p)
		}
	}
	if active {
		return false, nil
	}
	failure, err := w.Exception(ctx)
	if err != nil {
		return false, err
	}
	if l.OnTerminated != nil {
		l.OnTerminated(w.Query, failure)
	}
	return true, nil
}

// startLog collects the queries that a session starts, for a listener.
type startLog struct{ queries []*Query } // guarded by the session's mutex

func (l *startLog) take(s *Session) []*Query {
	s.mu.Lock()
	defer s.mu.Unlock()
	queries := l.queries
	l.queries = nil
	return queries
}

// logStart tells the session's listeners of a new query.
func (s *Session) logStart(q *Query) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for log := range s.started {
		log.queries = append(log.queries, q)
	}
}
