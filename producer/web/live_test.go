package web

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bookstore/producer/live"
	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
)

// fakeLive tells what the test gives it.
type fakeLive struct {
	snapshot  *live.Snapshot
	timeline  live.Timeline
	unread    error
	user      string // whose timeline was asked for
	snapshots chan *live.Snapshot

	mu      sync.Mutex
	stopped int
}

func (f *fakeLive) Snapshot() *live.Snapshot { return f.snapshot }

func (f *fakeLive) Subscribe() (snapshots <-chan *live.Snapshot, stop func()) {
	return f.snapshots, func() { f.mu.Lock(); defer f.mu.Unlock(); f.stopped++ }
}

func (f *fakeLive) Timeline(_ context.Context, user string, _ int) (live.Timeline, error) {
	f.user = user
	return f.timeline, f.unread
}

func newLiveServer(t *testing.T, l Live) *Server {
	t.Helper()
	s, err := New(Config{Publisher: &fakePublisher{}, Live: l, Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// busy is a snapshot with something in every part.
func busy() *live.Snapshot {
	at := now.UTC()
	lag := int64(1234)
	s := &live.Snapshot{
		At: at, CountsAt: at,
		Problems: []live.Problem{{Kind: live.JobGone, Grave: true, Title: "The streaming job is gone", Detail: "Nobody <watches> it.", Action: "Start it.", Since: at}},
		Rate:     live.Rate{PerSecond: 12.34, Seconds: make([]int, 300), Last: at},
		Latency:  live.Latency{P50: 1.234, P95: 2.345, Samples: 7},
		Landed: []live.Landed{{
			EventType: schema.Purchase, EventTime: at, BookID: "dracula", Title: "Dracula <i>", Visitor: "4b1d2c…",
			Received: at, Written: at.Add(1500 * time.Millisecond),
		}},
		Opened: []live.BookCount{{BookID: "dracula", Title: "Dracula", Events: 4000}, {BookID: "middlemarch", Title: "Middlemarch", Events: 1000}},
		Bought: []live.BookCount{{BookID: "middlemarch", Title: "Middlemarch", Events: 3}},
		Funnel: live.Funnel{Opened: 200, Read: 90, Bought: 50, At: at},
		Reading: live.Reading{
			Now: live.ReadingTime{Closed: 12, Median: 75, Unended: 3}, Finished: live.ReadingTime{Closed: 5000, Median: 7.25}, Since: at, At: at,
		},
		Rejected: live.Rejected{
			Today: 2, Reasons: []live.ReasonCount{{Reason: "book_id is missing or empty", Records: 2}},
			Latest: []live.RejectedRecord{{Partition: 5, Offset: 77, Reason: "book_id is missing or empty", ReceivedAt: at}}, At: at,
		},
		Queries: []live.QueryReport{{
			StreamingQuery: cassandra.StreamingQuery{Query: "events", State: cassandra.QueryRunning, BatchDurationMs: 812, ProcessedRowsPerSecond: 55.5, ReportedAt: at}, Lag: &lag,
		}, {
			StreamingQuery: cassandra.StreamingQuery{Query: "reads", State: cassandra.QueryRunning, Watermark: at, ReportedAt: at}, Gone: true,
		}},
	}
	for i := range s.Rate.Seconds {
		s.Rate.Seconds[i] = i / 60 * 7
	}
	return s
}

var (
	tags   = regexp.MustCompile(`<[^>]*>`)
	spaces = regexp.MustCompile(`\s+`)
)

// textOf is what a person reads of some HTML.
func textOf(page string) string {
	return strings.TrimSpace(spaces.ReplaceAllString(html.UnescapeString(tags.ReplaceAllString(page, " ")), " "))
}

func TestLivePage(t *testing.T) {
	s := newLiveServer(t, &fakeLive{snapshot: busy()})
	w := send(s, http.MethodGet, "/live", "", "Accept", "text/html")
	if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "private, no-store" {
		t.Fatalf("/live = %d, %v", w.Code, w.Header())
	}
	text := textOf(w.Body.String())
	for _, want := range []string{
		"The streaming job is gone since 12:00:00 Nobody <watches> it. What to do: Start it.",
		"12 a second events come in", "1.2 seconds until half of the events are stored 95 of 100 within 2.3 s",
		"50 purchases today 25 % of those who opened a description", "2 records rejected today mostly: book_id is missing or empty",
		"4b1d2c… bought Dracula <i> stored after 1.5 s", "Dracula 4,000 Middlemarch 1,000",
		"Opened the description 200 100 % Read it for 10 s or more 90 45 % Bought the book 50 25 %",
		"Typical time open 1 min 15 s 7.2 s", "Readings that ended 12 5,000", "partition 5, offset 77",
		"Every event events running 1,234 56 0.8 s – 12:00:00", "Reading times reads gone – 0 0.0 s 12:00:00 12:00:00",
		"the last 1,680 28 28 1 min before 1,260 21 21",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	for _, want := range []string{`aria-label="Events a second over the last 5 minutes: now 12, at most 28."`, `role="alert"`, `<rect width="25.0" height="1"/>`, `datetime="2026-03-01T12:00:00.123Z"`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}

// A store that has just been started knows nothing, and says so instead of zeros.
func TestLivePageWithoutAnything(t *testing.T) {
	w := send(newLiveServer(t, &fakeLive{snapshot: &live.Snapshot{At: now}}), http.MethodGet, "/live", "")
	text := textOf(w.Body.String())
	for _, want := range []string{"No event has come", "No count has come from the streaming job", "Not known yet.", "No query has reported yet.", "none was stored in the last 5 minutes"} {
		if w.Code != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%d: the page lacks %q:\n%s", w.Code, want, text)
		}
	}
}

func TestLiveSnapshot(t *testing.T) {
	w := send(newLiveServer(t, &fakeLive{snapshot: busy()}), http.MethodGet, "/live/snapshot.json", "")
	var got live.Snapshot
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if w.Header().Get("Cache-Control") != "no-store" || got.Problems[0].Kind != live.JobGone || got.Landed[0].Title != "Dracula <i>" || *got.Queries[0].Lag != 1234 {
		t.Errorf("snapshot %+v, headers %v", got, w.Header())
	}
}

func TestLiveIsOff(t *testing.T) {
	s := newServer(t, &fakePublisher{})
	for _, path := range []string{"/live", "/live/events", "/live/snapshot.json", "/me"} {
		if w := send(s, http.MethodGet, path, ""); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "--live=false") {
			t.Errorf("%s = %d %s", path, w.Code, w.Body)
		}
	}
}

// message is one server-sent event of parts.
func message(t *testing.T, lines *bufio.Scanner) map[string]string {
	t.Helper()
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var parts map[string]string
			if err := json.Unmarshal([]byte(data), &parts); err != nil {
				t.Fatalf("%v\n%s", err, data)
			}
			return parts
		}
	}
	t.Fatalf("the stream has ended: %v", lines.Err())
	return nil
}

// openStream asks a running server for the stream.
func openStream(t *testing.T, s *Server) (http.Header, *bufio.Scanner) {
	t.Helper()
	l := listen(t)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		<-served
	})
	response, err := http.Get("http://" + l.Addr().String() + "/live/events")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	return response.Header, lines
}

func TestLiveStream(t *testing.T) {
	f := &fakeLive{snapshots: make(chan *live.Snapshot, 1)}
	s := newLiveServer(t, f)
	s.http.WriteTimeout, s.http.ReadTimeout = 300*time.Millisecond, 300*time.Millisecond
	header, lines := openStream(t, s)
	if header.Get("Content-Type") != "text/event-stream" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", header)
	}
	if !lines.Scan() || lines.Text() != "retry: 2000" {
		t.Errorf("the stream begins with %q", lines.Text())
	}
	first := busy()
	f.snapshots <- first
	parts := message(t, lines)
	if len(parts) != len(liveParts) || !strings.Contains(parts["feed"], "Dracula &lt;i&gt;") || strings.Contains(parts["feed"], "data-part") {
		t.Errorf("the first message has the parts %q", parts)
	}

	// Later ones have what has changed, and come also when the time-outs of usual
	// requests are long over.
	second := busy()
	second.At = second.At.Add(time.Second)
	second.Rejected.Today = 3
	time.Sleep(2 * s.http.WriteTimeout)
	f.snapshots <- second
	changed := message(t, lines)
	var names []string
	for name := range changed {
		names = append(names, name)
	}
	slices.Sort(names)
	if fmt.Sprint(names) != "[at rejected tiles]" && fmt.Sprint(names) != "[at tiles]" {
		t.Errorf("the second message has %v", names)
	}

	// Draining ends it at once.
	s.Drain()
	if lines.Scan(); lines.Scan() {
		t.Errorf("after draining comes %q", lines.Text())
	}
	if lines.Err() != nil {
		t.Errorf("the stream was cut: %v", lines.Err())
	}
}

// When the hub has ended, so does the stream, and its subscription.
func TestLiveStreamEndsWithTheHub(t *testing.T) {
	f := &fakeLive{snapshots: make(chan *live.Snapshot, 1)}
	_, lines := openStream(t, newLiveServer(t, f))
	close(f.snapshots)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "data:") {
			t.Errorf("unexpected %q", lines.Text())
		}
	}
	if lines.Err() != nil {
		t.Error(lines.Err())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped != 1 {
		t.Errorf("the subscription was given up %d times, want once", f.stopped)
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		decimal(0): "0", decimal(0.25): "0.2", decimal(9.96): "10.0", decimal(12.4): "12", decimal(1234567): "1,234,567",
		grouped(-5): "-5", grouped(999): "999", grouped(1000): "1,000",
		duration(0.84): "0.8 s", duration(9.94): "9.9 s", duration(9.96): "10 s", duration(59.6): "1 min 0 s", duration(3671): "1 h 1 min",
		percent(1, 0): "–", percent(1, 3): "33 %", width(1, 0): "0", width(1, 4): "25.0",
		fmt.Sprint(ceiling(0)): "1", fmt.Sprint(ceiling(2.1)): "3", fmt.Sprint(ceiling(81)): "100", fmt.Sprint(ceiling(100)): "100",
		ago(3 * time.Second): "just now", ago(34 * time.Second): "30 s ago", ago(90 * time.Second): "1 min ago", ago(2 * time.Hour): "more than an hour ago",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
