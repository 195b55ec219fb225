package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
)

// tracerName names what makes the spans.
const tracerName = "example.com/bookstore/producer"

// Traces makes the spans of the store and sends them on. A nil Traces is off.
type Traces struct{ provider *trace.TracerProvider }

// TracesFromEnvironment returns Traces as OpenTelemetry's environment variables ask for
// them, nil if they ask for none: OTEL_EXPORTER_OTLP_ENDPOINT, or its variant for traces,
// or OTEL_TRACES_EXPORTER=otlp switch them on, OTEL_SDK_DISABLED=true and
// OTEL_TRACES_EXPORTER=none off. Sampling, headers and certificates follow from the
// variables of the specification, too. It does not wait for the collector.
//
// The first span that cannot be sent is a warning, the others are for debugging: the
// store works without a collector.
func TracesFromEnvironment(ctx context.Context, logger *slog.Logger) (*Traces, error) {
	exporter := os.Getenv("OTEL_TRACES_EXPORTER")
	endpoint := os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") + os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT")
	switch {
	case strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true"), exporter == "none", exporter == "" && endpoint == "":
		return nil, nil
	case exporter != "" && exporter != "otlp":
		return nil, fmt.Errorf("switching traces on: OTEL_TRACES_EXPORTER is %q; the store knows otlp and none", exporter)
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if protocol := os.Getenv(name); protocol != "" && protocol != "grpc" {
			return nil, fmt.Errorf("switching traces on: %s is %q; the store sends OTLP over grpc", name, protocol)
		}
	}
	client, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("switching traces on: %w", err)
	}
	var warned atomic.Bool
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		level := slog.LevelDebug
		if warned.CompareAndSwap(false, true) {
			level = slog.LevelWarn
		}
		logger.Log(ctx, level, "sending traces", "error", err)
	}))
	return NewTraces(ctx, trace.WithBatcher(client))
}

// NewTraces returns Traces with the given options, under the name of the store unless
// OTEL_SERVICE_NAME has another.
func NewTraces(ctx context.Context, options ...trace.TracerProviderOption) (*Traces, error) {
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "bookstore-store")),
		resource.WithTelemetrySDK(),
		resource.WithHost(),
		resource.WithFromEnv(), // last, so that it wins
	)
	if err != nil {
		return nil, fmt.Errorf("switching traces on: %w", err)
	}
	return &Traces{trace.NewTracerProvider(append([]trace.TracerProviderOption{trace.WithResource(about)}, options...)...)}, nil
}

// Tracer makes spans; it is nil if traces are off.
func (t *Traces) Tracer() oteltrace.Tracer {
	if t == nil {
		return nil
	}
	return t.provider.Tracer(tracerName)
}

// Shutdown sends what is left, at most until ctx ends.
func (t *Traces) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("sending the last spans: %w", err)
	}
	return nil
}
