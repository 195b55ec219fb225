package visitors

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/bookstore/producer/publisher"
	"example.com/bookstore/producer/web"
	"example.com/bookstore/schema"
)

// topic keeps the events of the real store in memory.
type topic struct {
	mu     sync.Mutex
	events map[string]schema.Event // by id, as the path's end keeps them
	order  []string                // of the ids, at their first arrival
	t      *testing.T
}

func (k *topic) Publish(_ context.Context, records []publisher.Record) []error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range records {
		e, err := schema.Decode(r.Value)
		if err != nil {
			k.t.Error(err)
		}
		if _, ok := k.events[e.EventID]; !ok {
			k.order = append(k.order, e.EventID)
		}
		k.events[e.EventID] = e
	}
	return make([]error, len(records))
}

func (k *topic) Ready(context.Context) error { return nil }

// store starts the real store, whose handler the test may wrap.
func store(t *testing.T, wrap func(http.Handler) http.Handler) (url string, k *topic) {
	t.Helper()
	k = &topic{events: map[string]schema.Event{}, t: t}
	s, err := web.New(web.Config{Publisher: k, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var handler http.Handler = s
	if wrap != nil {
		handler = wrap(s)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL, k
}

// sameEvents holds what the visitors say against what the store has published.
func sameEvents(t *testing.T, acknowledged []schema.Event, k *topic) {
	t.Helper()
	published := make([]schema.Event, 0, len(k.order))
	for _, id := range k.order {
		published = append(published, k.events[id])
	}
	byID := func(a, b schema.Event) int { return cmp.Compare(a.EventID, b.EventID) }
	got, want := slices.Clone(acknowledged), slices.Clone(published)
	slices.SortFunc(got, byID)
	slices.SortFunc(want, byID)
	if !slices.Equal(got, want) {
		t.Errorf("%d events were acknowledged, %d published, or they differ:\n%v\n%v", len(got), len(want), got, want)
	}
}

func TestRun(t *testing.T) {
	url, k := store(t, nil)
	events, err := Run(t.Context(), Config{StoreURL: url + "/", Visitors: 7, Books: 5, Seed: 1, Reading: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	sameEvents(t, events, k)

	open, users, kinds := map[string]string{}, map[string]bool{}, map[schema.EventType]int{}
	for _, e := range events {
		users[e.UserID] = true
		kinds[e.EventType]++
		switch e.EventType {
		case schema.DescriptionOpen:
			if open[e.UserID] != "" {
				t.Errorf("%s opens %s while %s is open", e.UserID, e.BookID, open[e.UserID])
			}
			open[e.UserID] = e.BookID
		case schema.DescriptionClose:
			if open[e.UserID] != e.BookID {
				t.Errorf("%s closes %s while %q is open", e.UserID, e.BookID, open[e.UserID])
			}
			open[e.UserID] = ""
		}
	}
	if len(users) != 7 || kinds[schema.DescriptionOpen] != 35 || kinds[schema.DescriptionClose] != 35 ||
		kinds[schema.Purchase] == 0 || kinds[schema.Purchase] == 35 {
		t.Errorf("%d visitors did %v, want 7, 35 openings, 35 closings and some purchases", len(users), kinds)
	}
}

func TestSeed(t *testing.T) {
	url, _ := store(t, nil)
	choices := func(seed uint64) (c []string) {
		events, err := Run(t.Context(), Config{StoreURL: url, Visitors: 2, Seed: seed, Reading: -1})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			c = append(c, string(e.EventType)+" "+e.BookID)
		}
		return c
	}
	first := choices(1)
	if again := choices(1); !slices.Equal(first, again) {
		t.Errorf("the same seed chose\n%v and\n%v", first, again)
	}
	if other := choices(2); slices.Equal(first, other) {
		t.Errorf("another seed chose the same: %v", other)
	}
}

// An answer that is lost, and a store that is busy, must not make another event of
// the same click.
func TestRetriesAreTheSameEvent(t *testing.T) {
	var requests atomic.Int64
	url, k := store(t, func(s http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch requests.Add(1) % 5 {
			case 1: // refused at once
				w.WriteHeader(http.StatusServiceUnavailable)
			case 3: // taken, but the answer is lost
				s.ServeHTTP(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			default:
				s.ServeHTTP(w, r)
			}
		})
	})
	events, err := Run(t.Context(), Config{StoreURL: url, Visitors: 2, Books: 3, Reading: -1})
	if err != nil {
		t.Fatal(err)
	}
	sameEvents(t, events, k)
	if want := 2 * 3 * 2; len(events) < want {
		t.Errorf("%d events were acknowledged, want at least %d", len(events), want)
	}
}

func TestRefusalEndsTheVisit(t *testing.T) {
	var posts atomic.Int64
	url, k := store(t, func(s http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && posts.Add(1) == 3 {
				http.Error(w, "no more", http.StatusBadRequest)
				return
			}
			s.ServeHTTP(w, r)
		})
	})
	events, err := Run(t.Context(), Config{StoreURL: url, Visitors: 1, Reading: -1})
	if err == nil || !strings.Contains(err.Error(), "the store answered 400: no more") {
		t.Errorf("err = %v, want the store's answer", err)
	}
	if len(events) != 2 {
		t.Errorf("%d events were acknowledged before, want 2", len(events))
	}
	sameEvents(t, events, k)
}

func TestPatienceEnds(t *testing.T) {
	url, _ := store(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		})
	})
	_, err := Run(t.Context(), Config{StoreURL: url, Visitors: 1, Patience: 100 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "visitor 1 of 1: opening the page: the store answered 503") {
		t.Errorf("err = %v, want that the page does not open", err)
	}
}

func TestContextEndsTheVisit(t *testing.T) {
	url, _ := store(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := Run(ctx, Config{StoreURL: url, Reading: time.Hour}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v, want context.DeadlineExceeded", err)
	}
}

func TestStoreURL(t *testing.T) {
	for _, url := range []string{"", "127.0.0.1:5001", "ftp://127.0.0.1", "http://"} {
		if _, err := Run(t.Context(), Config{StoreURL: url}); err == nil || !strings.Contains(err.Error(), "is no URL") {
			t.Errorf("%q: err = %v, want that it is no URL", url, err)
		}
	}
}
