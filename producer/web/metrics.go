package web

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/bookstore/producer/publisher"
	"example.com/bookstore/schema"
)

// metrics of a Server: what was asked, and what became of events.
type metrics struct {
	duration     *prometheus.HistogramVec
	underWay     prometheus.Gauge
	acknowledged *prometheus.CounterVec
	refused      *prometheus.CounterVec
}

// unknownType is that of an event which was refused before its type could be told.
const unknownType = "unknown"

func newMetrics() *metrics {
	m := &metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "bookstore_store_http_request_duration_seconds",
			Help:    "Time to answer a request, by the pattern of its route. Streams are not in it.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route", "method", "status"}),
		underWay: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bookstore_store_http_requests_in_flight", Help: "Requests that are being answered, streams included.",
		}),
		acknowledged: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bookstore_store_events_acknowledged_total", Help: "Events that the brokers or the spool have.",
		}, []string{"event_type"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bookstore_store_events_refused_total",
			Help: "Events that were not taken, by reason: what the problem is called that the client was answered. A body that is no event at all counts as one.",
		}, []string{"reason", "event_type"}),
	}
	for _, t := range schema.EventTypes() {
		m.acknowledged.WithLabelValues(string(t)) // a rate needs the zero before the first
	}
	return m
}

// collectors are what a registry takes.
func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.duration, m.underWay, m.acknowledged, m.refused}
}

// measure times requests. The route is the pattern that was registered, never what a
// client wrote, so that there are only so many.
func (s *Server) measure(next echo.HandlerFunc) echo.HandlerFunc {
	methods := []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}
	return func(c echo.Context) error {
		began := time.Now()
		s.metrics.underWay.Inc()
		defer s.metrics.underWay.Dec()
		err := next(c)
		if err != nil {
			c.Error(err) // now, so that the status is known
		}
		if strings.HasPrefix(c.Response().Header().Get(echo.HeaderContentType), "text/event-stream") {
			return nil
		}
		method := c.Request().Method
		if !slices.Contains(methods, method) {
			method = "other"
		}
		s.metrics.duration.WithLabelValues(s.route(c), method, strconv.Itoa(c.Response().Status)).Observe(time.Since(began).Seconds())
		return nil
	}
}

// route is the pattern of a request's route, "unmatched" without one.
func (s *Server) route(c echo.Context) string {
	if _, ok := s.routes[c.Path()]; !ok {
		return "unmatched"
	}
	return c.Path()
}

// takesEvents tells the routes whose requests bring events.
func takesEvents(c echo.Context) bool {
	switch c.Path() {
	case "/events", "/track-event", "/purchases":
		return c.Request().Method == http.MethodPost
	}
	return false
}

// countRefusal counts a request that was answered with a problem before an event got as
// far as the publisher.
func (m *metrics) countRefusal(p *Problem, c echo.Context) {
	if !takesEvents(c) || p.EventID != "" || p.Results != nil || p.Status == http.StatusMethodNotAllowed {
		return // counted already, one by one
	}
	reason := p.Type
	if reason == "" {
		reason = "other"
	}
	m.refused.WithLabelValues(reason, unknownType).Inc()
}

// counted is a Publisher that counts what becomes of events.
type counted struct {
	Publisher
	metrics *metrics
}

func (p counted) Publish(ctx context.Context, records []publisher.Record) []error {
	errs := p.Publisher.Publish(ctx, records)
	for i, err := range errs {
		if err == nil {
			p.metrics.acknowledged.WithLabelValues(records[i].Type).Inc()
			continue
		}
		p.metrics.refused.WithLabelValues(reasonOf(err), records[i].Type).Inc()
	}
	return errs
}

func reasonOf(err error) string {
	switch {
	case errors.Is(err, context.Canceled):
		return "client-gone"
	default:
		return notAcknowledged(err).Type
	}
}
