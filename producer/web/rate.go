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

	// maxVisitors bounds a generation: with the former one some tens of megabytes, whoever
	// comes. Whoever is forgotten for it may only send a burst again.
	maxVisitors = 50_000
)

// limiter bounds the requests of each visitor. After the seconds of a burst without a
// request a visitor may send all of it again, and so need not be remembered: once a
// generation is as old it becomes the former one, and what was before that is forgotten.
type limiter struct {
	limit rate.Limit

	mu             sync.Mutex
	current        map[string]*rate.Limiter
	former         map[string]*rate.Limiter
	began          time.Time // when current did
	generationSize int
}

func newLimiter(perSecond int) *limiter {
	return &limiter{limit: rate.Limit(perSecond), current: map[string]*rate.Limiter{}, generationSize: maxVisitors}
}

// wait returns how long the visitor must wait before the next request, 0 if this one
// may go on.
func (l *limiter) wait(key string, now time.Time) time.Duration {
	visitor := l.of(key, now)
	r := visitor.ReserveN(now, 1)
	delay := r.DelayFrom(now)
	if delay > 0 {
		r.CancelAt(now) // a refused request does not count
	}
	return delay
}

func (l *limiter) of(key string, now time.Time) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.began) > burst*time.Second {
		l.renew(now)
	}
	if v, ok := l.current[key]; ok {
		return v
	}
	v, ok := l.former[key]
	if !ok {
		v = rate.NewLimiter(l.limit, burst*int(l.limit))
	}
	if len(l.current) >= l.generationSize {
		l.renew(now)
	}
	l.current[key] = v
	return v
}

func (l *limiter) renew(now time.Time) {
	l.former, l.current, l.began = l.current, map[string]*rate.Limiter{}, now
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
