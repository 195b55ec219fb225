package web

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"example.com/bookstore/schema"
)

func TestPostTrackEvent(t *testing.T) {
	p := &fakePublisher{}
	w := send(newServer(t, p), http.MethodPost, "/track-event",
		`{"event_type":"purchase","timestamp":"2026-03-01T11:00:00.250Z","details":{"book_id":"dracula"}}`, "Cookie", "user_id=bob")
	if w.Code != http.StatusAccepted {
		t.Fatalf("status = %d\n%s", w.Code, w.Body)
	}
	e := p.events(t)[0]
	sameJSON(t, w.Body.String(), `{"event_id":"`+e.EventID+`"}`)
	want := schema.Event{
		EventID: e.EventID, EventType: schema.Purchase, EventTime: time.Date(2026, 3, 1, 11, 0, 0, 25e7, time.UTC),
		UserID: "bob", BookID: "dracula",
	}
	if e != want {
		t.Errorf("published %v, want %v", e, want)
	}
}

func TestTimestamp(t *testing.T) {
	ms := now.Truncate(time.Millisecond)
	at := time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC)
	for sent, want := range map[string]time.Time{
		fmt.Sprint(at.Unix()):                        at,
		fmt.Sprintf("%d.25", at.Unix()):              at.Add(250 * time.Millisecond),
		fmt.Sprint(at.UnixMilli()):                   at,
		fmt.Sprintf(`"%d"`, at.Unix()):               at,
		`"2026-03-01T11:00:00Z"`:                     at,
		`"2026-03-01T12:00:00+01:00"`:                at,
		`"2026-03-01T11:00:00.000123"`:               at,
		`"2026-03-01 11:00:00"`:                      at,
		`null`:                                       ms,
		`"2025-01-01T00:00:00Z"`:                     ms, // too far behind
		fmt.Sprint(now.Add(10 * time.Minute).Unix()): ms, // too far ahead
	} {
		p := &fakePublisher{}
		w := send(newServer(t, p), http.MethodPost, "/track-event",
			`{"event_type":"purchase","timestamp":`+sent+`,"details":{"book_id":"dracula"}}`)
		if w.Code != http.StatusAccepted {
			t.Errorf("%s: status = %d\n%s", sent, w.Code, w.Body)
		} else if got := p.events(t)[0].EventTime; !got.Equal(want) {
			t.Errorf("%s: event_time = %v, want %v", sent, got, want)
		}
	}
}

func TestRefusedTrackEvents(t *testing.T) {
	const badTime = "timestamp is neither an ISO 8601 time nor a Unix time in seconds or milliseconds"
	for _, test := range []struct{ body, pointer, detail string }{
		{`[]`, "#", "the event is not a JSON object"},
		{`{"event_type":"purchase"}`, "#/details", "details is missing"},
		{`{"event_type":"purchase","details":"dracula"}`, "#/details", "details is not a JSON object"},
		{`{"event_type":"purchase","details":{}}`, "#/details/book_id", "book_id is missing"},
		{`{"event_type":"purchase","details":{"book_id":"x"}}`, "#/details/book_id", "book_id is not in the catalogue"},
		{`{"event_type":"page_view","details":{"book_id":"dracula"}}`, "#/event_type", "event_type is not one of description_open, description_close, purchase"},
		{`{"event_type":"purchase","timestamp":"soon","details":{"book_id":"dracula"}}`, "#/timestamp", badTime},
		{`{"event_type":"purchase","timestamp":"NaN","details":{"book_id":"dracula"}}`, "#/timestamp", badTime},
		{`{"event_type":"purchase","timestamp":true,"details":{"book_id":"dracula"}}`, "#/timestamp", badTime},
		{`{"event_type":"purchase","timestamp":1e300,"details":{"book_id":"dracula"}}`, "#/timestamp", badTime},
		{`{"event_type":"purchase","timestamp":{},"details":{"book_id":"dracula"}}`, "#/timestamp", badTime},
	} {
		w := send(newServer(t, &fakePublisher{}), http.MethodPost, "/track-event", test.body)
		if w.Code != http.StatusBadRequest {
			t.Errorf("%s: status = %d, want 400", test.body, w.Code)
		}
		sameJSON(t, w.Body.String(), fmt.Sprintf(
			`{"type":"urn:bookstore:problem:invalid-event","title":"Not a valid event","status":400,"detail":%q,"instance":"/track-event","errors":[{"pointer":%q,"detail":%q}]}`,
			test.detail+".", test.pointer, test.detail))
	}
}
