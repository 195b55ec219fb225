package web

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"example.com/bookstore/producer/publisher"
	"example.com/bookstore/schema"
)

// spanContexts remembers within which span each call to Publish was made.
type spanContexts struct {
	fakePublisher
	seen    []trace.SpanContext
	parents []string // trace contexts of the records
}

func (p *spanContexts) Publish(ctx context.Context, records []publisher.Record) []error {
	p.seen = append(p.seen, trace.SpanContextFromContext(ctx))
	for _, r := range records {
		p.parents = append(p.parents, r.TraceParent)
	}
	return p.fakePublisher.Publish(ctx, records)
}

func TestEachRequestIsASpan(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	p := &spanContexts{}
	s, err := New(Config{
		Publisher: p, Logger: slog.New(slog.DiscardHandler),
		Tracer: sdk.NewTracerProvider(sdk.WithSpanProcessor(spans)).Tracer("test"),
	})
	if err != nil {
		t.Fatal(err)
	}
	send(s, http.MethodPost, "/events", good, schema.TraceHeader, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	p.errs = map[int]error{0: publisher.ErrNotDelivered}
	send(s, http.MethodPost, "/events", good)
	send(s, http.MethodGet, "/nowhere", "")

	ended := spans.Ended()
	if len(ended) != 3 || len(p.seen) != 2 || len(p.parents) != 2 {
		t.Fatalf("%d spans and %d publications", len(ended), len(p.seen))
	}
	for i, want := range []struct {
		name   string
		route  string
		status int64
		failed bool
	}{
		{"POST /events", "/events", 202, false},
		{"POST /events", "/events", 503, true},
		{"GET unmatched", "unmatched", 404, false},
	} {
		span := ended[i]
		attributes := attribute.NewSet(span.Attributes()...)
		status, _ := attributes.Value("http.response.status_code")
		route, _ := attributes.Value("http.route")
		if span.Name() != want.name || span.SpanKind() != trace.SpanKindServer || status.AsInt64() != want.status || route.AsString() != want.route {
			t.Errorf("span %d is %s of kind %s with %v", i, span.Name(), span.SpanKind(), span.Attributes())
		}
		if failed := span.Status().Code.String() == "Error"; failed != want.failed {
			t.Errorf("span %d has status %v", i, span.Status())
		}
	}
	if parent := ended[0].Parent(); parent.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" || parent.SpanID().String() != "b7ad6b7169203331" {
		t.Errorf("the parent is %v, not the client's span", parent)
	}
	for i, seen := range p.seen {
		if !seen.Equal(ended[i].SpanContext()) {
			t.Errorf("publication %d was made within %v, not the request's span", i, seen)
		}
		want := fmt.Sprintf("00-%s-%s-01", ended[i].SpanContext().TraceID(), ended[i].SpanContext().SpanID())
		if got := p.parents[i]; got != want {
			t.Errorf("traceparent of record %d = %s, want the request's %s", i, got, want)
		}
	}
}
