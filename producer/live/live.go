// Package live knows what is happening in the store at this moment: it reads the two
// Kafka topics and, as a role that may only read, the tables in Cassandra. So it
// stands beside the data's path, at both of its ends, and sees how long events take
// from one to the other. The page /live shows what it says.
//
// It commits nothing and is in nobody's way: without Kafka or without Cassandra it
// tells what is missing and tries again, and the store goes on.
package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/kafkaclient"
)

// Config says where a Hub looks.
type Config struct {
	Kafka         kafkaclient.Config
	EventsTopic   string
	ActivityTopic string           // of the live counts
	Cassandra     cassandra.Config // with the store's role
	Job           string           // whose queries are shown
	Logger        *slog.Logger     // slog.Default() if nil
}

const (
	publishEvery = time.Second
	// landEvery is how often followed events are looked for, and so how soon a page
	// hears of one that has landed.
	landEvery    = 250 * time.Millisecond
	queriesEvery = time.Second
	tablesEvery  = 5 * time.Second
	// watchedFor is how long after somebody asked the tables are still read: what they
	// count grows with the day, and is not counted for nobody.
	watchedFor = time.Minute
	retryEvery = 2 * time.Second

	// queryTimeout bounds one read of Cassandra, and an attempt to connect.
	queryTimeout = 5 * time.Second

	topBooks = 5
)

// ErrUnreachable says that Cassandra cannot be read at present.
var ErrUnreachable = errors.New("the tables cannot be read at present")

// Hub gathers what the topics and tables say, and passes it on to its subscribers.
// Its methods may be called from any number of goroutines.
type Hub struct {
	cfg     Config
	connect func(context.Context) (tables, error)
	started time.Time

	mu          sync.Mutex
	rate        rate
	counts      counts
	reading     reading
	landing     landing
	funnel      Funnel
	finished    ReadingTime
	finishedAt  time.Time
	rejected    Rejected
	queries     []cassandra.StreamingQuery
	ends        map[int]int64 // of the events topic's partitions, the next offset
	kafka       health
	activity    health
	cassandra   health
	tables      tables    // nil while Cassandra cannot be read
	news        bool      // events have landed since the last publication
	asked       time.Time // when somebody asked for a snapshot last
	subscribers map[chan *Snapshot]struct{}
}

// New returns a Hub that knows nothing yet; Run makes it look.
func New(cfg Config) *Hub {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	cfg.Cassandra.Timeout = queryTimeout
	return &Hub{
		cfg: cfg, started: time.Now(), subscribers: map[chan *Snapshot]struct{}{},
		connect: func(ctx context.Context) (tables, error) { return openTables(ctx, cfg.Cassandra) },
	}
}

// Run looks until ctx ends, and then ends every subscription.
func (h *Hub) Run(ctx context.Context) {
	var group sync.WaitGroup
	events := &tail{
		kafka: h.cfg.Kafka, topic: h.cfg.EventsTopic, back: recently, most: maxReplayed,
		record: h.takeRecord, ends: h.takeEnds, healthy: h.healthOf(&h.kafka, "the topic of events", "topic", h.cfg.EventsTopic),
	}
	activity := &tail{
		kafka: h.cfg.Kafka, topic: h.cfg.ActivityTopic, back: readingWindow + recently, most: maxReplayed,
		record: h.takeActivity, healthy: h.healthOf(&h.activity, "the live counts", "topic", h.cfg.ActivityTopic),
	}
	group.Go(func() { events.run(ctx) })
	group.Go(func() { activity.run(ctx) })
	group.Go(func() { h.readTables(ctx) })
	group.Go(func() { h.publish(ctx) })
	group.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subscribers {
		delete(h.subscribers, s)
		close(s)
	}
}

// Subscribe returns a channel of snapshots, about one a second and one soon after
// events have landed. It holds at most one: a subscriber that is slow misses those in
// between and keeps nobody waiting. It is closed when the Hub ends. Stop gives it up.
func (h *Hub) Subscribe() (snapshots <-chan *Snapshot, stop func()) {
	s := make(chan *Snapshot, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subscribers[s] = struct{}{}
	h.asked = time.Now()
	s <- h.snapshot(h.asked)
	return s, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.subscribers, s)
	}
}

// Snapshot is what is known now.
func (h *Hub) Snapshot() *Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = time.Now()
	return h.snapshot(h.asked)
}

// watched reports whether anybody wants to know what the tables say. At the beginning
// it is taken to be so, so that the first to ask has an answer.
func (h *Hub) watched(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subscribers) > 0 || now.Sub(h.asked) < watchedFor || h.funnel.At.IsZero()
}

func (h *Hub) snapshot(now time.Time) *Snapshot {
	now = now.UTC()
	s := &Snapshot{
		At:       now,
		Rate:     h.rate.sum(now),
		Latency:  h.landing.sum(now),
		Landed:   make([]Landed, 0, len(h.landing.landed)),
		Opened:   h.counts.top(schema.DescriptionOpen, topBooks, now),
		Bought:   h.counts.top(schema.Purchase, topBooks, now),
		CountsAt: h.counts.at,
		Funnel:   h.funnel,
		Reading: Reading{
			Now: h.reading.sum(now), Finished: h.finished,
			Since: latest(h.started.Add(-recently), now.Add(-readingWindow)).UTC(), At: h.finishedAt,
		},
		Rejected: h.rejected,
		Queries:  make([]QueryReport, 0, len(h.queries)),
	}
	for i := len(h.landing.landed) - 1; i >= 0; i-- {
		s.Landed = append(s.Landed, h.landing.landed[i])
	}
	for _, q := range h.queries {
		s.Queries = append(s.Queries, QueryReport{StreamingQuery: q, Gone: gone(q, now), Lag: h.lag(q)})
	}
	s.Problems = h.problems(now)
	return s
}

// lag is how many records of the topic a query has not read yet.
func (h *Hub) lag(q cassandra.StreamingQuery) *int64 {
	if q.Topic != h.cfg.EventsTopic || len(h.ends) == 0 {
		return nil
	}
	var lag int64
	for partition, end := range h.ends {
		lag += max(0, end-q.EndOffsets[partition])
	}
	return &lag
}

// publish hands snapshots to the subscribers until ctx ends.
func (h *Hub) publish(ctx context.Context) {
	ticks := time.NewTicker(landEvery)
	defer ticks.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticks.C:
			h.mu.Lock()
			if len(h.subscribers) > 0 && (h.news || now.Sub(last) >= publishEvery) {
				last, h.news = now, false
				s := h.snapshot(now)
				for subscriber := range h.subscribers {
					select {
					case <-subscriber: // nobody has fetched the last one
					default:
					}
					subscriber <- s
				}
			}
			h.mu.Unlock()
		}
	}
}

// readTables reads Cassandra until ctx ends, over one session as long as it works.
func (h *Hub) readTables(ctx context.Context) {
	healthy := h.healthOf(&h.cassandra, "Cassandra", "hosts", h.cfg.Cassandra.Hosts)
	for ctx.Err() == nil {
		err := h.readUntilError(ctx, healthy)
		if ctx.Err() != nil {
			return
		}
		healthy(err)
		pause(ctx, retryEvery)
	}
}

func (h *Hub) readUntilError(ctx context.Context, healthy func(error)) error {
	t, err := h.connect(ctx)
	if err != nil {
		return err
	}
	defer t.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return every(ctx, landEvery, func() error { return h.readLanded(ctx, t) }) })
	group.Go(func() error {
		return every(ctx, queriesEvery, func() error {
			queries, err := t.Queries(ctx, h.cfg.Job)
			if err != nil {
				return err
			}
			healthy(nil)
			h.mu.Lock()
			defer h.mu.Unlock()
			h.queries, h.tables = queries, t
			return nil
		})
	})
	group.Go(func() error { return every(ctx, tablesEvery, func() error { return h.readCounts(ctx, t) }) })
	err = group.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tables = nil
	return err
}

func (h *Hub) readLanded(ctx context.Context, t tables) error {
	h.mu.Lock()
	ids := h.landing.waiting(time.Now())
	h.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	written, err := t.Written(ctx, ids)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.landing.land(written, time.Now()) {
		h.news = true
	}
	return nil
}

func (h *Hub) readCounts(ctx context.Context, t tables) error {
	now := time.Now().UTC()
	if !h.watched(now) {
		return nil
	}
	funnel, err := t.Funnel(ctx, now)
	if err != nil {
		return err
	}
	finished, err := t.Reads(ctx, now)
	if err != nil {
		return err
	}
	h.mu.Lock()
	partitions := len(h.ends)
	h.mu.Unlock()
	rejected, err := t.Rejected(ctx, now, h.cfg.EventsTopic, partitions)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.funnel, h.finished, h.rejected = funnel, finished, rejected
	h.funnel.At, h.finishedAt, h.rejected.At = now, now, now
	return nil
}

// every calls read until it has failed three times in a row or ctx has ended. What
// takes long is done less often.
func every(ctx context.Context, interval time.Duration, read func() error) error {
	failures := 0
	for ctx.Err() == nil {
		began := time.Now()
		switch err := read(); {
		case err == nil || ctx.Err() != nil:
			failures = 0
		default:
			if failures++; failures == 3 {
				return err
			}
		}
		pause(ctx, max(interval, 4*time.Since(began)))
	}
	return ctx.Err()
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// takeRecord takes a record of the topic of events.
func (h *Hub) takeRecord(value []byte, at time.Time) {
	event, err := schema.Decode(value)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rate.add(at)
	if err != nil {
		return // the job says why, in rejected_events
	}
	if h.landing.arrive(Arrived{Event: event, Received: at.UTC()}) {
		h.reading.add(event)
	}
}

func (h *Hub) takeActivity(value []byte, at time.Time) {
	activity, err := schema.DecodeActivity(value)
	if err != nil {
		h.cfg.Logger.Debug("reading a live count", "error", err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts.set(activity, at.UTC(), time.Now().UTC())
}

func (h *Hub) takeEnds(ends map[int]int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ends = ends
}

// health is whether something can be read, and since when.
type health struct {
	known bool
	err   error
	since time.Time
}

// healthOf returns a function that takes what became of the last attempt to read
// something, and logs when that changes.
func (h *Hub) healthOf(state *health, name string, attributes ...any) func(error) {
	return func(err error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		was := *state
		state.known, state.err = true, err
		if was.known && (was.err == nil) == (err == nil) {
			return
		}
		state.since = time.Now().UTC()
		switch {
		case err != nil:
			h.cfg.Logger.Warn("the live page does not get "+name, append(attributes, "error", err)...)
		case was.known:
			h.cfg.Logger.Info("the live page gets "+name+" again", attributes...)
		}
	}
}

// Timeline is what one visitor did.
type Timeline struct {
	Stored  []schema.Event // by the table events_by_user, the latest first
	Waiting []Arrived      // in Kafka and not in the table yet, the latest first
}

// Timeline reads what a visitor did in the last days. Its error is ErrUnreachable
// while Cassandra cannot be read; what is on its way is told all the same.
func (h *Hub) Timeline(ctx context.Context, user string, days int) (Timeline, error) {
	h.mu.Lock()
	t, arrived := h.tables, h.landing.of(user)
	h.mu.Unlock()
	var timeline Timeline
	var err error
	if t == nil {
		err = ErrUnreachable
	} else if timeline.Stored, err = t.EventsOf(ctx, user, time.Now().UTC(), days); err != nil {
		err = fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	stored := make(map[string]bool, len(timeline.Stored))
	for _, e := range timeline.Stored {
		stored[e.EventID] = true
	}
	for i := len(arrived) - 1; i >= 0; i-- {
		if !stored[arrived[i].EventID] {
			timeline.Waiting = append(timeline.Waiting, arrived[i])
		}
	}
	return timeline, err
}
