//go:build integration

package cassandra

import (
	"testing"
	"time"

	"example.com/bookstore/schema"
)

func TestEventsWritten(t *testing.T) {
	session := connectAs(t, setUp(t), JobUser, setUp(t).JobPassword)
	// More than one request asks for at once.
	var ids []string
	began := time.Now().Add(-time.Millisecond)
	for range maxIDs + 20 {
		id := schema.NewEventID()
		ids = append(ids, id)
		err := session.Query("INSERT INTO events (event_id, event_type, event_time, user_id, book_id) VALUES (?, 'purchase', toTimestamp(now()), 'u', 'b')", id).Exec()
		if err != nil {
			t.Fatal(err)
		}
	}
	written, err := EventsWritten(t.Context(), session, append(ids, schema.NewEventID()))
	if err != nil || len(written) != len(ids) {
		t.Fatalf("EventsWritten found %d of %d events, %v", len(written), len(ids), err)
	}
	for _, id := range ids {
		if at := written[id]; at.Before(began) || at.After(time.Now()) {
			t.Errorf("event %s was written at %v, want a time since %v", id, at, began)
		}
	}
	if _, err := EventsWritten(t.Context(), session, []string{"x"}); err == nil {
		t.Error("EventsWritten took an id that is no UUID")
	}
}

func TestLatestRejectedInPartition(t *testing.T) {
	session := connectAs(t, setUp(t), JobUser, setUp(t).JobPassword)
	at := time.Now().UTC().Truncate(time.Millisecond)
	topic := "latest_rejected_" + schema.NewEventID()
	for offset := range 5 {
		err := session.Query("INSERT INTO rejected_events (day, topic, partition, offset, reason, payload, received_at) VALUES (?, ?, 2, ?, 'why', null, ?)",
			at.Truncate(24*time.Hour), topic, offset, at).Exec()
		if err != nil {
			t.Fatal(err)
		}
	}
	rows, err := LatestRejectedInPartition(t.Context(), session, at, topic, 2, 2)
	if err != nil || len(rows) != 2 || rows[0].Offset != 4 || rows[1].Offset != 3 || rows[0].Reason != "why" {
		t.Errorf("LatestRejectedInPartition = %+v, %v; want offsets 4 and 3", rows, err)
	}
}
