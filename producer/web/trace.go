package web

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"regexp"
	"strings"

	"github.com/labstack/echo/v4"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"example.com/bookstore/schema"
)

var traceForm = regexp.MustCompile(`^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$`)

// traceParent returns the W3C trace context of a request, unchanged, so that the
// record belongs to the client's trace, or to the span that trace has made. Without a valid one it begins a trace,
// which nobody has recorded yet.
func traceParent(h http.Header) string {
	if given := h.Get(schema.TraceHeader); given != "" {
		m := traceForm.FindStringSubmatch(given)
		if m != nil && strings.Trim(m[1], "0") != "" && strings.Trim(m[2], "0") != "" {
			return given
		}
	}
	var id [24]byte
	_, _ = rand.Read(id[:]) // never fails
	return "00-" + hex.EncodeToString(id[:16]) + "-" + hex.EncodeToString(id[16:]) + "-00"
}

// trace makes a span for each request, within the client's trace if it names one, and
// puts it in the place of the client's: the spans of the records that the request
// publishes are children of it.
func (s *Server) trace(next echo.HandlerFunc) echo.HandlerFunc {
	if s.tracer == nil {
		return next
	}
	return func(c echo.Context) error {
		r := c.Request()
		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		route := s.route(c)
		ctx, span := s.tracer.Start(ctx, r.Method+" "+route, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
			semconv.HTTPRequestMethodKey.String(r.Method),
			semconv.HTTPRoute(route),
			semconv.URLPath(r.URL.Path),
			semconv.URLScheme(c.Scheme()),
		))
		defer span.End()
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(r.Header)) // for traceParent
		c.SetRequest(r.WithContext(ctx))
		err := next(c)
		status := c.Response().Status
		span.SetAttributes(semconv.HTTPResponseStatusCode(status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
		return err
	}
}
