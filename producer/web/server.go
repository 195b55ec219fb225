// Package web is the store's HTTP server, where the data's path begins: it shows
// the catalogue, takes what visitors do as events, and answers once the brokers, or
// the store's spool, have them. Each endpoint has a file of its own.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"example.com/bookstore/producer/publisher"
)

// Publisher takes events for the brokers, and is a delivery.Delivery.
type Publisher interface {
	// Publish returns once each record is acknowledged or refused, one error or
	// nil for each.
	Publish(ctx context.Context, records []publisher.Record) []error
	// Ready returns nil if records can be published, else why not.
	Ready(ctx context.Context) error
	// Direct returns nil if records go to the brokers at once, else why they wait in
	// the spool.
	Direct(ctx context.Context) error
}

// Config says what a Server works with.
type Config struct {
	Publisher   Publisher
	Logger      *slog.Logger     // slog.Default() if nil
	Clock       func() time.Time // time.Now if nil
	LogRequests bool             // one line for each request
	RateLimit   int              // requests with events that a visitor may send in a second; no limit if 0
	// Metrics takes the server's metrics, and MetricsHandler answers /metrics on its own
	// address; Tracer makes a span for each request. Each may be nil.
	Metrics        prometheus.Registerer
	MetricsHandler http.Handler
	Tracer         trace.Tracer
	Live           Live // for the pages /live and /me; nil switches them off
}

// Bounds of a request. A visitor waits for the brokers at most as long as a delivery
// does before it turns to the spool, so writing gets more time than that.
const (
	headerTimeout  = 5 * time.Second
	readTimeout    = 15 * time.Second
	writeTimeout   = 60 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 32 << 10
)

// MaxDeliveryTimeout is the longest delivery time-out of a publisher with which
// every request is still answered.
const MaxDeliveryTimeout = 45 * time.Second

// Server is the store. It is an http.Handler, and Serve runs it on a listener.
type Server struct {
	publisher Publisher
	logger    *slog.Logger
	clock     func() time.Time
	pages     *pages
	purchases purchases
	crossSite *http.CrossOriginProtection
	echo      *echo.Echo
	http      *http.Server
	limiter   *limiter // nil for none
	draining  atomic.Bool
	metrics   *metrics
	routes    map[string]bool // by pattern
	tracer    trace.Tracer    // nil for none

	liveSource Live
	liveStream liveStream
	stop       func()        // closes stopping
	stopping   chan struct{} // ends what would not end by itself
}

// New returns a Server. Its error says which of the embedded pages is wrong.
func New(cfg Config) (*Server, error) {
	pages, err := renderPages()
	if err != nil {
		return nil, err
	}
	s := &Server{
		publisher: cfg.Publisher, logger: cfg.Logger, clock: cfg.Clock, pages: pages,
		crossSite: http.NewCrossOriginProtection(), echo: echo.New(),
		metrics: newMetrics(), routes: map[string]bool{}, tracer: cfg.Tracer,
	}
	s.publisher = counted{cfg.Publisher, s.metrics}
	if cfg.RateLimit > 0 {
		s.limiter = newLimiter(cfg.RateLimit)
	}
	if cfg.Metrics != nil {
		for _, c := range s.metrics.collectors() {
			if err := cfg.Metrics.Register(c); err != nil {
				return nil, fmt.Errorf("registering the server's metrics: %w", err)
			}
		}
	}
	s.liveSource, s.stopping = cfg.Live, make(chan struct{})
	s.stop = sync.OnceFunc(func() { close(s.stopping) })
	if s.logger == nil {
		s.logger = slog.Default()
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn),
	}

	e := s.echo
	// By default echo believes whatever address a request's headers claim.
	e.IPExtractor = echo.ExtractIPDirect()
	e.HTTPErrorHandler = s.handleError
	if cfg.LogRequests {
		e.Use(s.requestLog())
	}
	e.Use(s.trace, s.measure, s.recover(), secureHeaders, middleware.BodyLimit(maxBody))

	get := []string{http.MethodGet, http.MethodHead}
	zip := middleware.Gzip()
	e.Match(get, "/", s.index, zip)
	e.Match(get, "/shelves", s.shelves, zip)
	e.Match(get, "/shelves/:id", s.shelf, zip)
	e.Match(get, "/search", s.search, zip)
	e.Match(get, "/books/:id", s.book, zip)
	e.POST("/purchases", s.postPurchase, s.refuseCrossSite, s.limitRate)
	e.Match(get, "/purchases/:id", s.purchase, zip)
	e.Match(get, "/assets/:name", s.asset, zip)
	e.Match(get, "/covers/:name", s.cover, zip)
	e.Match(get, "/live", s.live, zip)
	e.GET("/live/events", s.liveEvents)
	e.Match(get, "/live/snapshot.json", s.liveSnapshot, zip)
	e.Match(get, "/me", s.me, zip)
	e.POST("/events", s.postEvents, s.refuseCrossSite, s.limitRate)
	e.POST("/track-event", s.postTrackEvent, s.refuseCrossSite, s.limitRate)
	e.Match(get, "/healthz", s.healthz)
	e.Match(get, "/readyz", s.readyz)
	if cfg.MetricsHandler != nil {
		e.Match(get, "/metrics", echo.WrapHandler(cfg.MetricsHandler))
	}
	for _, r := range e.Routes() {
		s.routes[r.Path] = true
	}
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.echo.ServeHTTP(w, r) }

// Serve answers the requests of a listener until Shutdown, and then returns nil.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving on %s: %w", l.Addr(), err)
	}
	return nil
}

// Drain makes /readyz say that no more events should come, while they are still
// taken, so that a load balancer can turn to another store. Streams of the live page
// end, since they would never do so by themselves.
func (s *Server) Drain() {
	s.draining.Store(true)
	s.stop()
}

// Shutdown drains, stops listening and waits until every request is answered. If
// ctx ends first the connections that are left are cut, and the error says so.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Drain()
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("answering the last requests: %w", err), s.http.Close())
	}
	return nil
}

func (s *Server) recover() echo.MiddlewareFunc {
	return middleware.RecoverWithConfig(middleware.RecoverConfig{
		DisableStackAll: true,
		LogErrorFunc: func(c echo.Context, err error, stack []byte) error {
			s.logger.Error("answering a request panicked", "method", c.Request().Method, "path", c.Path(),
				"error", err, "stack", string(stack))
			return echo.ErrInternalServerError
		},
	})
}

func (s *Server) requestLog() echo.MiddlewareFunc {
	return middleware.RequestLoggerWithConfig(middleware.RequestLoggerConfig{
		HandleError: true, LogStatus: true, LogMethod: true, LogURIPath: true, LogLatency: true,
		LogValuesFunc: func(_ echo.Context, v middleware.RequestLoggerValues) error {
			s.logger.Info("request", "method", v.Method, "path", v.URIPath, "status", v.Status, "took", v.Latency)
			return nil
		},
	})
}

// secured lets the pages use only what this server itself serves, in files of their own:
// nothing inline, nothing from elsewhere, in nobody's frame.
var secured = http.Header{
	"Content-Security-Policy": {"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
		"connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"},
	"Cross-Origin-Opener-Policy":   {"same-origin"},
	"Cross-Origin-Resource-Policy": {"same-origin"},
	"Permissions-Policy":           {"camera=(), geolocation=(), microphone=(), payment=()"},
	"Referrer-Policy":              {"same-origin"},
	"X-Content-Type-Options":       {"nosniff"},
	"X-Frame-Options":              {"DENY"},
}

const hstsMaxAge = 365 * 24 * time.Hour

// secureHeaders adds these headers to every answer. To set them one by one, as echo's own
// middleware does, costs an event as much as to read it.
func secureHeaders(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		maps.Copy(h, secured)
		if c.Scheme() == "https" {
			h.Set(echo.HeaderStrictTransportSecurity, fmt.Sprintf("max-age=%d; includeSubdomains", int(hstsMaxAge.Seconds())))
		}
		return next(c)
	}
}

// refuseCrossSite keeps other sites' pages from making events in the name of
// whoever reads them. Clients that are no browsers are not concerned.
func (s *Server) refuseCrossSite(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := s.crossSite.Check(c.Request()); err != nil {
			return &Problem{Type: "cross-site", Status: http.StatusForbidden, Detail: "A page of another site cannot send events here."}
		}
		return next(c)
	}
}
