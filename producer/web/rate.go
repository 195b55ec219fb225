package web

import (
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"
)

const (
	// burst is how many seconds' worth of requests a visitor may send at once.
	burst = 2

	// maxVisitors is how many visitors' rates are remembered, at least and by half at
	// most: some tens of megabytes, whoever comes.
	maxVisitors = 50_000
)

// limiter bounds the requests of each visitor. What it remembers is bounded, too: once
// a generation has maxVisitors it becomes the former one, and what was before that is
// forgotten. Whoever is forgotten may only send a burst again.
type limiter struct {
	limit rate.Limit

	mu             sync.Mutex
	current        map[string]*rate.Limiter
	former         map[string]*rate.Limiter
	generationSize int
}

func newLimiter(perSecond int) *limiter {
	return &limiter{limit: rate.Limit(perSecond), current: map[string]*rate.Limiter{}, generationSize: maxVisitors}
}

// wait returns how long the visitor must wait before the next request, 0 if this one
// may go on.
func (l *limiter) wait(key string, now time.Time) time.Duration {
	visitor := l.of(key)
	r := visitor.ReserveN(now, 1)
	delay := r.DelayFrom(now)
	if delay > 0 {
		r.CancelAt(now) // a refused request does not count
	}
	return delay
}

func (l *limiter) of(key string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v, ok := l.current[key]; ok {
		return v
	}
	v, ok := l.former[key]
	if !ok {
		v = rate.NewLimiter(l.limit, burst*int(l.limit))
	}
	if len(l.current) >= l.generationSize {
		l.former, l.current = l.current, map[string]*rate.Limiter{}
	}
	l.current[key] = v
	return v
}

// limitRate refuses what a visitor sends faster than is human. The visitor is known by
// the cookie, else by the address.
func (s *Server) limitRate(next echo.HandlerFunc) echo.HandlerFunc {
	if s.limiter == nil {
		return next
	}
	return func(c echo.Context) error {
		key := "address " + c.RealIP()
		if cookie, err := c.Cookie(visitorCookie); err == nil && validID(cookie.Value) {
			key = "visitor " + cookie.Value
		}
		delay := s.limiter.wait(key, s.clock())
		if delay == 0 {
			return next(c)
		}
		return &Problem{
			Type: "too-many-requests", Status: http.StatusTooManyRequests, Detail: "These are too many requests at once. Send it again a little later.",
			RetryAfter: time.Duration(math.Ceil(delay.Seconds())) * time.Second,
		}
	}
}
