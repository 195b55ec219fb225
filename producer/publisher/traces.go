package publisher

import (
	"context"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"example.com/bookstore/schema"
)

// begin starts a span for each record, as child of the request's, and returns the
// records with the spans' own contexts in place of the request's: whoever reads a
// record goes on from there.
func (p *Publisher) begin(ctx context.Context, records []Record) ([]Record, []trace.Span) {
	traced := make([]Record, len(records))
	spans := make([]trace.Span, len(records))
	for i, r := range records {
		var spanCtx context.Context
		spanCtx, spans[i] = p.tracer.Start(ctx, "send "+p.topic, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
			semconv.MessagingSystemKafka,
			semconv.MessagingOperationTypeSend,
			semconv.MessagingOperationName("send"),
			semconv.MessagingDestinationName(p.topic),
			semconv.MessagingMessageBodySize(len(r.Value)),
		))
		carrier := propagation.MapCarrier{}
		propagation.TraceContext{}.Inject(spanCtx, carrier)
		r.TraceParent = carrier[schema.TraceHeader]
		traced[i] = r
	}
	return traced, spans
}

// finish ends the spans of records, of which each has an error or nil.
func finish(spans []trace.Span, errs []error) {
	for i, span := range spans {
		if errs[i] != nil {
			span.RecordError(errs[i])
			span.SetStatus(codes.Error, errs[i].Error())
		}
		span.End()
	}
}
