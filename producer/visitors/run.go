// Package visitors simulates people in the store, and programs that misbehave. It
// stands before the data's path and says what must come out at its end.
//
// A Plan is what they do, made by a seed alone. A Runner lets them do it, over
// HTTP and just as the page does. What became of each step is for a ledger to keep.
package visitors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/ledger"
)

// RunConfig says how a plan is carried out. Zero values take the defaults.
type RunConfig struct {
	StoreURL string // such as http://127.0.0.1:5001

	// AsFastAsPossible is a closed loop: each step follows once there is room for
	// it, and happens as long before as it would in the plan. Else the plan's clock
	// is this machine's, and latencies count from the time at which a step was
	// to be sent, so that a slow store cannot hide its slowness.
	AsFastAsPossible bool
	// InFlight is how many steps may be under way at a time, and how many
	// connections they share; 64 by default.
	InFlight int
	// Patience is how long something is sent again that the store does not answer,
	// until its visitor gives up; 30s by default.
	Patience time.Duration
	// Grace is how long requests that are under way may go on once Run is told to
	// end; 5s by default.
	Grace time.Duration
	// Record is given the outcome of each step, one at a time and each visitor's in
	// their order. Its error ends the run.
	Record func(ledger.Entry) error
	// Transport carries the requests; one of its own by default.
	Transport http.RoundTripper
}

func (c RunConfig) withDefaults() (RunConfig, error) {
	base, err := url.Parse(c.StoreURL)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return c, fmt.Errorf("visiting the store: %q is no URL such as http://127.0.0.1:5001", c.StoreURL)
	}
	c.StoreURL = strings.TrimSuffix(c.StoreURL, "/")
	if c.InFlight <= 0 {
		c.InFlight = 64
	}
	if c.Patience <= 0 {
		c.Patience = 30 * time.Second
	}
	if c.Grace <= 0 {
		c.Grace = 5 * time.Second
	}
	if c.Record == nil {
		c.Record = func(ledger.Entry) error { return nil }
	}
	return c, nil
}

// Runner carries out one plan.
type Runner struct {
	cfg   RunConfig
	tally *tally
	slots *semaphore.Weighted
	cut   context.CancelCauseFunc // ends the run with an error

	recording sync.Mutex
	working   sync.WaitGroup
}

// NewRunner checks the settings.
func NewRunner(cfg RunConfig) (*Runner, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Runner{cfg: cfg, tally: newTally(), slots: semaphore.NewWeighted(int64(cfg.InFlight))}, nil
}

// Stats may be called at any time.
func (r *Runner) Stats() Stats { return r.tally.read() }

// Ready asks the store once whether it can take events. Its error says what to do.
func (r *Runner) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.cfg.StoreURL+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("asking the store: %w", err)
	}
	client := http.Client{Transport: r.cfg.Transport}
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("asking the store: %w; is it running? `task up` starts it", err)
	}
	content, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil {
		return fmt.Errorf("asking the store: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the store at %s is not ready: %s", r.cfg.StoreURL, refusal(answer.StatusCode, content))
	}
	return nil
}

// Run carries out the steps, which come in the order of their sending, and returns
// once each has an outcome; Stats.Err tells whether these are as they should be.
// It is called once.
//
// When ctx ends no further step is begun, what is under way gets the time of
// Grace, and the cause is returned.
func (r *Runner) Run(ctx context.Context, steps iter.Seq[Step]) error {
	ctx, r.cut = context.WithCancelCause(ctx)
	defer r.cut(nil)
	if r.cfg.Transport == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConnsPerHost, transport.MaxConnsPerHost = r.cfg.InFlight, r.cfg.InFlight
		defer transport.CloseIdleConnections()
		r.cfg.Transport = transport
	}
	sending, stopSending := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSending()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(r.cfg.Grace, stopSending) })()

	r.tally.begin()
	r.dispatch(ctx, sending, together(steps))
	r.working.Wait()
	r.tally.end()
	return context.Cause(ctx)
}

// together joins the steps that are one request: what a late phone sends at once.
func together(steps iter.Seq[Step]) iter.Seq[[]Step] {
	const most = 200 // as the page's beacon
	return func(yield func([]Step) bool) {
		var group []Step
		for s := range steps {
			if n := len(group); n > 0 {
				last := group[n-1]
				if last.Late && s.Late && last.Visitor == s.Visitor && last.At.Equal(s.At) && n < most {
					group = append(group, s)
					continue
				}
				if !yield(group) {
					return
				}
			}
			group = []Step{s}
		}
		if len(group) > 0 {
			yield(group)
		}
	}
}

// dispatch hands out the steps at their times until ctx ends.
func (r *Runner) dispatch(ctx, sending context.Context, groups iter.Seq[[]Step]) {
	present := map[string]*visitor{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for group := range groups {
		first, last := group[0], group[len(group)-1]
		if wait := time.Until(first.At); wait > 0 && !r.cfg.AsFastAsPossible {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil || r.slots.Acquire(ctx, 1) != nil {
			return
		}
		v := present[first.Visitor]
		if v == nil {
			v = newVisitor(r)
			present[first.Visitor] = v
		}
		if last.Last {
			delete(present, first.Visitor)
		}
		v.enqueue(sending, group)
	}
}

// record files an outcome.
func (r *Runner) record(e ledger.Entry) {
	r.recording.Lock()
	defer r.recording.Unlock()
	err := r.tally.add(e)
	if err == nil {
		err = r.cfg.Record(e)
	}
	if err != nil {
		r.cut(fmt.Errorf("recording what the store has answered: %w", err))
	}
}

// Run carries out a plan and returns every event that the store has acknowledged,
// each visitor's in their order, also when it returns an error: that the run has
// ended early, or the Err of its Stats.
func Run(ctx context.Context, plan PlanConfig, cfg RunConfig) ([]schema.Event, error) {
	p, err := NewPlan(plan)
	if err != nil {
		return nil, err
	}
	var entries []ledger.Entry
	record := cfg.Record
	cfg.Record = func(e ledger.Entry) error {
		entries = append(entries, e)
		if record == nil {
			return nil
		}
		return record(e)
	}
	r, err := NewRunner(cfg)
	if err != nil {
		return nil, err
	}
	err = r.Run(ctx, p.Steps())
	return ledger.AcknowledgedEvents(entries), errors.Join(err, r.Stats().Err())
}
