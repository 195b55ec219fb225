package load

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bookstore/schema"
)

// What is sent are valid events, each with an id of its own and the visitor of the
// cookie.
func TestSendsValidEvents(t *testing.T) {
	for _, batch := range []int{1, 100} {
		var mu sync.Mutex
		ids := map[string]bool{}
		requests := 0
		store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			cookie, cookieErr := r.Cookie("user_id")
			if err != nil || cookieErr != nil {
				t.Errorf("reading a request: %v, %v", err, cookieErr)
				return
			}
			items := []json.RawMessage{body}
			if batch > 1 {
				if err := json.Unmarshal(body, &items); err != nil {
					t.Errorf("not an array: %v\n%.300s", err, body)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			requests++
			if len(items) != batch {
				t.Errorf("%d events in a request, want %d", len(items), batch)
			}
			for _, item := range items {
				event, err := schema.Decode(item)
				if err != nil || event.UserID != cookie.Value || ids[event.EventID] {
					t.Errorf("bad event %s: %v; its id came before: %v; cookie %s", item, err, ids[event.EventID], cookie.Value)
				}
				ids[event.EventID] = true
			}
			w.WriteHeader(http.StatusAccepted)
		}))
		var sampled []string
		result, err := Run(t.Context(), Config{
			URL: store.URL, Connections: 3, Batch: batch, Warmup: 20 * time.Millisecond, Duration: 100 * time.Millisecond,
			SampleEvery: 5, Sent: func(id string, _ time.Time) { mu.Lock(); sampled = append(sampled, id); mu.Unlock() },
		})
		store.Close()
		if err != nil {
			t.Fatal(err)
		}
		if err := result.Check(); err != nil {
			t.Error(err)
		}
		if got := int(result.Requests + result.Warmed); got != requests || result.Events != result.Requests*int64(batch) {
			t.Errorf("%d requests and %d events counted; the store had %d requests of %d events", got, result.Events, requests, batch)
		}
		if len(sampled) < requests/5-3 || len(sampled) > requests/5 {
			t.Errorf("%d of %d requests in the sample, want every 5th of each connection", len(sampled), requests)
		}
		for _, id := range sampled {
			if !ids[id] {
				t.Errorf("the sample has %s, which never came", id)
			}
		}
	}
}

// A server that stops answering for a while does not make fewer requests be due, and
// those that had to wait count from when they were due.
func TestAStallCountsForEveryRequestThatWasDue(t *testing.T) {
	const stall = 300 * time.Millisecond
	began := time.Now()
	var once sync.Once
	var stalled sync.Mutex // held by the stall
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		stalled.Lock()
		if time.Since(began) > 200*time.Millisecond {
			once.Do(func() { time.Sleep(stall) }) // what is tested
		}
		stalled.Unlock()
		w.WriteHeader(http.StatusAccepted)
	}))
	defer store.Close()
	result, err := Run(t.Context(), Config{URL: store.URL, Connections: 2, Batch: 1, Rate: 200, Duration: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if result.Requests != 200 || result.Arrivals != 200 {
		t.Errorf("%d requests of %d that were due, want 200", result.Requests, result.Arrivals)
	}
	// 60 of 200 were due during the stall, and waited 150 ms at the median.
	if result.P95 < 150*time.Millisecond {
		t.Errorf("p95 = %v, want the stall to show in it", result.P95)
	}
	if result.Behind < 200*time.Millisecond {
		t.Errorf("requests left at most %v late, want nearly %v", result.Behind, stall)
	}
}

func TestRefusalsAreNoEvents(t *testing.T) {
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the queue is full", http.StatusServiceUnavailable)
	}))
	defer store.Close()
	result, err := Run(t.Context(), Config{URL: store.URL, Connections: 1, Batch: 1, Duration: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if result.Events != 0 || result.Refused == 0 || result.Refused != result.Requests {
		t.Errorf("%d events, %d of %d requests refused; want all", result.Events, result.Refused, result.Requests)
	}
	if err := result.Check(); err == nil || !strings.Contains(err.Error(), "503 the queue is full") {
		t.Errorf("Check says %v, want the store's answer", err)
	}
}

func BenchmarkRequest(b *testing.B) {
	for name, events := range map[string]int{"one": 1, "array": 100} {
		b.Run(name, func(b *testing.B) {
			requests := newRequests(&url.URL{Scheme: "http", Host: "127.0.0.1", Path: "/events"}, 0, events)
			b.ReportAllocs()
			for b.Loop() {
				requests.next()
			}
		})
	}
}
