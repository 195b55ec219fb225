//go:build integration

package cassandra

import (
	"slices"
	"testing"
	"time"

	"example.com/bookstore/schema"
)

func TestRejectedAt(t *testing.T) {
	session := connectAs(t, setUp(t), JobUser, setUp(t).JobPassword)
	began := time.Now().Add(-time.Millisecond)
	at := time.Date(2026, 1, 31, 23, 59, 59, 0, time.UTC)
	topic := "rejected_at_" + schema.NewEventID()
	err := session.Query("INSERT INTO rejected_events (day, topic, partition, offset, reason, payload, received_at) VALUES (?, ?, 2, 7, 'why', ?, ?)",
		at.Truncate(24*time.Hour), topic, []byte("x"), at).Exec()
	if err != nil {
		t.Fatal(err)
	}
	row, written, ok, err := RejectedAt(t.Context(), session, at, topic, 2, 7)
	if err != nil || !ok || row.Reason != "why" || string(row.Payload) != "x" || !row.ReceivedAt.Equal(at) || row.Offset != 7 || written.Before(began) || written.After(time.Now()) {
		t.Errorf("RejectedAt = %+v, %v, %v, %v", row, written, ok, err)
	}
	if _, _, ok, err = RejectedAt(t.Context(), session, at, topic, 2, 8); ok || err != nil {
		t.Errorf("RejectedAt of no row = %v, %v", ok, err)
	}
	partitions, err := RejectedPartitions(t.Context(), session)
	if want := (RejectedPartition{at.Truncate(24 * time.Hour), topic, 2}); err != nil || !slices.Contains(partitions, want) {
		t.Errorf("RejectedPartitions lacks %+v: %+v, %v", want, partitions, err)
	}
}

func TestTrail(t *testing.T) {
	session := connectAs(t, setUp(t), JobUser, setUp(t).JobPassword)
	began := time.Now().Add(-time.Millisecond)
	event := schema.Event{
		EventID: schema.NewEventID(), EventType: schema.Purchase, EventTime: time.Date(2026, 1, 31, 23, 59, 30, 5e6, time.UTC),
		UserID: "visitor-" + schema.NewEventID(), BookID: "book-" + schema.NewEventID(),
	}
	if trail, err := Trail(t.Context(), session, event); err != nil || len(trail) != 0 {
		t.Errorf("Trail of an event that is nowhere = %v, %v", trail, err)
	}
	for _, statement := range []struct {
		cql  string
		args []any
	}{
		{"INSERT INTO events (event_id, event_type) VALUES (?, 'purchase')", []any{event.EventID}},
		{"INSERT INTO events_by_user (user_id, day, event_time, event_id, event_type) VALUES (?, '2026-01-31', ?, ?, 'purchase')", []any{event.UserID, event.EventTime, event.EventID}},
		{"INSERT INTO late_events (book_id, day, event_time, event_id, event_type) VALUES (?, '2026-01-31', ?, ?, 'purchase')", []any{event.BookID, event.EventTime, event.EventID}},
		{"INSERT INTO activity_by_minute (book_id, day, window_start, event_type, events) VALUES (?, '2026-01-31', '2026-01-31T23:59:00Z', 'purchase', 1)", []any{event.BookID}},
	} {
		if err := session.Query(statement.cql, statement.args...).Exec(); err != nil {
			t.Fatal(err)
		}
	}
	trail, err := Trail(t.Context(), session, event)
	if err != nil || len(trail) != 4 {
		t.Errorf("Trail = %v, %v; want four tables", trail, err)
	}
	for table, at := range trail {
		if at.Before(began) || at.After(time.Now()) {
			t.Errorf("%s was written at %v, want a time since %v", table, at, began)
		}
	}
}
