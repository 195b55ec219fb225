package driver

import (
	"context"
	"fmt"
	"maps"
	"time"

	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/topic"
)

const (
	// askInterval is the time between two looks at the topic's end.
	askInterval = time.Second
	// endsValid is how long an answer counts while there is no other.
	endsValid = 10 * time.Second
	// keptEnds bounds the memory of earlier answers.
	keptEnds = 4000
)

// endHistory remembers how far the topic had grown and when, which tells how old the
// records are that wait. Times are the driver's own.
type endHistory struct {
	changes []endChange // oldest first
	asked   time.Time   // of the latest answer
}

type endChange struct {
	at   time.Time
	ends map[int]int64 // by partition
}

func (h *endHistory) add(at time.Time, ends map[int]int64) {
	h.asked = at
	if n := len(h.changes); n > 0 && maps.Equal(h.changes[n-1].ends, ends) {
		return
	}
	if len(h.changes) == keptEnds {
		h.changes = append(h.changes[:0], h.changes[keptEnds/2:]...)
	}
	h.changes = append(h.changes, endChange{at, ends})
}

// lag returns how many records wait in each partition for a reader that has read so
// far, and since when the oldest of them has waited, zero if none does. The lag is nil
// where it is not known. What was there before the first answer counts from then.
func (h *endHistory) lag(read map[int]int64, now time.Time) (lag map[int]int64, since time.Time) {
	if read == nil || len(h.changes) == 0 || now.Sub(h.asked) > endsValid {
		return nil, time.Time{}
	}
	lag = Lag(h.changes[len(h.changes)-1].ends, read)
	for _, change := range h.changes {
		for partition, end := range change.ends {
			if end > read[partition] {
				return lag, change.at
			}
		}
	}
	return lag, time.Time{}
}

// stall is a query that has just been found stalled.
type stall struct {
	query   string
	waiting int64
	silent  time.Duration
}

// judge takes in the topic's end and finds the queries that have stalled: records wait,
// and for the time after, since they came, Spark has reported nothing. That happens
// above all while Cassandra is away: the sink tries again without limit and in silence.
func (t *tracker) judge(ends map[int]int64, now time.Time, after time.Duration) []stall {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ends.add(now, ends)
	var stalls []stall
	for _, name := range t.names {
		q := t.queries[name]
		if q.State != cassandra.QueryRunning {
			continue
		}
		lag, since := t.ends.lag(q.Read, now)
		if lag == nil || since.IsZero() {
			continue
		}
		if q.sign.After(since) {
			since = q.sign
		}
		if silent := now.Sub(since); silent >= after {
			s := stall{name, (&Report{Lag: lag}).waiting(), silent}
			q.Stalls++
			q.stalledAt = since
			t.setLocked(q, cassandra.QueryStalled, fmt.Sprintf("%d records wait and no micro-batch has completed for %.0f s", s.waiting, silent.Seconds()))
			stalls = append(stalls, s)
		}
	}
	return stalls
}

// watchTopic asks for the topic's end, once a second, until ctx ends, and tells which
// queries have stalled.
func (w *watcher) watchTopic(ctx context.Context) error {
	kafka, err := topic.NewAdmin(w.config.Kafka, requestTimeout)
	if err != nil {
		return err
	}
	defer kafka.Close()
	failing := false
	for sleep(ctx, askInterval) {
		ends, err := kafka.EndOffsets(ctx, w.config.Topic.Name)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !failing:
			failing = true
			w.warn("How many records wait cannot be told: "+firstLine(err.Error()), "asking Kafka for the topic's end", "error", firstLine(err.Error()))
		case err == nil && failing:
			failing = false
			w.info("Kafka tells again how many records wait", "Kafka tells the topic's end again")
		}
		if err != nil {
			continue
		}
		for _, s := range w.tracker.judge(ends, time.Now(), w.config.StalledAfter) {
			w.warn(queryLine(s.query, "stalled: %d records wait and no micro-batch has completed for %.0f s; do Cassandra and Spark's workers answer?",
				s.waiting, s.silent.Seconds()),
				"query stalled", "query", s.query, "waiting_records", s.waiting, "silent_for", s.silent)
		}
	}
	return nil
}

// FindStalled marks the running queries that have stalled: for the time after, records
// of the topic have waited and the query has reported nothing. Its error says that Kafka
// does not tell what waits; then none is marked.
func FindStalled(ctx context.Context, c Config, states []QueryState) error {
	now := time.Now()
	due, err := dueOffsets(ctx, c, now)
	if err != nil {
		return err
	}
	markStalled(states, c.Topic.Name, due, now, c.StalledAfter)
	return nil
}

// dueOffsets returns, by partition, the offset before which every record of the topic
// has been there for c.StalledAfter.
func dueOffsets(ctx context.Context, c Config, now time.Time) (map[int]int64, error) {
	kafka, err := topic.NewAdmin(c.Kafka, reportTimeout)
	if err != nil {
		return nil, err
	}
	defer kafka.Close()
	// The ends first: what comes in between is then not taken for old.
	due, err := kafka.EndOffsets(ctx, c.Topic.Name)
	if err != nil {
		return nil, hintKafka(err, c)
	}
	fresh, err := kafka.OffsetsAt(ctx, c.Topic.Name, now.Add(-c.StalledAfter))
	if err != nil {
		return nil, hintKafka(err, c)
	}
	for partition, offset := range fresh {
		due[partition] = min(due[partition], offset)
	}
	return due, nil
}

func markStalled(states []QueryState, topicName string, due map[int]int64, now time.Time, after time.Duration) {
	for i, s := range states {
		if !s.Running || s.Last == nil || now.Sub(s.Last.Timestamp.Add(s.Last.BatchDuration)) < after {
			continue
		}
		lag := Lag(due, EndOffsets(s.Last, topicName))
		states[i].waiting = (&Report{Lag: lag}).waiting()
		states[i].Stalled = states[i].waiting > 0
	}
}
