package driver

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/sparkjob/stream"
)

// batch is a progress report in Spark's form: what micro-batch id of the query read, from
// partition 0 of topic t.
func batch(t *testing.T, id int, at time.Time, from, to int64) *stream.Progress {
	t.Helper()
	return progress(t, fmt.Sprintf(`{"runId": "r", "batchId": %d, "timestamp": %q, "batchDuration": 250,
		"durationMs": {"addBatch": 200, "triggerExecution": 250},
		"eventTime": {"watermark": "2026-01-01T00:00:00.000Z"},
		"stateOperators": [{"numRowsTotal": 7, "memoryUsedBytes": 700, "numRowsDroppedByWatermark": 2}, {"numRowsTotal": 1, "memoryUsedBytes": 100}],
		"sources": [{"startOffset": {"t": {"0": %d}}, "endOffset": {"t": {"0": %d}}, "numInputRows": %d, "inputRowsPerSecond": 4, "processedRowsPerSecond": 8}]}`,
		id, at.UTC().Format("2006-01-02T15:04:05.000Z"), from, to, to-from))
}

func idle(t *testing.T, at time.Time, end int64) *stream.Progress {
	t.Helper()
	return progress(t, fmt.Sprintf(`{"runId": "r", "batchId": 99, "timestamp": %q, "durationMs": {"latestOffset": 3},
		"sources": [{"startOffset": {"t": {"0": %d}}, "endOffset": {"t": {"0": %d}}}]}`, at.UTC().Format("2006-01-02T15:04:05.000Z"), end, end))
}

func progress(t *testing.T, text string) *stream.Progress {
	t.Helper()
	p := new(stream.Progress)
	if err := json.Unmarshal([]byte(text), p); err != nil {
		t.Fatal(err)
	}
	return p
}

func runningTracker() *tracker {
	t := newTracker("t", []string{"events", "rejected_events"})
	t.setAll(cassandra.QueryRunning, "")
	return t
}

func TestStalledWhileRecordsWaitAndNothingCompletes(t *testing.T) {
	begin := time.Now()
	at := func(seconds float64) time.Time { return begin.Add(time.Duration(seconds * float64(time.Second))) }
	after := 30 * time.Second
	tracker := runningTracker()
	look := func(seconds float64, end int64, want int) {
		t.Helper()
		if got := tracker.judge(map[int]int64{0: end}, at(seconds), after); len(got) != want {
			t.Errorf("after %v s with %d records: stalls %v, want %d", seconds, end, got, want)
		}
	}
	look(0, 10, 0)
	look(100, 10, 0) // nothing is known of the queries yet
	tracker.progressed("events", batch(t, 0, at(100), 0, 10), at(101))
	look(200, 10, 0) // nothing waits
	look(300, 12, 0) // they have only just come
	look(329, 12, 0)
	look(331, 12, 1)
	look(332, 12, 0) // is told once
	if r := tracker.snapshot(at(340))[0]; r.State != cassandra.QueryStalled || r.Lag[0] != 2 || r.Behind != 40*time.Second || r.Stalls != 1 ||
		!strings.Contains(r.Message, "2 records wait") {
		t.Errorf("the report says %+v", r)
	}
	if d := tracker.progressed("events", batch(t, 1, at(341), 10, 11), at(345)); d != 45*time.Second {
		t.Errorf("it was stalled for %v, want 45s", d)
	}
	look(346, 12, 0)
	if r := tracker.snapshot(at(346))[0]; r.State != cassandra.QueryRunning || r.Message != "" || r.Lag[0] != 1 {
		t.Errorf("the report says %+v", r)
	}
	// It gets on, slowly: that is lag, but no stall.
	for i := range 5 {
		tracker.progressed("events", batch(t, 2+i, at(350+20*float64(i)), 11, 11), at(350+20*float64(i)))
		look(360+20*float64(i), 12, 0)
	}
	tracker.progressed("events", idle(t, at(500), 11), at(500)) // looked, and did not see it yet
	look(520, 12, 0)
	look(531, 12, 1)
}

func TestStallNeedsARunningQuery(t *testing.T) {
	begin := time.Now()
	for _, state := range cassandra.QueryStates() {
		tracker := runningTracker()
		tracker.progressed("events", batch(t, 0, begin, 0, 10), begin)
		tracker.set("events", state, "")
		tracker.judge(map[int]int64{0: 20}, begin, time.Minute)
		stalls := tracker.judge(map[int]int64{0: 20}, begin.Add(2*time.Minute), time.Minute)
		if want := state == cassandra.QueryRunning; (len(stalls) == 1) != want {
			t.Errorf("%s: stalls %v", state, stalls)
		}
	}
}

// While Kafka does not tell how far the topic has grown, the lag is unknown, not zero.
func TestLagIsUnknownWithoutKafka(t *testing.T) {
	now := time.Now()
	tracker := runningTracker()
	tracker.progressed("events", batch(t, 0, now, 0, 10), now)
	if r := tracker.snapshot(now)[0]; r.Lag != nil {
		t.Errorf("lag %v before Kafka was asked", r.Lag)
	}
	tracker.judge(map[int]int64{0: 15, 1: 3}, now, time.Minute)
	if r := tracker.snapshot(now.Add(time.Second))[0]; !maps.Equal(r.Lag, map[int]int64{0: 5, 1: 3}) || r.waiting() != 8 {
		t.Errorf("lag %v", r.Lag)
	}
	if r := tracker.snapshot(now.Add(time.Minute))[0]; r.Lag != nil {
		t.Errorf("lag %v a minute after Kafka's last answer", r.Lag)
	}
}

func TestEndHistoryIsBounded(t *testing.T) {
	var h endHistory
	now := time.Now()
	for i := range int64(3 * keptEnds) {
		now = now.Add(time.Second)
		h.add(now, map[int]int64{0: i})
	}
	if len(h.changes) > keptEnds {
		t.Errorf("%d answers are kept", len(h.changes))
	}
	if lag, since := h.lag(map[int]int64{0: 3*keptEnds - 11}, now); lag[0] != 10 || now.Sub(since) != 9*time.Second {
		t.Errorf("lag %v since %v, want 10 since 9s", lag, now.Sub(since))
	}
}

// The server tells what it has kept again after a session was lost.
func TestReportsCountOnce(t *testing.T) {
	now := time.Now().Truncate(time.Millisecond)
	tracker := runningTracker()
	for range 2 {
		for i := range 3 {
			tracker.progressed("events", batch(t, i, now.Add(time.Duration(i)*time.Second), int64(10*i), int64(10*i+10)), now)
		}
	}
	r := tracker.snapshot(now)[0]
	if r.Batches != 3 || r.InputRows != 30 || r.DroppedRows != 6 || r.PhaseTime["addBatch"] != 600*time.Millisecond || r.Began[0] != 0 || r.Read[0] != 30 {
		t.Errorf("after three batches, told twice: %+v", r)
	}
	row := r.row("j", now)
	if row.BatchID != 2 || row.InputRows != 10 || row.BatchDurationMs != 250 || row.StateRows != 8 || row.StateBytes != 800 || row.EndOffsets[0] != 30 ||
		row.RowsDroppedByWatermark != 6 || row.InputRowsPerSecond != 4 || row.Watermark.IsZero() || row.State != cassandra.QueryRunning {
		t.Errorf("the row is %+v", row)
	}
	tracker.progressed("events", idle(t, now.Add(time.Minute), 30), now)
	if row := tracker.snapshot(now)[0].row("j", now); row.BatchID != 2 || row.InputRowsPerSecond != 0 {
		t.Errorf("the row of an idle query is %+v", row)
	}
}

func TestEndGivesEveryQueryItsLastState(t *testing.T) {
	tracker := runningTracker()
	tracker.set("events", cassandra.QueryFailed, "why")
	tracker.end(nil)
	list := tracker.snapshot(time.Now())
	if list[0].State != cassandra.QueryFailed || list[0].Message != "why" || list[1].State != cassandra.QueryStopped {
		t.Errorf("%+v", list)
	}
	tracker = runningTracker()
	tracker.set("events", cassandra.QueryRestarting, "lost")
	tracker.set("events", cassandra.QueryRestarting, "lost again")
	tracker.end(errors.New("gone\nfor good"))
	if r := tracker.snapshot(time.Now())[0]; r.State != cassandra.QueryFailed || r.Message != "gone" || r.Restarts != 1 {
		t.Errorf("%+v", r)
	}
}

func TestMetrics(t *testing.T) {
	now := time.Now()
	tracker := newTracker("t", []string{"events", "rejected_events"})
	registry := newRegistry(tracker)
	tracker.setAll(cassandra.QueryRunning, "")
	for i := range 3 {
		tracker.progressed("events", batch(t, i, now.Add(time.Duration(i)*time.Second), int64(10*i), int64(10*i+10)), now)
	}
	tracker.judge(map[int]int64{0: 34, 1: 1}, time.Now(), time.Minute)
	tracker.addRejections(cassandra.Rejections{Records: 2, Reasons: map[string]int64{"a": 2, "b": 1}})
	tracker.addRejections(cassandra.Rejections{Records: 1, Reasons: map[string]int64{"a": 1}})
	want := `
# HELP bookstore_job_input_rows_total Records that the query's micro-batches have read.
# TYPE bookstore_job_input_rows_total counter
bookstore_job_input_rows_total{query="events"} 30
bookstore_job_input_rows_total{query="rejected_events"} 0
# HELP bookstore_job_lag_records Records of a partition that the query has not processed yet.
# TYPE bookstore_job_lag_records gauge
bookstore_job_lag_records{partition="0",query="events"} 4
bookstore_job_lag_records{partition="1",query="events"} 1
# HELP bookstore_job_query_state 1 for the state that the query is in, 0 for the others.
# TYPE bookstore_job_query_state gauge
bookstore_job_query_state{query="events",state="failed"} 0
bookstore_job_query_state{query="events",state="restarting"} 0
bookstore_job_query_state{query="events",state="running"} 1
bookstore_job_query_state{query="events",state="stalled"} 0
bookstore_job_query_state{query="events",state="starting"} 0
bookstore_job_query_state{query="events",state="stopped"} 0
bookstore_job_query_state{query="rejected_events",state="failed"} 0
bookstore_job_query_state{query="rejected_events",state="restarting"} 0
bookstore_job_query_state{query="rejected_events",state="running"} 1
bookstore_job_query_state{query="rejected_events",state="stalled"} 0
bookstore_job_query_state{query="rejected_events",state="starting"} 0
bookstore_job_query_state{query="rejected_events",state="stopped"} 0
# HELP bookstore_job_rejected_records_total Records that are no events, as the table rejected_events has them.
# TYPE bookstore_job_rejected_records_total counter
bookstore_job_rejected_records_total 3
# HELP bookstore_job_rejection_reasons_total Reasons for which records were rejected; a record counts under each of its reasons.
# TYPE bookstore_job_rejection_reasons_total counter
bookstore_job_rejection_reasons_total{reason="a"} 3
bookstore_job_rejection_reasons_total{reason="b"} 1
# HELP bookstore_job_state_rows Rows in the query's state.
# TYPE bookstore_job_state_rows gauge
bookstore_job_state_rows{query="events"} 8
`
	err := testutil.GatherAndCompare(registry, strings.NewReader(want), "bookstore_job_input_rows_total", "bookstore_job_lag_records",
		"bookstore_job_query_state", "bookstore_job_rejected_records_total", "bookstore_job_rejection_reasons_total", "bookstore_job_state_rows")
	if err != nil {
		t.Error(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "bookstore_job_batch_duration_seconds" {
			if n := family.Metric[0].Histogram.GetSampleCount(); n != 3 {
				t.Errorf("%d durations, want 3", n)
			}
		}
	}
	// What the guide to naming asks for.
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestStatusShowsStalled(t *testing.T) {
	now := time.Now()
	states := []QueryState{
		{Name: "behind and silent", Running: true, Last: batch(t, 0, now.Add(-time.Minute), 0, 10)},
		{Name: "behind", Running: true, Last: batch(t, 0, now.Add(-time.Second), 0, 10)},
		{Name: "silent", Running: true, Last: batch(t, 0, now.Add(-time.Minute), 0, 12)},
		{Name: "stopped"},
		{Name: "new", Running: true},
	}
	markStalled(states, "t", map[int]int64{0: 12}, now, 30*time.Second)
	for i, s := range states {
		if s.Stalled != (i == 0) {
			t.Errorf("%s: stalled is %v", s.Name, s.Stalled)
		}
	}
}
