package web

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bookstore/producer/publisher"
	"example.com/bookstore/schema"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

// fakePublisher acknowledges everything but the records for which it has an error,
// by their place in the call.
type fakePublisher struct {
	mu       sync.Mutex
	records  []publisher.Record
	errs     map[int]error
	notReady error
	indirect error
	publish  func() // called first, if set
}

func (f *fakePublisher) Publish(_ context.Context, records []publisher.Record) []error {
	if f.publish != nil {
		f.publish()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	errs := make([]error, len(records))
	for i, r := range records {
		if errs[i] = f.errs[i]; errs[i] == nil {
			f.records = append(f.records, r)
		}
	}
	return errs
}

func (f *fakePublisher) Ready(context.Context) error { return f.notReady }

func (f *fakePublisher) Direct(context.Context) error { return f.indirect }

// events decodes what was published.
func (f *fakePublisher) events(t *testing.T) []schema.Event {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	var events []schema.Event
	for i, r := range f.records {
		e, err := schema.Decode(r.Value)
		if err != nil {
			t.Fatalf("record %d is no valid event: %v\n%s", i, err, r.Value)
		}
		if r.Key != e.UserID {
			t.Errorf("record %d: key = %q, want the user %q", i, r.Key, e.UserID)
		}
		if !r.Time.Equal(now) {
			t.Errorf("record %d: time = %v, want that of receipt %v", i, r.Time, now)
		}
		events = append(events, e)
	}
	return events
}

func newServer(t *testing.T, p Publisher) *Server {
	t.Helper()
	s, err := New(Config{Publisher: p, Logger: slog.New(slog.DiscardHandler), Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// header is a list of names and values.
func send(s http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(context.Background(), method, path, strings.NewReader(body))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// sameJSON compares JSON texts regardless of the order of fields.
func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("got no JSON: %v\n%s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("bad test: %v\n%s", err, want)
	}
	gotText, _ := json.Marshal(g)
	wantText, _ := json.Marshal(w)
	if string(gotText) != string(wantText) {
		t.Errorf("got  %s\nwant %s", gotText, wantText)
	}
}

func TestSecurityHeaders(t *testing.T) {
	s := newServer(t, &fakePublisher{})
	for _, path := range []string{"/", "/healthz", "/nowhere", "/assets/store.js"} {
		h := send(s, http.MethodGet, path, "").Header()
		for name, want := range map[string]string{
			"Content-Security-Policy":      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
			"X-Content-Type-Options":       "nosniff",
			"X-Frame-Options":              "DENY",
			"Referrer-Policy":              "same-origin",
			"Cross-Origin-Opener-Policy":   "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s = %q, want %q", path, name, got, want)
			}
		}
	}
}

func TestPanicIsAnsweredAndLogged(t *testing.T) {
	var log strings.Builder
	s, err := New(Config{
		Publisher: &fakePublisher{publish: func() { panic("made by the test") }},
		Logger:    slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	w := send(s, http.MethodPost, "/events", `{"event_type":"purchase","book_id":"middlemarch"}`)
	if w.Code != http.StatusInternalServerError {
		t.Errorf("status = %d, want 500", w.Code)
	}
	sameJSON(t, w.Body.String(), `{"type":"about:blank","title":"Internal Server Error","status":500,"instance":"/events"}`)
	if strings.Count(log.String(), "made by the test") != 1 || !strings.Contains(log.String(), "server_test.go") {
		t.Errorf("the log lacks the panic, once, and its stack:\n%s", log.String())
	}
}

func TestHealthyRunIsQuiet(t *testing.T) {
	var log strings.Builder
	s, err := New(Config{Publisher: &fakePublisher{}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	send(s, http.MethodGet, "/", "")
	send(s, http.MethodGet, "/nowhere", "")
	send(s, http.MethodPost, "/events", `{"event_type":"purchase","book_id":"middlemarch"}`)
	if log.Len() > 0 {
		t.Errorf("logged:\n%s", log.String())
	}
}

func TestLogRequests(t *testing.T) {
	var log strings.Builder
	s, err := New(Config{Publisher: &fakePublisher{}, Logger: slog.New(slog.NewTextHandler(&log, nil)), LogRequests: true})
	if err != nil {
		t.Fatal(err)
	}
	send(s, http.MethodGet, "/nowhere?secret=1", "")
	if got := log.String(); !strings.Contains(got, "method=GET path=/nowhere status=404") || strings.Count(got, "\n") != 1 {
		t.Errorf("logged %q, want one line without the query", got)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// postTo sends an event over the network.
func postTo(ctx context.Context, l net.Listener) (status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+l.Addr().String()+"/events",
		strings.NewReader(`{"event_type":"purchase","book_id":"middlemarch"}`))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	return answer.StatusCode, answer.Body.Close()
}

// Shutdown must answer the request that is under way, and take no further one.
func TestShutdownAnswersWhatIsUnderWay(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	p := &fakePublisher{publish: func() { close(arrived); <-release }}
	s := newServer(t, p)
	l := listen(t)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()

	answered := make(chan int, 1)
	go func() {
		status, err := postTo(t.Context(), l)
		if err != nil {
			t.Error(err)
		}
		answered <- status
	}()
	<-arrived
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(context.WithoutCancel(t.Context())) }()
	if err := <-served; err != nil { // it has stopped listening
		t.Errorf("Serve = %v", err)
	}
	if w := send(s, http.MethodGet, "/readyz", ""); w.Code != http.StatusServiceUnavailable {
		t.Errorf("/readyz while draining = %d, want 503", w.Code)
	}
	select {
	case err := <-ended:
		t.Fatalf("Shutdown returned %v before the request was answered", err)
	default:
	}
	close(release)
	if err := <-ended; err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	if status := <-answered; status != http.StatusAccepted {
		t.Errorf("the request under way was answered %d, want 202", status)
	}
}

func TestShutdownTimesOut(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	s := newServer(t, &fakePublisher{publish: func() { close(arrived); <-release }})
	l := listen(t)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	cut := make(chan error, 1)
	go func() {
		_, err := postTo(t.Context(), l)
		cut <- err
	}()
	<-arrived
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); err == nil || !strings.Contains(err.Error(), "answering the last requests") {
		t.Errorf("Shutdown = %v, want that the last requests were not answered", err)
	}
	if err := <-cut; err == nil {
		t.Error("the request was answered after the time-out")
	}
	close(release)
	if err := <-served; err != nil {
		t.Errorf("Serve = %v", err)
	}
}
