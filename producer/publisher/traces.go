package publisher

import (
	"context"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"example.com/bookstore/schema"
)

// begin starts the span of a record, as child of what its trace context names, and
// returns the span's own context in place of that: whoever reads the record goes on
// from there.
func (p *Publisher) begin(r Record) (traceParent string, span trace.Span) {
	carrier := propagation.MapCarrier{schema.TraceHeader: r.TraceParent}
	ctx := propagation.TraceContext{}.Extract(context.Background(), carrier)
	ctx, span = p.tracer.Start(ctx, "send "+p.topic, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		semconv.MessagingSystemKafka,
		semconv.MessagingOperationTypeSend,
		semconv.MessagingOperationName("send"),
		semconv.MessagingDestinationName(p.topic),
		semconv.MessagingMessageBodySize(len(r.Value)),
	))
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[schema.TraceHeader], span
}

// finish ends the span of a record, if it has one, with its error or nil.
func finish(span trace.Span, err error) {
	if span == nil {
		return
	}
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
