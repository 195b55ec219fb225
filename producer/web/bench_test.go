package web

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"example.com/bookstore/producer/publisher"
	"example.com/bookstore/schema"
)

// acknowledging takes the place of the brokers, and costs nothing.
type acknowledging struct{}

func (acknowledging) Publish(_ context.Context, records []publisher.Record) []error {
	return make([]error, len(records))
}

func (acknowledging) Ready(context.Context) error { return nil }

func (acknowledging) Direct(context.Context) error { return nil }

func benchmarkEvent(b *testing.B) []byte {
	b.Helper()
	event, err := json.Marshal(schema.Event{
		EventID: schema.NewEventID(), EventType: schema.Purchase, EventTime: now, UserID: schema.NewEventID(), BookID: "frankenstein",
	})
	if err != nil {
		b.Fatal(err)
	}
	return event
}

// What the store's own handler costs for each request with events, without HTTP and Kafka.
func BenchmarkPostEvents(b *testing.B) {
	event := benchmarkEvent(b)
	array := append(append([]byte("["), bytes.Repeat(append(event[:len(event):len(event)], ','), 99)...), append(event, ']')...)
	for _, c := range []struct {
		name   string
		body   []byte
		events float64
	}{{"one", event, 1}, {"array of 100", array, 100}} {
		b.Run(c.name, func(b *testing.B) {
			s, err := New(Config{Publisher: acknowledging{}, Logger: slog.New(slog.DiscardHandler), RateLimit: 1 << 30})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest(http.MethodPost, "/events", bytes.NewReader(c.body))
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Cookie", "user_id=somebody")
				w := httptest.NewRecorder()
				if s.ServeHTTP(w, r); w.Code != http.StatusAccepted {
					b.Fatalf("%d %s", w.Code, w.Body)
				}
			}
			b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/c.events, "ns/event")
		})
	}
}

// What reading an event costs.
func BenchmarkParseEvent(b *testing.B) {
	event := benchmarkEvent(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, errs := parseEvent(event, now); errs != nil {
			b.Fatal(errs)
		}
	}
}
