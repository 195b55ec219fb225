package web

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"example.com/bookstore/producer/publisher"
)

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	p := &fakePublisher{errs: map[int]error{1: publisher.ErrQueueFull}}
	s, err := New(Config{
		Publisher: p, Logger: slog.New(slog.DiscardHandler), Clock: func() time.Time { return now },
		Metrics: registry, MetricsHandler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	send(s, http.MethodPost, "/events", good)
	send(s, http.MethodPost, "/events", `{"event_type": "page_view"}`)
	send(s, http.MethodPost, "/events", `no JSON`)
	send(s, http.MethodPost, "/events", "["+good+","+good+`,{}]`) // the second finds the queue full
	send(s, http.MethodPost, "/track-event", `[]`)
	send(s, http.MethodGet, "/", "")
	send(s, http.MethodGet, "/nowhere/4711", "")
	send(s, http.MethodGet, "/books/no-such-book", "")
	send(s, "BREW", "/events", "")
	send(s, http.MethodGet, "/healthz", "")

	err = testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP bookstore_store_events_acknowledged_total Events that the brokers or the spool have.
# TYPE bookstore_store_events_acknowledged_total counter
bookstore_store_events_acknowledged_total{event_type="description_close"} 0
bookstore_store_events_acknowledged_total{event_type="description_open"} 2
bookstore_store_events_acknowledged_total{event_type="purchase"} 0
# HELP bookstore_store_events_refused_total Events that were not taken, by reason: what the problem is called that the client was answered. A body that is no event at all counts as one.
# TYPE bookstore_store_events_refused_total counter
bookstore_store_events_refused_total{event_type="description_open",reason="busy"} 1
bookstore_store_events_refused_total{event_type="unknown",reason="invalid-event"} 3
bookstore_store_events_refused_total{event_type="unknown",reason="invalid-json"} 1
`), "bookstore_store_events_acknowledged_total", "bookstore_store_events_refused_total")
	if err != nil {
		t.Error(err)
	}

	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	text := send(s, http.MethodGet, "/metrics", "").Body.String()
	for _, want := range []string{
		`request_duration_seconds_count{method="POST",route="/events",status="202"} 1`,
		`request_duration_seconds_count{method="POST",route="/events",status="207"} 1`,
		`request_duration_seconds_count{method="POST",route="/events",status="400"} 2`,
		`request_duration_seconds_count{method="POST",route="/track-event",status="400"} 1`,
		`request_duration_seconds_count{method="GET",route="/",status="200"} 1`,
		`request_duration_seconds_count{method="GET",route="/books/:id",status="404"} 1`,
		`request_duration_seconds_count{method="GET",route="unmatched",status="404"} 1`,
		`request_duration_seconds_count{method="other",route="/events",status="405"} 1`,
		`bookstore_store_http_requests_in_flight 1`, // this one
	} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	for _, never := range []string{"4711", "no-such-book", "BREW"} {
		if strings.Contains(text, never) {
			t.Errorf("/metrics has %q, which a client made up", never)
		}
	}
}

func TestMetricsAreNotServedUnlessAsked(t *testing.T) {
	if code := send(newServer(t, &fakePublisher{}), http.MethodGet, "/metrics", "").Code; code != http.StatusNotFound {
		t.Errorf("status %d, want 404", code)
	}
}

func TestReasonsOfRefusals(t *testing.T) {
	for err, want := range map[error]string{
		publisher.ErrQueueFull: "busy", publisher.ErrNotDelivered: "not-acknowledged", publisher.ErrClosed: "stopping",
		publisher.ErrFatal: "stopping", errors.New("any other"): "not-acknowledged",
	} {
		if got := reasonOf(err); got != want {
			t.Errorf("%v counts as %s, want %s", err, got, want)
		}
	}
}
