package cassandra

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/gocql/gocql"
)

var (
	//go:embed queries/streaming_queries.cql
	streamingQueries string
	//go:embed queries/write_streaming_query.cql
	writeStreamingQuery string
)

// QueryState is what a streaming query is doing.
type QueryState string

// The states of a streaming query.
const (
	QueryStarting   QueryState = "starting" // until it is seen to work
	QueryRunning    QueryState = "running"
	QueryStalled    QueryState = "stalled"    // runs, but does not get on although there are records
	QueryRestarting QueryState = "restarting" // failed, and is being started again
	QueryStopped    QueryState = "stopped"    // was told to end
	QueryFailed     QueryState = "failed"     // and is not started again
)

// QueryStates lists every state.
func QueryStates() []QueryState {
	return []QueryState{QueryStarting, QueryRunning, QueryStalled, QueryRestarting, QueryStopped, QueryFailed}
}

// StreamingQuery is a row of streaming_queries: what the driver last saw of one query
// of a job. It is the driver that writes it, every few seconds and at each change.
type StreamingQuery struct {
	Job     string     `json:"job"`
	Query   string     `json:"query"`
	State   QueryState `json:"state"`
	Message string     `json:"message"` // in Spark's or the driver's words
	Topic   string     `json:"topic"`   // that it reads

	BatchID                int64     `json:"batch_id"`                  // the latest micro-batch
	BatchStartedAt         time.Time `json:"batch_started_at,omitzero"` // UTC; zero if there was none
	BatchDurationMs        int64     `json:"batch_duration_ms"`
	InputRows              int64     `json:"input_rows"` // of the batch
	InputRowsPerSecond     float64   `json:"input_rows_per_second"`
	ProcessedRowsPerSecond float64   `json:"processed_rows_per_second"`

	EndOffsets map[int]int64 `json:"end_offsets"` // by partition, the first offset that it has not read

	Watermark              time.Time `json:"watermark,omitzero"` // UTC; zero for a query without one
	StateRows              int64     `json:"state_rows"`
	StateBytes             int64     `json:"state_bytes"`
	RowsDroppedByWatermark int64     `json:"rows_dropped_by_watermark"` // since the query was started

	Restarts   int       `json:"restarts"`    // by this driver
	ReportedAt time.Time `json:"reported_at"` // UTC; an old one tells that the driver is gone
}

// StreamingQueries returns what the driver last saw of each query of a job, by name.
// It is empty for a job that never ran.
func StreamingQueries(ctx context.Context, session *gocql.Session, job string) ([]StreamingQuery, error) {
	rows := session.Query(streamingQueries, job).WithContext(ctx).Iter().Scanner()
	var list []StreamingQuery
	for rows.Next() {
		var q StreamingQuery
		var started, watermark, reported time.Time
		err := rows.Scan(&q.Job, &q.Query, &q.State, &q.Message, &q.Topic,
			&q.BatchID, &started, &q.BatchDurationMs, &q.InputRows, &q.InputRowsPerSecond, &q.ProcessedRowsPerSecond,
			&q.EndOffsets, &watermark, &q.StateRows, &q.StateBytes, &q.RowsDroppedByWatermark, &q.Restarts, &reported)
		if err != nil {
			return nil, fmt.Errorf("reading streaming_queries: %w", err)
		}
		q.BatchStartedAt, q.Watermark, q.ReportedAt = started.UTC(), watermark.UTC(), reported.UTC()
		list = append(list, q)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading streaming_queries: %w", err)
	}
	return list, nil
}

// WriteStreamingQuery writes a row of streaming_queries in the place of the one that
// the same job and query had.
func WriteStreamingQuery(ctx context.Context, session *gocql.Session, q StreamingQuery) error {
	err := session.Query(writeStreamingQuery, q.Job, q.Query, string(q.State), q.Message, q.Topic,
		q.BatchID, orNull(q.BatchStartedAt), q.BatchDurationMs, q.InputRows, q.InputRowsPerSecond, q.ProcessedRowsPerSecond,
		q.EndOffsets, orNull(q.Watermark), q.StateRows, q.StateBytes, q.RowsDroppedByWatermark, q.Restarts, orNull(q.ReportedAt),
	).WithContext(ctx).Exec()
	if err != nil {
		return fmt.Errorf("writing streaming_queries: %w", err)
	}
	return nil
}

// orNull returns a time to write, or null for the zero one.
func orNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}
