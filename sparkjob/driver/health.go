package driver

import (
	"context"
	"fmt"
	"sync"
	"time"

	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/sparkjob/lease"
)

// healthTimeout bounds all questions of Examine together.
const healthTimeout = 15 * time.Second

// Health is what a look at the job has found, in sentences. The job is well if both are
// empty.
type Health struct {
	Wrong   []string // what is wrong
	Unknown []string // what could not be told
}

// Examine looks whether each query of c runs and gets on, and a driver looks after them.
// It asks Spark, Kafka and Cassandra at the same time, and waits for none without limit.
func Examine(ctx context.Context, c Config) Health {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	seen := sighting{at: time.Now()}
	var asking sync.WaitGroup
	asking.Go(func() { seen.states, seen.sparkErr = askSpark(ctx, c) })
	asking.Go(func() { seen.due, seen.kafkaErr = dueOffsets(ctx, c, seen.at) })
	asking.Go(func() { seen.reports, seen.lease, seen.cassandraErr = askCassandra(ctx, c) })
	asking.Wait()
	return seen.judge(c)
}

// sighting is what the three have answered.
type sighting struct {
	at      time.Time
	states  []QueryState // of the queries, in their order
	due     map[int]int64
	reports map[string]cassandra.StreamingQuery // by query, those that a driver keeps up
	lease   *cassandra.JobLease                 // nil if nobody has it

	sparkErr, kafkaErr, cassandraErr error
}

func askSpark(ctx context.Context, c Config) ([]QueryState, error) {
	session, err := Connect(ctx, c)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	states, err := Status(ctx, session, c.queries()...)
	if err != nil {
		return nil, fmt.Errorf("asking Spark at %s: %w", session.Address(), err)
	}
	return states, nil
}

func askCassandra(ctx context.Context, c Config) (map[string]cassandra.StreamingQuery, *cassandra.JobLease, error) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	config := c.Cassandra
	config.Timeout = reportTimeout
	session, err := config.Connect(ctx)
	if err != nil {
		return nil, nil, Hint(err, c)
	}
	defer session.Close()
	list, err := cassandra.StreamingQueries(ctx, session, c.JobName)
	if err != nil {
		return nil, nil, Hint(err, c)
	}
	reports := map[string]cassandra.StreamingQuery{}
	for _, report := range list {
		if time.Since(report.ReportedAt) < ReportValid {
			reports[report.Query] = report
		}
	}
	held, err := cassandra.ReadJobLease(ctx, session, c.JobName)
	if held != nil && held.Stopped {
		held = nil
	}
	return reports, held, Hint(err, c)
}

// Holder returns the lease of the driver that runs the job, nil if none does.
func Holder(ctx context.Context, c Config) (*cassandra.JobLease, error) {
	_, held, err := askCassandra(ctx, c)
	return held, err
}

func (s *sighting) judge(c Config) (h Health) {
	wrong := func(format string, args ...any) { h.Wrong = append(h.Wrong, fmt.Sprintf(format, args...)) }
	for _, err := range []error{s.sparkErr, s.kafkaErr, s.cassandraErr} {
		if err != nil {
			h.Unknown = append(h.Unknown, firstLine(err.Error()))
		}
	}
	if s.kafkaErr == nil {
		markStalled(s.states, c.Topic.Name, s.due, s.at, c.StalledAfter)
	}
	states := map[string]QueryState{}
	for _, state := range s.states {
		states[state.Name] = state
	}
	running := false
	for _, name := range c.queries() {
		state, asked := states[name]
		report, reported := s.reports[name]
		running = running || state.Running
		switch {
		case state.Stalled:
			wrong("query %s is stalled: %d records have waited for %v and more, and no micro-batch completes; do Cassandra and Spark's workers answer?",
				name, state.waiting, c.StalledAfter)
		// The driver knows why one does not run, and of one without a micro-batch that it
		// has stalled.
		case reported && report.State == cassandra.QueryStalled && (state.Last == nil || !asked):
			wrong("query %s is stalled: %s", name, report.Message)
		case reported && report.State == cassandra.QueryStarting:
			wrong("query %s is starting and has not been seen to work yet", name)
		case reported && report.State == cassandra.QueryRestarting:
			wrong("query %s is being started again: %s", name, report.Message)
		case asked && state.Running:
		case reported && report.State == cassandra.QueryFailed:
			wrong("query %s has failed: %s", name, report.Message)
		case asked:
			wrong("query %s does not run; `sparkjob submit` starts it", name)
		case reported && report.State == cassandra.QueryStopped:
			wrong("query %s is stopped: %s; `sparkjob submit` starts it", name, report.Message)
		}
	}
	switch {
	case !running || s.cassandraErr != nil:
	case s.lease == nil:
		wrong("no driver looks after the queries; `sparkjob submit` does")
	case len(s.reports) == 0:
		wrong("the driver, %s, tells nothing of the queries; is it stopped?", lease.Describe(*s.lease))
	}
	return h
}
