package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/montanaflynn/stats"

	"example.com/bookstore/schema/cassandra"
)

// What is measured of each rate of events.
const (
	visible = "seen in the table"
	written = "by WRITETIME"
)

// latencyContenders are the rates, in events a second.
var latencyContenders = []contender{
	latencyAt(10, false), latencyAt(100, true), latencyAt(1_000, true), latencyAt(3_000, false),
}

func atRate(rate int) string { return fmt.Sprintf("%d events/s", rate) }

func latencyAt(rate int, quick bool) contender {
	return contender{name: atRate(rate), quick: quick, rounds: 2, round: func(ctx context.Context, r *round) error {
		return r.latencyRound(ctx, rate)
	}}
}

// prepareLatency starts the store and the job with all its queries, as `task up` and
// `task submit` do.
func prepareLatency(ctx context.Context, b *bench) (err error) {
	if b.stream.stack, err = b.build(ctx, "./deploy/stack"); err != nil {
		return err
	}
	if err := b.openTables(ctx); err != nil {
		return err
	}
	b.say("starting the store and all queries of the job")
	return errors.Join(b.stackCommand(ctx, "start", "store"), b.stackCommand(ctx, "start", "sparkjob"))
}

// Not every event is looked for: to look costs the cores that the path needs.
const (
	samplesPerSecond = 20
	lookEvery        = 20 * time.Millisecond
	lookTimeout      = time.Minute // after the last event
)

// latencyRound sends events at a rate, and looks for some of them in Cassandra from the
// moment when they were acknowledged.
func (r *round) latencyRound(ctx context.Context, rate int) error {
	c := loadCmd{URL: r.StoreURL + "/events", Connections: 64, Batch: 1, Rate: float64(rate), Warmup: 5 * time.Second, Duration: 30 * time.Second}
	if r.Quick {
		c.Warmup, c.Duration = 5*time.Second, 10*time.Second
	}
	c.SampleEvery = max(1, rate/samplesPerSecond)
	counted := time.Now().Add(c.Warmup)
	w := &watch{waiting: map[string]time.Time{}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	looking := make(chan error, 1)
	go func() { looking <- w.look(ctx, r) }()
	if _, err := r.load(ctx, c, func(s sampled) {
		if s.At.After(counted) {
			w.add(s)
		}
	}); err != nil {
		return err
	}
	w.close()
	if err := <-looking; err != nil {
		return err
	}
	for _, f := range []struct {
		metric  string
		seconds []float64
	}{{visible, w.visible}, {written, w.written}} {
		for _, p := range []float64{50, 95, 99} {
			value, err := stats.PercentileNearestRank(f.seconds, p)
			if err != nil {
				return fmt.Errorf("%d events in the sample: %w", len(f.seconds), err)
			}
			if err := r.add(percentile(f.metric, p), "s", value); err != nil {
				return err
			}
		}
		if err := r.add(f.metric+", longest", "s", slices.Max(f.seconds)); err != nil {
			return err
		}
	}
	return nil
}

func percentile(metric string, p float64) string { return fmt.Sprintf("%s, p%.0f", metric, p) }

// watch looks for events until each is there.
type watch struct {
	mu      sync.Mutex
	waiting map[string]time.Time // when they were acknowledged, by id
	closed  time.Time            // when no more came; zero before

	visible, written []float64 // seconds from then
}

func (w *watch) add(s sampled) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting[s.EventID] = s.At
}

// close tells that no more come.
func (w *watch) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = time.Now()
}

// ids are those that are not there yet, and whether more may come.
func (w *watch) ids() (ids []string, closed time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.waiting)), w.closed
}

var errWaiting = errors.New("not all are there")

func (w *watch) look(ctx context.Context, r *round) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		ids, closed := w.ids()
		found, err := cassandra.EventsWritten(ctx, r.stream.session, ids)
		if err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		w.take(found, time.Now())
		switch left := len(ids) - len(found); {
		case closed.IsZero() || (left > 0 && time.Since(closed) < lookTimeout):
			return struct{}{}, errWaiting
		case left > 0:
			return struct{}{}, backoff.Permanent(fmt.Errorf("%d events of the sample are not in the table %v after the last was sent", left, lookTimeout))
		}
		return struct{}{}, nil
	}, backoff.WithBackOff(backoff.NewConstantBackOff(lookEvery)), backoff.WithMaxElapsedTime(0))
	return err
}

// take notes events that were found at a time. Clocks are one and the same: all of it runs
// on one machine.
func (w *watch) take(found map[string]time.Time, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, at := range found {
		acknowledged := w.waiting[id]
		delete(w.waiting, id)
		w.visible = append(w.visible, now.Sub(acknowledged).Seconds())
		w.written = append(w.written, max(0, at.Sub(acknowledged).Seconds()))
	}
}
