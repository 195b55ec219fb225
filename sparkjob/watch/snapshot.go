// Package watch follows the job's queries while they run: what Spark reports of them,
// how far they are behind Kafka, and what Cassandra has of them. It stands beside the
// data's path, reads only, and goes on asking whatever cannot be reached.
package watch

import (
	"slices"
	"time"

	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/sparkjob/driver"
	"example.com/bookstore/sparkjob/stream"
)

// Query is what is known of one query. Numbers are those of the latest report of Spark,
// durations those of the latest micro-batch; a pointer or map is nil where nothing is
// known.
type Query struct {
	At      time.Time `json:"at"`
	Query   string    `json:"query"`
	State   string    `json:"state"`   // starting, running, stalled, restarting, stopped, failed or unknown
	Message string    `json:"message"` // in Spark's or the driver's words

	BatchID        *int64           `json:"batch_id"`
	BatchStartedAt *time.Time       `json:"batch_started_at"`
	BatchRows      int64            `json:"batch_rows"`
	BatchMs        int64            `json:"batch_duration_ms"`
	PhasesMs       map[string]int64 `json:"durations_ms"` // by Spark's name of the phase

	InputRowsPerSecond     float64       `json:"input_rows_per_second"`
	ProcessedRowsPerSecond float64       `json:"processed_rows_per_second"`
	Lag                    map[int]int64 `json:"lag"` // records that wait, by partition

	Watermark   *time.Time `json:"watermark"`
	Stateful    bool       `json:"stateful"`
	StateRows   int64      `json:"state_rows"`
	StateBytes  int64      `json:"state_bytes"`
	DroppedRows int64      `json:"rows_dropped_by_watermark"` // since the driver or this command started
	Restarts    int        `json:"restarts"`                  // by the driver

	Rejected *Rejected `json:"rejected_today,omitempty"` // of the query rejected_events
}

// Rejected counts today's rejected records (UTC).
type Rejected struct {
	Records int64            `json:"records"`
	Reasons map[string]int64 `json:"reasons"` // a record counts under each of its reasons
}

// TotalLag sums the lag over the partitions, -1 if unknown.
func (q Query) TotalLag() int64 {
	if q.Lag == nil {
		return -1
	}
	var sum int64
	for _, n := range q.Lag {
		sum += n
	}
	return sum
}

// Snapshot is what is known at one moment.
type Snapshot struct {
	At       time.Time
	Job      string
	Spark    string // its version, "" before the first answer
	Address  string // of the Spark Connect server
	Queries  []Query
	Rejected *Rejected // nil if unknown
	Unasked  []string  // sentences: what cannot be reached
	Notices  []string  // sentences about what can be, and is not as it should
}

// Problems are the sentences of Unasked and Notices.
func (s Snapshot) Problems() []string { return slices.Concat(s.Unasked, s.Notices) }

// known is what the sources have answered so far.
type known struct {
	address, version string
	topic            string // that the queries read
	states           map[string]driver.QueryState
	batches          map[string]*stream.Progress // the latest micro-batch of each
	dropped          map[string]int64
	ends             map[int]int64
	reports          map[string]cassandra.StreamingQuery
	rejected         *Rejected

	sparkErr, kafkaErr, cassandraErr error
	sparkAsked                       time.Time // when the question under way was asked; zero if none is
}

// snapshot puts together what is known of the named queries.
func (k *known) snapshot(job string, names []string, now time.Time) Snapshot {
	s := Snapshot{At: now, Job: job, Spark: k.version, Address: k.address, Rejected: k.rejected}
	driverSeen, running := false, false
	for _, name := range names {
		q := k.query(name, now)
		report, ok := k.reports[name]
		driverSeen = driverSeen || (ok && now.Sub(report.ReportedAt) < driver.ReportValid)
		running = running || k.states[name].Running
		s.Queries = append(s.Queries, q)
	}
	for _, err := range []error{k.sparkErr, k.kafkaErr, k.cassandraErr} {
		if err != nil {
			s.Unasked = append(s.Unasked, err.Error())
		}
	}
	if waited := now.Sub(k.sparkAsked); !k.sparkAsked.IsZero() && waited > 3*time.Second && k.sparkErr == nil {
		s.Unasked = append(s.Unasked, "Spark at "+k.address+" has not answered for "+waited.Round(time.Second).String()+".")
	}
	if running && !driverSeen && k.reports != nil && k.cassandraErr == nil {
		s.Notices = append(s.Notices, "No driver looks after the queries; `sparkjob submit` does.")
	}
	return s
}

func (k *known) query(name string, now time.Time) Query {
	q := Query{At: now, Query: name, State: "unknown"}
	report, reported := k.reports[name]
	reported = reported && now.Sub(report.ReportedAt) < driver.ReportValid
	state, ok := k.states[name]
	if ok && k.sparkErr == nil {
		q.State, q.Message = "stopped", ""
		if state.Running {
			q.State, q.Message = "running", state.Message
		}
	}
	// The driver knows why a query does not run, and for how long one has said nothing.
	if reported && (q.State == "unknown" || q.State == "stopped" || report.State == "stalled") && (report.State != "running" || q.State == "unknown") {
		q.State, q.Message = string(report.State), report.Message
	}
	if reported {
		q.Restarts = report.Restarts
	}
	q.DroppedRows = k.dropped[name]
	if reported {
		q.DroppedRows = max(q.DroppedRows, report.RowsDroppedByWatermark)
	}
	if p := state.Last; p != nil {
		q.InputRowsPerSecond, q.ProcessedRowsPerSecond = p.InputRowsPerSecond(), p.ProcessedRowsPerSecond()
		if w := p.EventTime.Watermark; w != nil && w.Unix() > 0 {
			q.Watermark = w
		}
		q.Stateful = len(p.StateOperators) > 0
		for _, operator := range p.StateOperators {
			q.StateRows += operator.NumRowsTotal
			q.StateBytes += operator.MemoryUsedBytes
		}
		q.Lag = driver.Lag(k.ends, driver.EndOffsets(p, k.topic))
	}
	if p := k.batches[name]; p != nil {
		q.BatchID, q.BatchStartedAt = &p.BatchID, &p.Timestamp
		q.BatchRows, q.BatchMs = p.NumInputRows(), p.BatchDuration.Milliseconds()
		q.PhasesMs = map[string]int64{}
		for phase, took := range p.Durations {
			q.PhasesMs[phase] = took.Milliseconds()
		}
	}
	if name == rejectedQuery {
		q.Rejected = k.rejected
	}
	return q
}
