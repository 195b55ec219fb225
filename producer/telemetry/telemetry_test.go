package telemetry

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestLoopback(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:5001": true, "127.1.2.3:1": true, "[::1]:5001": true, "localhost:80": true,
		"0.0.0.0:5001": false, "[::]:5001": false, ":5001": false, "10.0.0.1:80": false, "example.com:80": false, "nowhere": false,
	} {
		if got := Loopback(addr); got != want {
			t.Errorf("Loopback(%q) = %v", addr, got)
		}
	}
}

func TestServe(t *testing.T) {
	registry := NewRegistry()
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	if _, err := Serve(t.Context(), addr, registry, nil); err == nil || !strings.Contains(err.Error(), "STORE_METRICS_ADDR") {
		t.Errorf("a port that another program has: %v", err)
	}
	listener.Close()
	stop, err := Serve(t.Context(), addr, registry, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	response, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	for _, want := range []string{"bookstore_store_build_info{", "go_goroutines ", "process_cpu_seconds_total "} {
		if err != nil || !strings.Contains(string(body), want) {
			t.Errorf("/metrics lacks %s (%v)", want, err)
		}
	}
}

// environment sets OpenTelemetry's variables for a test, and no others.
func environment(t *testing.T, pairs ...string) {
	t.Helper()
	for _, name := range []string{
		"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
		"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER",
	} {
		t.Setenv(name, "")
	}
	for i := 0; i < len(pairs); i += 2 {
		t.Setenv(pairs[i], pairs[i+1])
	}
}

func TestTracesAreOffUnlessAsked(t *testing.T) {
	for _, variables := range [][]string{
		{},
		{"OTEL_TRACES_EXPORTER", "none", "OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"},
		{"OTEL_SDK_DISABLED", "true", "OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"},
	} {
		environment(t, variables...)
		traces, err := TracesFromEnvironment(t.Context(), slog.New(slog.DiscardHandler))
		if traces != nil || err != nil {
			t.Errorf("%v: %v, %v", variables, traces, err)
		}
		if traces.Tracer() != nil || traces.Shutdown(t.Context()) != nil {
			t.Errorf("%v: what is off does something", variables)
		}
	}
}

func TestTracesRefuseWhatTheyCannotDo(t *testing.T) {
	for _, variables := range [][]string{
		{"OTEL_TRACES_EXPORTER", "zipkin"},
		{"OTEL_TRACES_EXPORTER", "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"},
	} {
		environment(t, variables...)
		if _, err := TracesFromEnvironment(t.Context(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), variables[len(variables)-2]) {
			t.Errorf("%v: %v", variables, err)
		}
	}
}

// receiver takes spans as a collector does.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []string // service and name
}

func (r *receiver) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range request.ResourceSpans {
		service := ""
		for _, a := range resource.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Value.GetStringValue()
			}
		}
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				r.spans = append(r.spans, service+" "+span.Name)
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func TestShutdownSendsWhatIsLeft(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, r := grpc.NewServer(), &receiver{}
	collector.RegisterTraceServiceServer(server, r)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		server.Stop()
		<-served
	}()
	environment(t, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+listener.Addr().String())
	traces, err := TracesFromEnvironment(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_, span := traces.Tracer().Start(t.Context(), "POST /events")
	span.End()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := traces.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if len(r.spans) != 1 || r.spans[0] != "bookstore-store POST /events" {
		t.Errorf("the collector has %q", r.spans)
	}
}
