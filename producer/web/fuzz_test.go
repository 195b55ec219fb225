package web

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/bookstore/producer/catalogue"
	"example.com/bookstore/schema"
)

// fuzzEndpoint sends whatever the fuzzer thinks of, as body and as content type and
// cookie, and checks what holds for every answer: it is JSON, its status is one of
// those that the endpoint may give, and what goes to the topic are valid events, one for
// each that is acknowledged.
func fuzzEndpoint(f *testing.F, path string) {
	for _, h := range hostileInputs(f) {
		if h.Method == http.MethodPost && h.Path == path && h.Body.Times < 1000 {
			f.Add([]byte(h.Body.text()), "application/json", "a")
		}
	}
	f.Add([]byte(good), "text/plain; charset=utf-8", "")
	f.Add([]byte("["+good+","+good+"]"), "application/json", strings.Repeat("é", 65))
	p := &fakePublisher{}
	s, err := New(Config{Publisher: p, Logger: slog.New(slog.DiscardHandler), Clock: func() time.Time { return now }})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte, contentType, visitor string) {
		p.records = nil
		w := send(s, http.MethodPost, path, string(body), "Content-Type", contentType, "Cookie", "user_id="+visitor)
		var answer struct {
			EventID string `json:"event_id"`
			Status  int
			Results []Result
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("%d %s is not JSON: %v", w.Code, w.Body, err)
		}
		acknowledged := map[string]int{}
		switch w.Code {
		case http.StatusAccepted, http.StatusMultiStatus:
			if answer.EventID != "" {
				acknowledged[answer.EventID]++
			}
			for _, r := range answer.Results {
				if r.Status == http.StatusAccepted {
					acknowledged[r.EventID]++
				}
			}
			if len(acknowledged) == 0 {
				t.Errorf("%d acknowledges nothing: %s", w.Code, w.Body)
			}
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
			if answer.Status != w.Code {
				t.Errorf("status %d with %s", w.Code, w.Body)
			}
		default:
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		for _, e := range p.events(t) {
			if _, ok := catalogue.ByID(e.BookID); !ok {
				t.Errorf("an event of the unknown book %q goes to the topic", e.BookID)
			}
			if e.EventTime.After(now.Add(maxAhead)) || e.EventTime.Before(now.Add(-maxBehind-time.Millisecond)) {
				t.Errorf("an event of %v goes to the topic at %v", e.EventTime, now)
			}
			if !schema.ValidEventID(e.EventID) || acknowledged[e.EventID] == 0 {
				t.Errorf("event %s goes to the topic and is not acknowledged: %s", e.EventID, w.Body)
			}
			acknowledged[e.EventID]--
		}
		for id, n := range acknowledged {
			if n != 0 {
				t.Errorf("event %s is acknowledged and does not go to the topic", id)
			}
		}
	})
}

func FuzzPostEvents(f *testing.F) { fuzzEndpoint(f, "/events") }

func FuzzPostTrackEvent(f *testing.F) { fuzzEndpoint(f, "/track-event") }
