//go:build integration

package cassandra

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/gocql/gocql"

	"example.com/bookstore/schema"
)

// write runs a statement of a test.
func write(t *testing.T, session *gocql.Session, statement string, values ...any) {
	t.Helper()
	if err := session.Query(statement, values...).Exec(); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func TestReadingByVisitor(t *testing.T) {
	session := connectAs(t, setUp(t), JobUser, configs(t).JobPassword)
	user := "read_test_" + schema.NewEventID()
	at := time.Date(2026, 3, 1, 0, 0, 1, 5e6, time.UTC)
	var events []schema.Event // the latest first, two a day
	for i := range 6 {
		e := schema.Event{
			EventID: schema.NewEventID(), EventType: schema.DescriptionOpen, UserID: user, BookID: "emma",
			EventTime: at.AddDate(0, 0, -i/2).Add(time.Duration(1-i%2) * time.Hour),
		}
		events = append(events, e)
		write(t, session, "INSERT INTO events_by_user (user_id, day, event_time, event_id, event_type, book_id) VALUES (?, ?, ?, ?, ?, ?)",
			user, dayOf(e.EventTime), e.EventTime, e.EventID, string(e.EventType), e.BookID)
	}
	for name, test := range map[string]struct {
		from, to time.Time
		limit    int
		want     []schema.Event
	}{
		"all":        {at.AddDate(0, 0, -2), at, 100, events},
		"one day":    {at.AddDate(0, 0, -1), at.AddDate(0, 0, -1), 100, events[2:4]},
		"the latest": {at.AddDate(0, 0, -9), at, 3, events[:3]},
		"none":       {at.AddDate(0, 0, 1), at.AddDate(0, 0, 2), 100, nil},
		"no day":     {at, at.AddDate(0, 0, -1), 100, nil},
	} {
		got, err := EventsByUser(t.Context(), session, user, test.from, test.to, test.limit)
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: EventsByUser = %+v, %v; want %+v", name, got, err, test.want)
		}
	}
}

func TestReadingByBook(t *testing.T) {
	session := connectAs(t, setUp(t), JobUser, configs(t).JobPassword)
	book := "read_test_" + schema.NewEventID()
	at := time.Date(2026, 3, 1, 23, 59, 0, 0, time.UTC)
	day, evening := dayOf(at), at.Add(30*time.Second) // any time of the day asks for the day

	late := LateEvent{ReceivedAt: at.Add(time.Hour), Event: schema.Event{
		EventID: schema.NewEventID(), EventType: schema.Purchase, EventTime: at, UserID: "u", BookID: book,
	}}
	write(t, session, "INSERT INTO late_events (book_id, day, event_time, event_id, event_type, user_id, received_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
		book, day, at, late.Event.EventID, string(schema.Purchase), "u", late.ReceivedAt)
	if got, err := LateEvents(t.Context(), session, book, evening); err != nil || !reflect.DeepEqual(got, []LateEvent{late}) {
		t.Errorf("LateEvents = %+v, %v; want %+v", got, err, late)
	}

	minute := schema.Activity{WindowStart: at, BookID: book, EventType: schema.Purchase, Events: 3}
	write(t, session, "INSERT INTO activity_by_minute (book_id, day, window_start, event_type, events) VALUES (?, ?, ?, ?, ?)",
		book, day, at, string(schema.Purchase), 3)
	if got, err := ActivityByMinute(t.Context(), session, book, evening); err != nil || !reflect.DeepEqual(got, []schema.Activity{minute}) {
		t.Errorf("ActivityByMinute = %+v, %v; want %+v", got, err, minute)
	}

	closed := Read{BookID: book, UserID: "u", OpenedAt: at, ClosedAt: at.Add(12345 * time.Millisecond), Seconds: 12.345}
	open := Read{BookID: book, UserID: "v", OpenedAt: at.Add(time.Second)}
	write(t, session, "INSERT INTO reads (book_id, day, opened_at, user_id, closed_at, seconds) VALUES (?, ?, ?, ?, ?, ?)",
		book, day, closed.OpenedAt, closed.UserID, closed.ClosedAt, closed.Seconds)
	write(t, session, "INSERT INTO reads (book_id, day, opened_at, user_id) VALUES (?, ?, ?, ?)", book, day, open.OpenedAt, open.UserID)
	for limit, want := range map[int][]Read{9: {open, closed}, 1: {open}} {
		got, err := Reads(t.Context(), session, book, evening, limit)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Reads to %d = %+v, %v; want %+v", limit, got, err, want)
		}
		if len(got) > 0 && !got[0].ClosedAt.IsZero() {
			t.Error("a read that was never closed has a time of closing")
		}
	}

	for stage, visitors := range map[string]int{"opened": 3, "read": 2, "bought": 1} {
		for i := range visitors {
			write(t, session, "INSERT INTO funnel (book_id, day, stage, user_id) VALUES (?, ?, ?, ?)", book, day, stage, fmt.Sprint(i))
		}
	}
	if got, err := FunnelCounts(t.Context(), session, book, evening); err != nil || got != (Funnel{Opened: 3, Read: 2, Bought: 1}) {
		t.Errorf("FunnelCounts = %+v, %v", got, err)
	}
	if got, err := FunnelCounts(t.Context(), session, book, at.AddDate(0, 0, 1)); err != nil || got != (Funnel{}) {
		t.Errorf("FunnelCounts of a day without events = %+v, %v", got, err)
	}
}

func TestStreamingQueries(t *testing.T) {
	c := setUp(t)
	session := connectAs(t, c, JobUser, c.JobPassword)
	job := "read_test_" + schema.NewEventID()
	at := time.Date(2026, 3, 1, 12, 0, 0, 7e6, time.UTC)
	full := StreamingQuery{
		Job: job, Query: "reads", State: QueryRunning, Message: "Waiting", Topic: "t",
		BatchID: 7, BatchStartedAt: at, BatchDurationMs: 120, InputRows: 5, InputRowsPerSecond: 1.5, ProcessedRowsPerSecond: 40,
		EndOffsets: map[int]int64{0: 3, 5: 1 << 40}, Watermark: at.Add(-time.Minute),
		StateRows: 9, StateBytes: 4096, RowsDroppedByWatermark: 2, Restarts: 1, ReportedAt: at,
	}
	if err := WriteStreamingQuery(t.Context(), session, full); err != nil {
		t.Fatal(err)
	}
	least := StreamingQuery{Job: job, Query: "events", State: QueryStopped, ReportedAt: at}
	for _, q := range []StreamingQuery{{Job: job, Query: "events", State: QueryRunning, BatchStartedAt: at, Watermark: at, ReportedAt: at}, least} {
		if err := WriteStreamingQuery(t.Context(), session, q); err != nil {
			t.Fatal(err)
		}
	}
	store := connectAs(t, c, StoreUser, c.StorePassword)
	got, err := StreamingQueries(t.Context(), store, job)
	if want := []StreamingQuery{least, full}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("StreamingQueries = %+v, %v; want %+v", got, err, want)
	}
}
