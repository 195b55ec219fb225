package driver

import (
	"encoding/json"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/sparkjob/stream"
)

// over tells that the driver does nothing more for a query in this state.
func over(s cassandra.QueryState) bool {
	return s == cassandra.QueryStopped || s == cassandra.QueryFailed
}

// Report is what the driver knows of one query. Counts are since the driver started.
type Report struct {
	Query   string
	State   cassandra.QueryState
	Message string // why, in the driver's words; "" while it runs
	Topic   string // that it reads

	Last  *stream.Progress // the latest report, perhaps an idle one; nil before the first
	Batch *stream.Progress // the latest micro-batch; nil before the first
	Began map[int]int64    // by partition, the first offset of the earliest report that Spark still had
	Read  map[int]int64    // by partition, the first offset that was not read yet; nil if unknown

	Lag    map[int]int64 // by partition, records that wait; nil if unknown
	Behind time.Duration // for how long the oldest of them has waited; 0 if none does

	InputRows         int64
	Batches           int64
	PhaseTime         map[string]time.Duration // by phase, spent in all batches
	DroppedRows       int64                    // by the watermark
	Stalls, Restarts  int
	LastBatchComplete time.Time // zero before the first
}

// waiting is the number of records that wait, over all partitions.
func (r *Report) waiting() int64 {
	var sum int64
	for _, n := range r.Lag {
		sum += n
	}
	return sum
}

// stateSize sums the state of a query's operators.
func (r *Report) stateSize() (rows, bytes int64) {
	if r.Last != nil {
		for _, o := range r.Last.StateOperators {
			rows += o.NumRowsTotal
			bytes += o.MemoryUsedBytes
		}
	}
	return rows, bytes
}

// tracker knows the state of each query: the watcher tells it what happens, and the
// reports to Cassandra and Prometheus are made of it.
type tracker struct {
	topic   string
	changed chan struct{}                       // holds a token once a state has changed
	onBatch func(query string, d time.Duration) // called for each micro-batch; nil for none

	leaseHeld func() bool // nil where nobody knows

	mu       sync.Mutex
	names    []string
	queries  map[string]*tracked
	ends     endHistory
	rejected cassandra.Rejections // counted so far

	failedReports atomic.Int64 // that Cassandra did not take
}

type tracked struct {
	Report
	sign      time.Time // of the latest sign of life
	stalledAt time.Time
	lastRun   string // of the latest micro-batch that was counted
	lastBatch int64
}

func newTracker(topic string, names []string) *tracker {
	t := &tracker{topic: topic, changed: make(chan struct{}, 1), names: names, queries: map[string]*tracked{}}
	t.rejected.Reasons = map[string]int64{}
	for _, name := range names {
		t.queries[name] = &tracked{
			Report: Report{Query: name, State: cassandra.QueryStarting, Topic: topic, PhaseTime: map[string]time.Duration{}},
			sign:   time.Now(), lastBatch: -1,
		}
	}
	return t
}

// set changes the state of a query.
func (t *tracker) set(query string, state cassandra.QueryState, message string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.queries[query]
	q.sign = time.Now() // what has just begun gets its time before it counts as stalled
	t.setLocked(q, state, message)
}

func (t *tracker) setLocked(q *tracked, state cassandra.QueryState, message string) {
	if q.State == state && q.Message == message {
		return
	}
	if q.State != cassandra.QueryRestarting && state == cassandra.QueryRestarting {
		q.Restarts++
	}
	q.State, q.Message = state, message
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// setAll changes the state of all queries that are not over.
func (t *tracker) setAll(state cassandra.QueryState, message string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, q := range t.queries {
		if !over(q.State) {
			t.setLocked(q, state, message)
		}
	}
}

// end gives every query that is not over its last state: the job has ended, with err.
func (t *tracker) end(err error) {
	if err == nil {
		t.setAll(cassandra.QueryStopped, "the driver has ended")
	} else {
		t.setAll(cassandra.QueryFailed, firstLine(err.Error()))
	}
}

// progressed takes in what Spark reports of a query, and returns for how long it had
// been stalled, 0 if it had not. A report that was taken in before changes nothing: the
// server tells what it has kept to each driver, and again after the session was lost.
func (t *tracker) progressed(query string, p *stream.Progress, now time.Time) (stalledFor time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.queries[query]
	if q.Last != nil && p.Timestamp.Before(q.Last.Timestamp) {
		return 0
	}
	q.Last, q.sign = p, now
	if read := EndOffsets(p, t.topic); read != nil {
		q.Read = read
	}
	if q.Began == nil {
		if q.Began = offsets(p, t.topic, startOffset); q.Began == nil { // the first batch of all
			q.Began = map[int]int64{}
		}
	}
	if !p.Idle() && (p.RunID != q.lastRun || p.BatchID > q.lastBatch) {
		q.lastRun, q.lastBatch = p.RunID, p.BatchID
		q.Batch = p
		q.Batches++
		q.InputRows += p.NumInputRows()
		for _, o := range p.StateOperators {
			q.DroppedRows += o.NumRowsDroppedByWatermark
		}
		for phase, d := range p.Durations {
			q.PhaseTime[phase] += d
		}
		q.LastBatchComplete = p.Timestamp.Add(p.BatchDuration)
		if t.onBatch != nil {
			t.onBatch(query, p.BatchDuration)
		}
	}
	if q.State == cassandra.QueryStalled {
		stalledFor = now.Sub(q.stalledAt)
		t.setLocked(q, cassandra.QueryRunning, "")
	}
	return stalledFor
}

// snapshot returns the reports of all queries, in their order, as of now.
func (t *tracker) snapshot(now time.Time) []Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Report, 0, len(t.names))
	for _, name := range t.names {
		list = append(list, t.report(t.queries[name], now))
	}
	return list
}

func (t *tracker) report(q *tracked, now time.Time) Report {
	r := q.Report
	r.PhaseTime = maps.Clone(q.PhaseTime)
	if lag, since := t.ends.lag(q.Read, now); lag != nil {
		r.Lag = lag
		if !since.IsZero() {
			r.Behind = now.Sub(since)
		}
	}
	return r
}

func startOffset(s stream.SourceProgress) json.RawMessage { return s.StartOffset }

// EndOffsets returns up to where a query has read a topic, by partition: of each the
// first offset that it has not read. It is nil if progress is, or does not tell.
func EndOffsets(progress *stream.Progress, topic string) map[int]int64 {
	if progress == nil {
		return nil
	}
	return offsets(progress, topic, func(s stream.SourceProgress) json.RawMessage { return s.EndOffset })
}

// Lag returns how many records wait in each partition that ends at the one offset and
// has been read up to the other. It is nil if either is not known. Kafka may have been
// asked before Spark.
func Lag(ends, read map[int]int64) map[int]int64 {
	if ends == nil || read == nil {
		return nil
	}
	waiting := make(map[int]int64, len(ends))
	for partition, end := range ends {
		waiting[partition] = max(end-read[partition], 0)
	}
	return waiting
}

// offsets returns, by partition of a topic, the offsets at the start or the end of what a
// progress report is about, nil if it has none.
func offsets(p *stream.Progress, topic string, which func(stream.SourceProgress) json.RawMessage) map[int]int64 {
	var read map[int]int64
	for _, source := range p.Sources {
		var topics map[string]map[string]int64
		if json.Unmarshal(which(source), &topics) != nil {
			continue // another source's
		}
		for partition, offset := range topics[topic] {
			if n, err := strconv.Atoi(partition); err == nil {
				if read == nil {
					read = map[int]int64{}
				}
				// A query that reads the topic twice has read what both have.
				if known, ok := read[n]; !ok || offset < known {
					read[n] = offset
				}
			}
		}
	}
	return read
}
