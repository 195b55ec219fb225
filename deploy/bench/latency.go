package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/montanaflynn/stats"

	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/sparkjob/job"
)

// What is measured of each rate of events.
const (
	visible = "seen in the table"
	written = "by WRITETIME"
)

// latencyContenders are the rates, in events a second.
var latencyContenders = []contender{
	latencyAt(10, 1), latencyAt(100, 2), latencyAt(1_000, 2), latencyAt(3_000, 1),
}

func atRate(rate int) string { return fmt.Sprintf("%d events/s", rate) }

func latencyAt(rate, rounds int) contender {
	return contender{name: atRate(rate), quick: rate == 100, rounds: rounds, round: func(ctx context.Context, r *round) error {
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
	if err := b.startService(ctx, "store"); err != nil {
		return err
	}
	c := loadCmd{URL: b.StoreURL + "/events", Connections: usual, Batch: 100, Rate: 100}
	backlog, err := b.loadFor(ctx, "writing a backlog", c, backlogTime, quickBacklogTime)
	if err != nil {
		return err
	}
	b.say("starting all queries of the job, which work off %d events", backlog.Events)
	if err := b.startService(ctx, "sparkjob"); err != nil {
		return err
	}
	if err := b.caughtUp(ctx); err != nil {
		return err
	}
	c.Batch = 1
	for _, warmUp := range []struct {
		rate int
		time time.Duration
	}{{100, slowTime}, {1_000, fastTime}} {
		c.Rate = float64(warmUp.rate)
		if _, err := b.loadFor(ctx, "warming up with "+atRate(warmUp.rate), c, warmUp.time, quickWarmTime); err != nil {
			return err
		}
	}
	return b.caughtUp(ctx)
}

// The JVMs compile what the queries run while these work off a backlog, of 10,000 events
// for each second of its time, and then at two of the rates: at a low one they run other code
// than at a high one. On 2 cores that takes minutes. Latency is that of a job which has run
// for a while; how long the first row takes is what start measures.
const (
	backlogTime      = 5 * time.Second
	slowTime         = 45 * time.Second
	fastTime         = 150 * time.Second
	quickBacklogTime = 2 * time.Second
	quickWarmTime    = 10 * time.Second
	catchUpTimeout   = 10 * time.Minute
)

var lag = regexp.MustCompile(`(?m)^bookstore_job_lag_records\{.*\} (\S+)$`)

// caughtUp waits until every query has processed all that is in the topic.
func (b *bench) caughtUp(ctx context.Context) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		text, err := metrics(ctx, "http://"+b.MetricsAddr)
		if err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		lags := lag.FindAllSubmatch(text, -1)
		if len(lags) < len(job.Queries)*b.KafkaPartitions {
			return struct{}{}, errors.New("not every query tells its lag")
		}
		for _, match := range lags {
			if string(match[1]) != "0" {
				return struct{}{}, fmt.Errorf("a query is %s records behind", match[1])
			}
		}
		return struct{}{}, nil
	}, backoff.WithBackOff(backoff.NewConstantBackOff(time.Second)), backoff.WithMaxElapsedTime(catchUpTimeout))
	return err
}

// Not every event is looked for: to look costs the cores that the path needs.
const (
	samplesPerSecond = 20
	lookEvery        = 20 * time.Millisecond
	lookAgain        = 0.05        // of the time for which an event has been waiting, if that is more
	lookTimeout      = time.Minute // after the last event
)

// latencyRound sends events at a rate, and looks for some of them in Cassandra from the
// moment when they were acknowledged. It ends once nothing is left for the next round,
// whose rate is another, or beside the machine's yardstick, which may come before that.
func (r *round) latencyRound(ctx context.Context, rate int) error {
	c := loadCmd{URL: r.StoreURL + "/events", Connections: 64, Batch: 1, Rate: float64(rate), Warmup: 5 * time.Second, Duration: 20 * time.Second}
	if r.Quick {
		c.Warmup, c.Duration = 5*time.Second, 10*time.Second
	}
	c.SampleEvery = max(1, rate/samplesPerSecond)
	counted := time.Now().Add(c.Warmup)
	w := &watch{waiting: map[string]*waiting{}}
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
	return r.caughtUp(ctx)
}

func percentile(metric string, p float64) string { return fmt.Sprintf("%s, p%.0f", metric, p) }

// watch looks for events until each is there.
type watch struct {
	mu      sync.Mutex
	waiting map[string]*waiting // by id
	closed  time.Time           // when no more came; zero before

	visible, written []float64 // seconds from then
}

// waiting is an event that is not there yet.
type waiting struct {
	acknowledged, look time.Time // look is when to look for it next
}

func (w *watch) add(s sampled) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting[s.EventID] = &waiting{acknowledged: s.At}
}

// close tells that no more come.
func (w *watch) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = time.Now()
}

// due are those to look for now, how many are not there yet, and since when no more come.
// The longer one waits the less it is looked for, since that costs the path its cores.
func (w *watch) due(now time.Time) (ids []string, left int, closed time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, event := range w.waiting {
		if now.Before(event.look) {
			continue
		}
		ids = append(ids, id)
		event.look = now.Add(time.Duration(lookAgain * float64(now.Sub(event.acknowledged))))
	}
	return ids, len(w.waiting), w.closed
}

var errWaiting = errors.New("not all are there")

func (w *watch) look(ctx context.Context, r *round) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		ids, left, closed := w.due(time.Now())
		found, err := cassandra.EventsWritten(ctx, r.stream.session, ids)
		if err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		w.take(found, time.Now())
		switch left -= len(found); {
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
		acknowledged := w.waiting[id].acknowledged
		delete(w.waiting, id)
		w.visible = append(w.visible, now.Sub(acknowledged).Seconds())
		w.written = append(w.written, max(0, at.Sub(acknowledged).Seconds()))
	}
}
