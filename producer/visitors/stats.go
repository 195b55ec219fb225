package visitors

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"example.com/bookstore/schema/ledger"
)

// Stats counts what has become of a plan so far.
type Stats struct {
	Done           int           // steps with an outcome, and those skipped
	Acknowledged   int           // different events
	Repeated       int           // duplicates that were acknowledged
	Refused        int           // events that the store would not have; a fault
	Unacknowledged int           // events that have not come as far as the store
	Unknown        int           // events that may be stored or not
	Skipped        int           // steps of visitors who had given up
	BadRefused     int           // payloads of bad clients, refused as they should be
	BadAccepted    int           // payloads of bad clients that the store took; a fault
	Retries        int           // requests for an event beyond its first
	Elapsed        time.Duration // since the beginning, until the end
	P50, P99, Max  time.Duration // latency of the acknowledged; see ledger.Entry.LatencyMS
}

// Rate is the different events acknowledged, a second.
func (s Stats) Rate() float64 {
	if s.Elapsed <= 0 {
		return 0
	}
	return float64(s.Acknowledged) / s.Elapsed.Seconds()
}

// String is a summary for people, in lines of less than 80 columns.
func (s Stats) String() string {
	lines := []string{
		fmt.Sprintf("acknowledged  %d events in %.1f s, %.1f a second", s.Acknowledged, s.Elapsed.Seconds(), s.Rate()),
		fmt.Sprintf("latency       p50 %s, p99 %s, max %s", milliseconds(s.P50), milliseconds(s.P99), milliseconds(s.Max)),
		fmt.Sprintf("duplicates    %d acknowledged again", s.Repeated),
		fmt.Sprintf("bad clients   %d payloads refused", s.BadRefused),
		fmt.Sprintf("retries       %d", s.Retries),
	}
	return strings.Join(lines, "\n")
}

// Err says in which way the store has not done what it should, or is nil.
func (s Stats) Err() error {
	var errs []error
	for _, fault := range []struct {
		n    int
		what string
	}{
		{s.Refused, "events were refused"},
		{s.Unacknowledged, "events have not come to the store"},
		{s.Unknown, "events were sent and not acknowledged; they may be stored or not"},
		{s.Skipped, "steps were left out, since their visitors had given up"},
		{s.BadAccepted, "payloads of bad clients were accepted"},
	} {
		if fault.n > 0 {
			errs = append(errs, fmt.Errorf("%d %s", fault.n, fault.what))
		}
	}
	return errors.Join(errs...)
}

// tally is Stats in the making.
type tally struct {
	mu        sync.Mutex
	stats     Stats
	latencies *hdrhistogram.Histogram // µs
	began     time.Time
	ended     bool
}

// longestLatency is what the histogram can hold; beyond it all are this long.
const longestLatency = time.Hour

func newTally() *tally {
	// Three digits are exact to a thousandth.
	return &tally{latencies: hdrhistogram.New(1, longestLatency.Microseconds(), 3)}
}

func (t *tally) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.began = time.Now()
}

func (t *tally) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.Elapsed, t.ended = time.Since(t.began), true
}

func (t *tally) skip(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.Skipped += n
	t.stats.Done += n
}

func (t *tally) add(e ledger.Entry) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &t.stats
	s.Done++
	s.Retries += max(0, e.Attempts-1)
	switch bad := e.Payload != nil; {
	case bad && e.Outcome == ledger.Refused:
		s.BadRefused++
	case bad && e.Outcome == ledger.Acknowledged:
		s.BadAccepted++
	case bad: // the store was away, and need not know of it
	case e.Outcome == ledger.Acknowledged:
		s.Acknowledged++
	case e.Outcome == ledger.Repeated:
		s.Repeated++
	case e.Outcome == ledger.Refused:
		s.Refused++
	case e.Outcome == ledger.Unacknowledged:
		s.Unacknowledged++
	case e.Outcome == ledger.Unknown:
		s.Unknown++
	}
	if e.AcknowledgedAt.IsZero() {
		return nil
	}
	latency := min(int64(e.LatencyMS*1000), longestLatency.Microseconds())
	return t.latencies.RecordValue(max(latency, 0))
}

func (t *tally) read() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	if !t.ended && !t.began.IsZero() {
		s.Elapsed = time.Since(t.began)
	}
	quantile := func(q float64) time.Duration {
		return time.Duration(t.latencies.ValueAtQuantile(q)) * time.Microsecond
	}
	s.P50, s.P99, s.Max = quantile(50), quantile(99), quantile(100)
	return s
}
