package driver

import (
	"context"
	"fmt"
	"time"

	"github.com/gocql/gocql"

	"example.com/bookstore/schema/cassandra"
)

const (
	// reportInterval is the time between two reports while nothing changes.
	reportInterval = 2 * time.Second
	// ReportValid is the age from which a report tells that there is no driver.
	ReportValid = 10 * time.Second
	// reportTimeout bounds a connection attempt and a write of a report.
	reportTimeout = 4 * time.Second
	// reportPatience is how long reports may fail until that is told: a short pause of
	// Cassandra is none of anybody's business.
	reportPatience = 10 * time.Second
)

// reporter writes what the driver knows of the queries to the table streaming_queries,
// where the live page and other terminals find it. The job never waits for it: while
// Cassandra is away the reports are not written, and it says so once.
type reporter struct {
	*watcher
	session *gocql.Session // nil while there is none
	well    time.Time      // of the latest report that was written
	failing bool           // and that was told
	counted map[int]int64  // by partition, up to which offset rejections were counted
}

// report writes at each change of a state and every reportInterval until ctx ends.
func (r *reporter) report(ctx context.Context) {
	defer func() {
		if r.session != nil {
			r.session.Close()
		}
	}()
	tick := time.NewTicker(reportInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			// How it ended must be there as well, if it takes no time.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTimeout)
			defer cancel()
			r.noteOutcome(r.write(last), time.Now())
			return
		case <-r.tracker.changed:
		case <-tick.C:
		}
		err := r.write(ctx)
		if err == nil {
			err = r.countRejections(ctx)
		}
		if ctx.Err() == nil {
			r.noteOutcome(err, time.Now())
		}
	}
}

// noteOutcome says when reports have failed for some time, and when they are well again.
func (r *reporter) noteOutcome(err error, now time.Time) {
	switch {
	case err == nil && r.failing:
		r.failing = false
		r.info("The state of the queries is written to Cassandra again", "the state of the queries is written again")
	case err != nil && !r.failing && now.Sub(r.well) >= reportPatience:
		r.failing = true
		r.warn("The state of the queries cannot be written to Cassandra: "+firstLine(err.Error()),
			"writing the state of the queries", "error", firstLine(err.Error()))
	}
	if err == nil {
		r.well = now
	} else {
		r.tracker.failedReports.Add(1)
	}
}

func (r *reporter) write(ctx context.Context) error {
	if r.lease.Lost() {
		return nil // the rows are another driver's
	}
	if r.session == nil {
		config := r.config.Cassandra
		config.Timeout = reportTimeout
		session, err := config.Connect(ctx)
		if err != nil {
			return err
		}
		r.session = session
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	now := time.Now()
	for _, report := range r.tracker.snapshot(now) {
		if err := cassandra.WriteStreamingQuery(ctx, r.session, report.row(r.config.JobName, now)); err != nil {
			return fmt.Errorf("reporting query %s: %w", report.Query, err)
		}
	}
	return nil
}

// row is a report as the table has it.
func (r *Report) row(job string, now time.Time) cassandra.StreamingQuery {
	row := cassandra.StreamingQuery{
		Job: job, Query: r.Query, State: r.State, Message: r.Message, Topic: r.Topic,
		EndOffsets: r.Read, RowsDroppedByWatermark: r.DroppedRows, Restarts: r.Restarts, ReportedAt: now,
	}
	row.StateRows, row.StateBytes = r.stateSize()
	if b := r.Batch; b != nil {
		row.BatchID, row.BatchStartedAt, row.BatchDurationMs, row.InputRows = b.BatchID, b.Timestamp, b.BatchDuration.Milliseconds(), b.NumInputRows()
	}
	if r.Last != nil {
		// An idle query's are 0.
		row.InputRowsPerSecond, row.ProcessedRowsPerSecond = r.Last.InputRowsPerSecond(), r.Last.ProcessedRowsPerSecond()
		if at := r.Last.EventTime.Watermark; at != nil && at.Unix() > 0 { // the epoch is none yet
			row.Watermark = *at
		}
	}
	return row
}
