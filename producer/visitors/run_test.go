package visitors

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/bookstore/producer/publisher"
	"example.com/bookstore/producer/web"
	"example.com/bookstore/schema"
	"example.com/bookstore/schema/ledger"
)

// topic keeps the events of the real store in memory.
type topic struct {
	mu      sync.Mutex
	events  map[string]schema.Event // by id, as the path's end keeps them
	records int
	t       *testing.T
}

func (k *topic) Publish(_ context.Context, records []publisher.Record) []error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range records {
		e, err := schema.Decode(r.Value)
		if err != nil {
			k.t.Error(err)
		}
		if known, ok := k.events[e.EventID]; ok && known != e {
			k.t.Errorf("event %s came as %+v and as %+v", e.EventID, known, e)
		}
		k.events[e.EventID] = e
		k.records++
	}
	return make([]error, len(records))
}

func (k *topic) Ready(context.Context) error { return nil }

func (k *topic) Direct(context.Context) error { return nil }

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

// quick are people who do nothing out of the ordinary, all at once.
func quick(visits, books int) PlanConfig {
	return PlanConfig{
		Visits: visits, Rate: 10_000, MinBooks: books, MaxBooks: books, Reading: None, Buying: 0.3,
		NeverClose: None, LatePhones: None, WrongClocks: None, Duplicates: None, BadClients: None,
	}
}

// carryOut carries out a plan that begins now.
func carryOut(ctx context.Context, t *testing.T, plan PlanConfig, cfg RunConfig) ([]ledger.Entry, Stats, error) {
	t.Helper()
	p, err := NewPlan(plan)
	if err != nil {
		t.Fatal(err)
	}
	var entries []ledger.Entry
	if cfg.Record == nil {
		cfg.Record = func(e ledger.Entry) error { entries = append(entries, e); return nil }
	}
	r, err := NewRunner(cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = r.Run(ctx, p.Steps())
	return entries, r.Stats(), err
}

// sameEvents holds what the ledger says against what the store has published.
func sameEvents(t *testing.T, entries []ledger.Entry, k *topic) {
	t.Helper()
	acknowledged := ledger.AcknowledgedEvents(entries)
	for _, err := range ledger.Missing(acknowledged, k.events) {
		t.Error(err)
	}
	once := map[string]bool{}
	for _, e := range acknowledged {
		if once[e.EventID] {
			t.Errorf("event %s is acknowledged twice", e.EventID)
		}
		once[e.EventID] = true
	}
	if len(acknowledged) != len(k.events) {
		t.Errorf("%d events were acknowledged, %d published", len(acknowledged), len(k.events))
	}
}

func TestPeopleActInOrder(t *testing.T) {
	url, k := store(t, nil)
	plan := quick(7, 5)
	plan.Reading = time.Millisecond
	entries, stats, err := carryOut(t.Context(), t, plan, RunConfig{StoreURL: url + "/"})
	if err != nil || stats.Err() != nil {
		t.Fatal(err, stats.Err())
	}
	sameEvents(t, entries, k)

	open, users, kinds := map[string]string{}, map[string]bool{}, map[schema.EventType]int{}
	for _, e := range ledger.AcknowledgedEvents(entries) {
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

// unreliable is a store that is busy now and then, and whose answers get lost.
func unreliable(s http.Handler) http.Handler {
	var requests atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch requests.Add(1) % 7 {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 3:
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		case 5: // taken, and nobody is told
			s.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		default:
			s.ServeHTTP(w, r)
		}
	})
}

// Everything that a plan can have, with a store that fails now and then: what is
// in the file is what the store has, and each event once.
func TestTheLedgerIsWhatTheStoreHas(t *testing.T) {
	url, k := store(t, unreliable)
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	kept, err := ledger.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	plan := PlanConfig{Seed: 5, Visits: 60, Rate: 50, LatePhones: 0.2, Duplicates: 0.1, BadClients: 0.1, WrongClocks: 0.2}
	_, stats, err := carryOut(t.Context(), t, plan, RunConfig{StoreURL: url, AsFastAsPossible: true, InFlight: 8, Record: kept.Record})
	if err := errors.Join(err, stats.Err(), kept.Close()); err != nil {
		t.Fatal(err)
	}
	entries, err := ledger.ReadAll(path)
	if err != nil {
		t.Fatal(err)
	}
	sameEvents(t, entries, k)

	var planned Stats
	for _, s := range steps(t, plan) {
		switch {
		case s.Bad():
			planned.BadRefused++
		case s.Duplicate:
			planned.Repeated++
		default:
			planned.Acknowledged++
		}
		planned.Done++
	}
	got := Stats{Done: stats.Done, Acknowledged: stats.Acknowledged, Repeated: stats.Repeated, BadRefused: stats.BadRefused}
	if got != planned || planned.BadRefused == 0 || planned.Repeated == 0 {
		t.Errorf("%+v became of the plan, want %+v", got, planned)
	}
	if stats.Retries == 0 || stats.P50 <= 0 || stats.P99 < stats.P50 || stats.Max < stats.P99 || stats.Rate() <= 0 {
		t.Errorf("stats = %+v", stats)
	}
	if len(entries) != stats.Done {
		t.Errorf("the ledger has %d entries of %d steps", len(entries), stats.Done)
	}
	late := 0
	for _, e := range entries {
		// As fast as possible, what happens now has happened now; what is late, long ago.
		lag := e.AcknowledgedAt.Sub(e.Event.EventTime)
		switch {
		case e.Outcome == ledger.Refused && (e.Payload == nil || e.Status < 400 || e.Status > 499 || e.Detail == ""):
			t.Errorf("refused: %+v", e)
		case e.Outcome == ledger.Refused:
		case e.Late && (lag < minLate-wrongestClock || lag > 24*time.Hour):
			t.Errorf("late by %v: %+v", lag, e)
		case !e.Late && lag.Abs() > wrongestClock+30*time.Second:
			t.Errorf("not late, but by %v: %+v", lag, e)
		case e.Late:
			late++
		}
	}
	if late == 0 {
		t.Error("nothing is late")
	}
}

func TestARefusalIsFiled(t *testing.T) {
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
	entries, stats, err := carryOut(t.Context(), t, quick(1, 2), RunConfig{StoreURL: url})
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 4 || entries[2].Outcome != ledger.Refused || entries[2].Detail != "the store answered 400: no more" || entries[2].Attempts != 1 {
		t.Errorf("entries = %+v", entries)
	}
	if err := stats.Err(); stats.Refused != 1 || err == nil || err.Error() != "1 events were refused" {
		t.Errorf("stats = %+v: %v", stats, err)
	}
	sameEvents(t, entries, k)
}

func TestABadClientThatIsAcceptedIsAFault(t *testing.T) {
	url, _ := store(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	})
	plan := quick(1, 1)
	plan.BadClients = 1
	entries, stats, err := carryOut(t.Context(), t, plan, RunConfig{StoreURL: url, AsFastAsPossible: true})
	if err != nil || stats.BadAccepted == 0 || stats.Err() == nil || len(ledger.AcknowledgedEvents(entries)) != 0 {
		t.Errorf("stats = %+v: %v, %v", stats, stats.Err(), err)
	}
}

// What was sent may be stored, if the answer does not say. What never came to the
// store is not.
func TestPatienceEnds(t *testing.T) {
	url, k := store(t, func(s http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			s.ServeHTTP(w, r)
		})
	})
	entries, stats, err := carryOut(t.Context(), t, quick(3, 2), RunConfig{StoreURL: url, Patience: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if stats.Unknown != 3 || stats.Skipped < 3*3 || len(entries) != 3 || entries[0].Attempts < 2 || entries[0].Status != 503 ||
		!strings.Contains(entries[0].Detail, "the store answered 503") {
		t.Errorf("stats = %+v, entries = %+v", stats, entries)
	}
	if err := stats.Err(); err == nil || !strings.Contains(err.Error(), "3 events were sent and not acknowledged") {
		t.Errorf("err = %v", err)
	}
	if len(k.events) != 0 {
		t.Error("the store has events")
	}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url = "http://" + listener.Addr().String()
	listener.Close() // nobody listens there
	entries, stats, err = carryOut(t.Context(), t, quick(2, 1), RunConfig{StoreURL: url, Patience: 100 * time.Millisecond})
	if err != nil || stats.Unacknowledged != 2 || !strings.Contains(entries[0].Detail, "opening the page") {
		t.Errorf("stats = %+v, entries = %+v: %v", stats, entries, err)
	}
	r, err := NewRunner(RunConfig{StoreURL: url})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "`task up` starts it") {
		t.Errorf("err = %v", err)
	}
}

// A slow answer delays those who come after it, and their latencies show it.
func TestLatencyCountsFromThePlannedTime(t *testing.T) {
	const slow = 300 * time.Millisecond
	var posts atomic.Int64
	url, _ := store(t, func(s http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && posts.Add(1) == 1 {
				time.Sleep(slow) // the store is slow; nothing is awaited
			}
			s.ServeHTTP(w, r)
		})
	})
	entries, stats, err := carryOut(t.Context(), t, quick(20, 1), RunConfig{StoreURL: url, InFlight: 1})
	if err != nil || stats.Err() != nil {
		t.Fatal(err, stats.Err())
	}
	for _, e := range entries {
		if want := float64((slow - 100*time.Millisecond).Milliseconds()); e.LatencyMS < want {
			t.Errorf("planned at %v, acknowledged at %v, latency %v ms, want more than %v", e.PlannedAt, e.AcknowledgedAt, e.LatencyMS, want)
		}
	}
	if stats.P50 < 200*time.Millisecond {
		t.Errorf("stats = %+v", stats)
	}
}

func TestStepsAreSentOnTime(t *testing.T) {
	url, k := store(t, nil)
	plan := quick(10, 1)
	plan.Rate, plan.Reading, plan.Buying = 100, 50*time.Millisecond, None
	entries, stats, err := carryOut(t.Context(), t, plan, RunConfig{StoreURL: url})
	if err != nil || stats.Err() != nil {
		t.Fatal(err, stats.Err())
	}
	sameEvents(t, entries, k)
	for _, e := range entries {
		if e.AcknowledgedAt.Before(e.PlannedAt) || !e.Event.EventTime.Equal(e.PlannedAt) {
			t.Errorf("planned at %v, happened at %v, acknowledged at %v", e.PlannedAt, e.Event.EventTime, e.AcknowledgedAt)
		}
	}
	changes := 0
	for i := range entries[1:] {
		if entries[i].Event.UserID != entries[i+1].Event.UserID {
			changes++
		}
	}
	if changes < 10 {
		t.Errorf("%d changes of visitor among %d events: they came one after the other", changes, len(entries))
	}
}

// Told to end, a run lets what is under way come to its end.
func TestRunEndsInGoodOrder(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	told := errors.New("told to end")
	url, k := store(t, func(s http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				cancel(told)
			}
			s.ServeHTTP(w, r)
		})
	})
	plan := quick(1000, 3)
	plan.Reading = time.Hour
	entries, stats, err := carryOut(ctx, t, plan, RunConfig{StoreURL: url, Grace: time.Minute})
	if !errors.Is(err, told) || stats.Err() != nil || len(entries) == 0 || len(entries) > 1000 {
		t.Errorf("%d entries, err = %v, %v", len(entries), err, stats.Err())
	}
	sameEvents(t, entries, k)
}

// A request that never ends is cut off after the grace.
func TestGraceEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	url, _ := store(t, func(s http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				_, _ = io.Copy(io.Discard, r.Body) // only then the server sees that the client goes
				cancel()
				<-r.Context().Done()
				return
			}
			s.ServeHTTP(w, r)
		})
	})
	entries, stats, err := carryOut(ctx, t, quick(1, 1), RunConfig{StoreURL: url, Grace: 100 * time.Millisecond})
	if !errors.Is(err, context.Canceled) || stats.Unknown != 1 || len(entries) == 0 {
		t.Errorf("entries = %+v, err = %v", entries, err)
	}
}

func TestALedgerThatCannotBeWrittenEndsTheRun(t *testing.T) {
	url, _ := store(t, nil)
	full := errors.New("no space left")
	n := 0
	_, _, err := carryOut(t.Context(), t, PlanConfig{}, RunConfig{
		StoreURL: url, AsFastAsPossible: true, Record: func(ledger.Entry) error {
			if n++; n >= 3 {
				return full
			}
			return nil
		},
	})
	if !errors.Is(err, full) {
		t.Errorf("err = %v", err)
	}
}

func TestStoreURL(t *testing.T) {
	for _, url := range []string{"", "127.0.0.1:5001", "ftp://127.0.0.1", "http://"} {
		if _, err := NewRunner(RunConfig{StoreURL: url}); err == nil || !strings.Contains(err.Error(), "is no URL") {
			t.Errorf("%q: err = %v, want that it is no URL", url, err)
		}
	}
}

func TestTogether(t *testing.T) {
	late := Step{Visitor: "a", At: start, Late: true}
	other := Step{Visitor: "b", At: start, Late: true}
	prompt := Step{Visitor: "b", At: start}
	list := []Step{prompt, late, late, other, prompt, prompt}
	list = append(list, slices.Repeat([]Step{late}, 201)...)
	var sizes []int
	for group := range together(slices.Values(list)) {
		sizes = append(sizes, len(group))
	}
	if want := []int{1, 2, 1, 1, 1, 200, 1}; !reflect.DeepEqual(sizes, want) {
		t.Errorf("groups of %v, want %v", sizes, want)
	}
}
