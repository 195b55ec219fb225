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

// FuzzPostPurchases sends any body as the form of a book's page: either it leads to the
// confirmation of one purchase that goes to the topic, or to a page that says why not.
func FuzzPostPurchases(f *testing.F) {
	for _, h := range hostileInputs(f) {
		if h.Method == http.MethodPost && h.Path == "/purchases" && h.Body.Times < 1000 {
			f.Add([]byte(h.Body.text()), "a")
		}
	}
	const form = "book_id=dracula&event_id=01890a5d-ac96-774b-bcce-b302099a8057"
	f.Add([]byte(form), "")
	f.Add([]byte(form+"&event_time=2026-03-01T10%3A15%3A30.123Z"), "visitor")
	f.Add([]byte(form+"&book_id=%3Cscript%3Ealert(1)%3C%2Fscript%3E&event_time=%3Cscript%3E"), "")
	p := &fakePublisher{}
	s, err := New(Config{Publisher: p, Logger: slog.New(slog.DiscardHandler), Clock: func() time.Time { return now }})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte, visitor string) {
		p.records, s.purchases.recent = nil, nil
		w := send(s, http.MethodPost, "/purchases", string(body), "Content-Type", formType, "Accept", "text/html", "Cookie", "user_id="+visitor)
		events := p.events(t)
		switch w.Code {
		case http.StatusSeeOther:
			if len(events) != 1 || w.Header().Get("Location") != "/purchases/"+events[0].EventID || events[0].EventType != schema.Purchase {
				t.Fatalf("%v leads to %s", events, w.Header().Get("Location"))
			}
			if _, ok := catalogue.ByID(events[0].BookID); !ok {
				t.Errorf("the unknown book %q is bought", events[0].BookID)
			}
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
			if len(events) != 0 {
				t.Errorf("a refused form makes the events %v", events)
			}
			if page := w.Body.String(); !strings.Contains(page, "<h1>") || strings.Contains(page, "<script>") {
				t.Errorf("the page is none, or has a script of the visitor's:\n%s", page)
			}
		default:
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
	})
}
