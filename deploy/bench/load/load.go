// Package load sends events to a store over HTTP, from a fixed number of connections,
// and measures what is acknowledged and how long that takes. It stands where the data's
// path begins, in place of browsers.
package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/valyala/fasthttp"
	"golang.org/x/sync/errgroup"
)

// Config says what is sent, and how fast.
type Config struct {
	URL         string // of the endpoint
	Connections int    // each with one request under way at the most
	Batch       int    // events a request; 1 sends no array
	// Rate is how many requests are due a second, whatever the server does with them.
	// With 0 each connection sends its next one as soon as the one before is answered.
	Rate     float64
	Warmup   time.Duration // of which nothing is counted
	Duration time.Duration // of what is counted
	// Sent, if set, is told of single events that were acknowledged, with the time when
	// that was known: of every SampleEvery-th request of a connection.
	Sent        func(eventID string, at time.Time)
	SampleEvery int
}

// Result is what became of what was sent after the warm-up.
type Result struct {
	Requests int64         `json:"requests"`
	Events   int64         `json:"events"`   // in requests that were answered with 202
	Refused  int64         `json:"refused"`  // requests with another answer, or none
	Problem  string        `json:"problem"`  // the first of those
	Took     time.Duration `json:"took"`     // until the last answer
	P50      time.Duration `json:"p50"`      // from when a request was due
	P95      time.Duration `json:"p95"`      //
	P99      time.Duration `json:"p99"`      //
	Max      time.Duration `json:"max"`      //
	Behind   time.Duration `json:"behind"`   // how much later than due a request left, at the most
	Warmed   int64         `json:"warmed"`   // requests of the warm-up
	Arrivals int64         `json:"arrivals"` // that were due, with a rate
}

// PerSecond is the rate of acknowledged events.
func (r Result) PerSecond() float64 { return float64(r.Events) / r.Took.Seconds() }

const (
	// requestTimeout is longer than any answer of the store takes.
	requestTimeout = 30 * time.Second

	longest = time.Minute // that the histogram tells apart
)

// Run sends events until the time is over and every answer is there, or ctx ends.
func Run(ctx context.Context, c Config) (Result, error) {
	target, err := url.Parse(c.URL)
	if err != nil || target.Scheme != "http" {
		return Result{}, fmt.Errorf("sending to %q: not a URL that begins with http://", c.URL)
	}
	r := &run{Config: c}
	for i := range c.Connections {
		s := &sender{
			run: r, connection: connection{host: target.Host}, requests: newRequests(target, i, c.Batch), times: newHistogram(),
		}
		r.senders = append(r.senders, s)
	}
	r.began = time.Now()
	r.counted = r.began.Add(c.Warmup)
	r.end = r.counted.Add(c.Duration)
	var sending errgroup.Group
	for _, s := range r.senders {
		sending.Go(func() error { return s.send(ctx) })
	}
	if err := sending.Wait(); err != nil {
		return Result{}, err
	}
	return r.result(), nil
}

// run is what all connections share.
type run struct {
	Config
	began, counted, end time.Time
	next                atomic.Int64 // number of the next arrival
	senders             []*sender

	mu      sync.Mutex
	problem string
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, longest.Microseconds(), 3)
}

// sender is one connection.
type sender struct {
	*run
	connection connection
	requests   *requests
	times      *hdrhistogram.Histogram // in microseconds

	sent, events, refused, warmed int64
	behind                        time.Duration
	last                          time.Time // of the answers
}

// due returns when the next request should leave, and false if none should any more. With
// a rate it waits for that, unless it is late already.
func (s *sender) due(ctx context.Context) (time.Time, bool) {
	if s.Rate == 0 {
		now := time.Now()
		return now, now.Before(s.end) && ctx.Err() == nil
	}
	at := s.began.Add(time.Duration(float64(s.next.Add(1)-1) / s.Rate * float64(time.Second)))
	if !at.Before(s.end) {
		return at, false
	}
	if wait := time.Until(at); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return at, ctx.Err() == nil
}

func (s *sender) send(ctx context.Context) error {
	defer s.connection.close()
	for n := 1; ; n++ {
		request := s.requests.next()
		due, ok := s.due(ctx)
		if !ok {
			return ctx.Err()
		}
		left := time.Now()
		status, err := s.connection.do(ctx, request)
		answered := time.Now()
		accepted := err == nil && status == http.StatusAccepted
		if !accepted {
			s.complain(status, err, s.connection.answer.Body())
		}
		if accepted && s.Sent != nil && n%s.SampleEvery == 0 {
			s.Sent(s.requests.eventID(), answered)
		}
		if due.Before(s.counted) {
			s.warmed++
			continue
		}
		s.sent++
		s.last = answered
		s.behind = max(s.behind, left.Sub(due))
		if !accepted {
			s.refused++
			continue
		}
		s.events += int64(s.Batch)
		if err := s.times.RecordValue(min(answered.Sub(due), longest).Microseconds()); err != nil {
			return fmt.Errorf("recording a time: %w", err)
		}
	}
}

// complain keeps the first answer that was not 202.
func (s *sender) complain(status int, err error, answer []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.problem != "" {
		return
	}
	if err != nil {
		s.problem = err.Error()
		return
	}
	s.problem = fmt.Sprintf("%d %.300s", status, bytes.TrimSpace(answer))
}

func (r *run) result() Result {
	all := newHistogram()
	result := Result{Problem: r.problem}
	last := r.counted
	for _, s := range r.senders {
		all.Merge(s.times)
		result.Requests += s.sent
		result.Events += s.events
		result.Refused += s.refused
		result.Warmed += s.warmed
		result.Behind = max(result.Behind, s.behind)
		if s.last.After(last) {
			last = s.last
		}
	}
	if r.Rate > 0 {
		result.Arrivals = int64(r.Rate * r.Duration.Seconds())
	}
	// With a rate, a server that is faster than it is not slower for that.
	result.Took = max(last.Sub(r.counted), r.Duration)
	quantile := func(q float64) time.Duration { return time.Duration(all.ValueAtQuantile(q)) * time.Microsecond }
	result.P50, result.P95, result.P99 = quantile(50), quantile(95), quantile(99)
	result.Max = time.Duration(all.Max()) * time.Microsecond
	return result
}

// connection sends one request after the other, with as little around them as there can
// be: what the sending costs, the server on the same machine does not have.
type connection struct {
	host   string
	conn   net.Conn // nil while there is none
	reader *bufio.Reader
	answer fasthttp.Response // the last one
}

func (c *connection) do(ctx context.Context, request []byte) (status int, err error) {
	if c.conn == nil {
		if c.conn, err = new(net.Dialer).DialContext(ctx, "tcp", c.host); err != nil {
			return 0, err
		}
		c.reader = bufio.NewReader(c.conn)
	}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if err := c.conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return 0, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return 0, err
	}
	if err := c.answer.Read(c.reader); err != nil {
		return 0, err
	}
	if c.answer.ConnectionClose() {
		c.close()
	}
	return c.answer.StatusCode(), nil
}

func (c *connection) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// Check reports answers that make a figure worthless: a server that refuses is fast.
func (r Result) Check() error {
	if r.Events == 0 {
		return errors.New("no event was acknowledged: " + r.Problem)
	}
	if r.Refused*100 > r.Requests {
		return fmt.Errorf("%d of %d requests were refused, such as with %s", r.Refused, r.Requests, r.Problem)
	}
	return nil
}
