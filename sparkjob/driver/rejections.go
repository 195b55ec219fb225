package driver

import (
	"context"
	"maps"
	"time"

	"example.com/bookstore/schema/cassandra"
)

const (
	// rejectingQuery is the query whose rows say what was rejected and why.
	rejectingQuery = "rejected_events"
	// countedDays is how old a rejected record may be to be counted: Kafka keeps seven
	// days by default, and a day has begun.
	countedDays = 8
)

// countRejections counts the rows of rejected_events that the query has written since
// the last call. Spark does not tell how many rows a micro-batch wrote, let alone why;
// the rows of a range of offsets are few and lie together.
func (r *reporter) countRejections(ctx context.Context) error {
	report := r.tracker.latest(rejectingQuery)
	if report == nil || report.Read == nil {
		return nil
	}
	if r.counted == nil {
		r.counted = maps.Clone(report.Began)
	}
	today := time.Now().UTC().Truncate(24 * time.Hour)
	var days []time.Time
	for i := range countedDays {
		days = append(days, today.AddDate(0, 0, -i))
	}
	for partition, read := range report.Read {
		from := r.counted[partition]
		if from >= read {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, reportTimeout)
		counted, err := cassandra.CountRejections(ctx, r.session, days, report.Topic, partition, from, read)
		cancel()
		if err != nil {
			return err
		}
		r.counted[partition] = read
		r.tracker.addRejections(counted)
	}
	return nil
}

// latest returns what is known of one query, nil if the job has none of that name.
func (t *tracker) latest(query string) *Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	q, ok := t.queries[query]
	if !ok {
		return nil
	}
	r := q.Report
	return &r
}

func (t *tracker) addRejections(counted cassandra.Rejections) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rejected.Records += counted.Records
	for reason, n := range counted.Reasons {
		t.rejected.Reasons[reason] += n
	}
}

// rejections returns what was counted so far.
func (t *tracker) rejections() cassandra.Rejections {
	t.mu.Lock()
	defer t.mu.Unlock()
	return cassandra.Rejections{Records: t.rejected.Records, Reasons: maps.Clone(t.rejected.Reasons)}
}
