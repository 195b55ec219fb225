package live

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/kafkaclient"
)

const topicName = "bookstore_events"

// fakeTables is Cassandra as far as the hub sees it.
type fakeTables struct {
	mu      sync.Mutex
	down    error
	written map[string]time.Time
	queries []cassandra.StreamingQuery
	events  []schema.Event
	slow    time.Duration // of the counts
	counted int           // how often
	closed  int
}

func (f *fakeTables) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeTables) Written(_ context.Context, ids []string) (map[string]time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := map[string]time.Time{}
	for _, id := range ids {
		if at, ok := f.written[id]; ok {
			found[id] = at
		}
	}
	return found, f.down
}

func (f *fakeTables) Queries(context.Context, string) ([]cassandra.StreamingQuery, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.queries, f.down
}

func (f *fakeTables) Funnel(ctx context.Context, _ time.Time) (Funnel, error) {
	f.mu.Lock()
	slow, down := f.slow, f.down
	f.counted++
	f.mu.Unlock()
	pause(ctx, slow)
	return Funnel{Opened: 9, Read: 4, Bought: 2}, down
}

func (f *fakeTables) Reads(context.Context, time.Time) (ReadingTime, error) {
	return ReadingTime{Closed: 3, Median: 12, Unended: 1}, nil
}

func (f *fakeTables) Rejected(_ context.Context, _ time.Time, topic string, partitions int) (Rejected, error) {
	return Rejected{Today: int64(partitions), Latest: []RejectedRecord{{Reason: topic}}}, nil
}

func (f *fakeTables) EventsOf(context.Context, string, time.Time, int) ([]schema.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.events, f.down
}

func (f *fakeTables) Close() { f.set(func() { f.closed++ }) }

// startHub runs what a hub does beside Kafka, whose records the test brings itself.
func startHub(t *testing.T, fake *fakeTables) (hub *Hub, log *strings.Builder) {
	log = &strings.Builder{}
	hub = New(Config{EventsTopic: topicName, Job: "bookstore", Logger: slog.New(slog.NewTextHandler(log, nil))})
	hub.connect = func(context.Context) (tables, error) {
		fake.mu.Lock()
		defer fake.mu.Unlock()
		if fake.down != nil {
			return nil, fake.down
		}
		return fake, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { hub.readTables(ctx) })
	group.Go(func() { hub.publish(ctx) })
	t.Cleanup(func() { cancel(); group.Wait() })
	return hub, log
}

func running(names ...string) []cassandra.StreamingQuery {
	var list []cassandra.StreamingQuery
	for _, name := range names {
		list = append(list, cassandra.StreamingQuery{
			Query: name, State: cassandra.QueryRunning, Topic: topicName, ReportedAt: time.Now(), EndOffsets: map[int]int64{0: 10, 1: 5},
		})
	}
	return list
}

func event(id string, at time.Time) []byte {
	value, _ := json.Marshal(schema.Event{EventID: id, EventType: schema.Purchase, EventTime: at, UserID: "4b1d2c00-aaaa", BookID: "jane-eyre"})
	return value
}

func TestAnEventThatLandsIsPublishedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		id := schema.NewEventID()
		tables := &fakeTables{written: map[string]time.Time{}, queries: running("events")}
		hub, log := startHub(t, tables)
		snapshots, stop := hub.Subscribe()
		defer stop()
		if first := <-snapshots; len(first.Landed) != 0 || first.Rate.PerSecond != 0 {
			t.Errorf("the first snapshot: %+v", first)
		}
		time.Sleep(2 * time.Second)
		received := time.Now()
		hub.takeRecord(event(id, received), received)
		hub.takeRecord([]byte("no event"), received)
		time.Sleep(600 * time.Millisecond)
		written := time.Now()
		tables.set(func() { tables.written[id] = written })
		for s := range snapshots {
			if len(s.Landed) == 0 {
				if time.Since(written) > time.Minute {
					t.Fatal("the event has not come")
				}
				continue
			}
			if took := time.Since(written); took > 2*landEvery {
				t.Errorf("it came %v after it was written", took)
			}
			if l := s.Landed[0]; l.BookID != "jane-eyre" || l.Seconds() != 0.6 || s.Latency != (Latency{P50: 0.6, P95: 0.6, Samples: 1}) {
				t.Errorf("landed %+v, latency %+v", l, s.Latency)
			}
			text, err := json.Marshal(s)
			if err != nil || strings.Contains(string(text), id) || strings.Contains(string(text), "4b1d2c00-aaaa") {
				t.Errorf("the snapshot names the visitor or the event: %v\n%s", err, text)
			}
			break
		}
		time.Sleep(2 * time.Second)
		if s := hub.Snapshot(); s.Rate.PerSecond != 0.2 || s.Funnel.Opened != 9 || s.Reading.Finished.Closed != 3 || len(s.Problems) != 0 {
			t.Errorf("the snapshot after all: %+v", s)
		}
		if log.Len() > 0 {
			t.Errorf("a healthy hub logs:\n%s", log)
		}
	})
}

// A subscriber that reads nothing keeps nobody waiting, and gets the newest when it reads.
func TestSlowSubscribers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, _ := startHub(t, &fakeTables{queries: running("events")})
		slow, stopSlow := hub.Subscribe()
		quick, stopQuick := hub.Subscribe()
		seen := 0
		for end := time.Now().Add(time.Minute); time.Now().Before(end); {
			<-quick
			seen++
		}
		if seen < 55 {
			t.Errorf("the quick one got %d snapshots in a minute", seen)
		}
		if age := time.Since((<-slow).At); age > 2*publishEvery {
			t.Errorf("the slow one got a snapshot that is %v old", age)
		}
		stopQuick()
		stopSlow()
		time.Sleep(time.Minute)
		if len(hub.subscribers) != 0 {
			t.Errorf("%d subscribers are left", len(hub.subscribers))
		}
		select {
		case s := <-quick:
			if time.Since(s.At) < time.Minute {
				t.Error("a subscriber that has stopped still gets snapshots")
			}
		default:
		}
	})
}

// What the tables count is counted for whoever watches, and for nobody else.
func TestCountsOnlyWhileWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tables := &fakeTables{queries: running("events")}
		hub, _ := startHub(t, tables)
		in := func(d time.Duration) (counted int) {
			time.Sleep(d)
			synctest.Wait()
			tables.set(func() { counted, tables.counted = tables.counted, 0 })
			return counted
		}
		if n := in(10 * time.Minute); n != 1 {
			t.Errorf("nobody has asked: counted %d times, want once", n)
		}
		hub.Snapshot()
		if n := in(10 * time.Minute); n < 10 || n > 13 {
			t.Errorf("after a look: counted %d times, want every %v of %v", n, tablesEvery, watchedFor)
		}
		_, stop := hub.Subscribe()
		if n := in(10 * time.Minute); n < 118 || n > 122 {
			t.Errorf("watched: counted %d times, want every %v of 10 minutes", n, tablesEvery)
		}
		stop()
		in(2 * tablesEvery)
		if n := in(10 * time.Minute); n > 0 {
			t.Errorf("watched no more: counted %d times", n)
		}
	})
}

func TestRunEndsSubscriptions(t *testing.T) {
	hub := New(Config{Kafka: kafkaclient.Config{BootstrapServers: "127.0.0.1:1"}, EventsTopic: "events", ActivityTopic: "activity", Logger: slog.New(slog.DiscardHandler)})
	hub.connect = func(context.Context) (tables, error) { return nil, errors.New("away") }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { hub.Run(ctx); close(ended) }()
	snapshots, stop := hub.Subscribe()
	defer stop()
	cancel()
	for range snapshots { // until it is closed
	}
	<-ended
}

func TestWithoutKafkaAndCassandra(t *testing.T) {
	hub := New(Config{Kafka: kafkaclient.Config{BootstrapServers: "127.0.0.1:1"}, EventsTopic: "events", ActivityTopic: "activity", Logger: slog.New(slog.DiscardHandler)})
	hub.connect = func(context.Context) (tables, error) { return nil, errors.New("nobody answers") }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { hub.Run(ctx); close(ended) }()
	snapshots, stop := hub.Subscribe()
	defer stop()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case s := <-snapshots:
			if kinds := kindsOf(s.Problems); !reflect.DeepEqual(kinds, []string{KafkaUnreachable, CassandraUnreachable}) {
				continue
			}
			if _, err := hub.Timeline(ctx, "ann", 3); !errors.Is(err, ErrUnreachable) {
				t.Errorf("Timeline: %v, want ErrUnreachable", err)
			}
		case <-deadline:
			t.Errorf("the hub has not said that Kafka and Cassandra are away: %+v", hub.Snapshot().Problems)
		}
		break
	}
	cancel()
	<-ended
}

func kindsOf(problems []Problem) []string {
	var kinds []string
	for _, p := range problems {
		kinds = append(kinds, p.Kind)
	}
	return kinds
}

func TestCassandraGoesAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tables := &fakeTables{queries: running("events")}
		hub, log := startHub(t, tables)
		check := func(when string, want ...string) {
			t.Helper()
			tables.set(func() { tables.queries = running("events") })
			time.Sleep(10 * time.Second)
			tables.set(func() { tables.queries = running("events") })
			time.Sleep(2 * time.Second)
			if got := kindsOf(hub.Snapshot().Problems); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: problems %v, want %v", when, got, want)
			}
		}
		check("at first")
		tables.set(func() { tables.down = errors.New("no connections left") })
		went := time.Now()
		check("away", CassandraUnreachable)
		p := hub.Snapshot().Problems[0]
		if d := p.Since.Sub(went); d < 0 || d > 3*queriesEvery+time.Second || !p.Grave || !strings.Contains(p.Detail, "No connections left.") {
			t.Errorf("the problem: %+v; it went at %v", p, went)
		}
		tables.set(func() { tables.down = nil })
		check("back")
		if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), "no connections left") || !strings.Contains(log.String(), "again") {
			t.Errorf("logged:\n%s\nwant that it went and that it came", log)
		}
		if tables.closed != 1 {
			t.Errorf("%d sessions were closed, want 1", tables.closed)
		}
	})
}

// One read that fails is no reason for an alarm, and one that takes long is made less
// often.
func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 99*time.Second)
		defer cancel()
		calls := 0
		err := every(ctx, time.Second, func() error {
			calls++
			time.Sleep(4 * time.Second)
			if calls%3 == 0 {
				return nil
			}
			return errors.New("made by the test")
		})
		if !errors.Is(err, context.DeadlineExceeded) || calls != 5 {
			t.Errorf("every = %v after %d calls, want 5 in 99 s", err, calls)
		}
	})
}

func TestProblems(t *testing.T) {
	now := noon.Add(time.Hour)
	query := func(name string, state cassandra.QueryState, age time.Duration) cassandra.StreamingQuery {
		return cassandra.StreamingQuery{Query: name, State: state, Message: "the cause", ReportedAt: now.Add(-age)}
	}
	const run, stop, fail, stall, restart = cassandra.QueryRunning, cassandra.QueryStopped, cassandra.QueryFailed, cassandra.QueryStalled, cassandra.QueryRestarting
	waits := func(h *Hub) { h.landing.waitingSince = now.Add(-40 * time.Second) }
	for _, test := range []struct {
		name    string
		queries []cassandra.StreamingQuery
		change  func(*Hub)
		want    []string
		grave   bool // the first
		since   time.Duration
	}{
		{name: "all is well", queries: []cassandra.StreamingQuery{query("events", run, time.Second), query("reads", run, 9*time.Second)}},
		{name: "never started", want: []string{JobNotStarted}, grave: true},
		{name: "stopped", queries: []cassandra.StreamingQuery{query("events", stop, time.Hour), query("reads", stop, 2*time.Hour)}, want: []string{JobStopped}, grave: true, since: time.Hour},
		{name: "failed", queries: []cassandra.StreamingQuery{query("events", fail, time.Minute), query("reads", stop, time.Minute)}, want: []string{JobFailed}, grave: true, since: time.Minute},
		{name: "gone", queries: []cassandra.StreamingQuery{query("events", run, 11*time.Second), query("reads", stop, time.Hour)}, want: []string{JobGone}, grave: true, since: 11 * time.Second},
		{name: "stalled by its word", queries: []cassandra.StreamingQuery{query("events", run, 0), query("reads", stall, time.Second)}, want: []string{JobStalled}, grave: true, since: time.Second},
		{name: "stalled by what lands", queries: []cassandra.StreamingQuery{query("events", run, 0)}, change: waits, want: []string{JobStalled}, grave: true, since: 40 * time.Second},
		{name: "nothing lands while the query starts", queries: []cassandra.StreamingQuery{query("events", cassandra.QueryStarting, 0)}, change: waits},
		{name: "something has landed lately", queries: []cassandra.StreamingQuery{query("events", run, 0)}, change: func(h *Hub) { waits(h); h.landing.landedAt = now.Add(-time.Second) }},
		{name: "the store has just been started", queries: []cassandra.StreamingQuery{query("events", run, 0)}, change: func(h *Hub) { waits(h); h.started = now.Add(-time.Second) }},
		{name: "nothing lands since the job is stopped", queries: []cassandra.StreamingQuery{query("events", stop, time.Minute)}, change: waits, want: []string{JobStopped}, grave: true, since: time.Minute},
		{name: "restarting", queries: []cassandra.StreamingQuery{query("events", restart, time.Second)}, want: []string{JobRestarting}, since: time.Second},
		{name: "a part", queries: []cassandra.StreamingQuery{query("events", run, 0), query("reads", stop, time.Minute)}, want: []string{QueriesMissing}, since: time.Minute},
		{name: "the part that stores", queries: []cassandra.StreamingQuery{query("events", fail, time.Minute), query("reads", run, 0)}, want: []string{QueriesMissing}, grave: true, since: time.Minute},
		{name: "Cassandra away", queries: []cassandra.StreamingQuery{query("events", run, time.Hour)}, change: func(h *Hub) { h.cassandra = health{true, errors.New("away"), now} }, want: []string{CassandraUnreachable}, grave: true},
		{name: "no counts", queries: []cassandra.StreamingQuery{query("events", stop, 0)}, change: func(h *Hub) { h.activity = health{true, errors.New("no topic"), now} }, want: []string{JobStopped, CountsUnreachable}, grave: true},
		{name: "Kafka away", queries: []cassandra.StreamingQuery{query("events", run, 0)}, change: func(h *Hub) {
			h.kafka = health{true, errors.New("away"), now}
			h.activity = h.kafka
		}, want: []string{KafkaUnreachable}, grave: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := New(Config{EventsTopic: topicName})
			h.started, h.queries, h.cassandra.known = noon, test.queries, true
			if test.change != nil {
				test.change(h)
			}
			got := h.problems(now)
			if kinds := kindsOf(got); !reflect.DeepEqual(kinds, test.want) {
				t.Fatalf("problems %+v, want %v", got, test.want)
			}
			if len(got) == 0 {
				return
			}
			if p := got[0]; p.Grave != test.grave || test.since != 0 && !p.Since.Equal(now.Add(-test.since)) || p.Title == "" || p.Detail == "" || p.Action == "" {
				t.Errorf("the problem: %+v", p)
			}
		})
	}
}

func TestLag(t *testing.T) {
	h := New(Config{EventsTopic: topicName})
	q := running("events")[0]
	if lag := h.lag(q); lag != nil {
		t.Errorf("without knowing the topic's end the lag is %d", *lag)
	}
	h.takeEnds(map[int]int64{0: 12, 1: 5, 2: 4}) // of partition 2 nothing was read yet
	if lag := h.lag(q); lag == nil || *lag != 6 {
		t.Errorf("lag = %v, want 6", lag)
	}
	q.Topic = "another"
	if lag := h.lag(q); lag != nil {
		t.Errorf("of another topic the lag is %d", *lag)
	}
}

func TestTimeline(t *testing.T) {
	at := time.Now().UTC().Truncate(time.Millisecond)
	stored, onItsWay := schema.NewEventID(), schema.NewEventID()
	h := New(Config{EventsTopic: topicName})
	h.takeRecord(event(stored, at), at)
	h.takeRecord(event(onItsWay, at), at)
	h.takeRecord(event(onItsWay, at), at) // a duplicate
	waiting := func(list []Arrived) (ids []string) {
		for _, a := range list {
			ids = append(ids, a.EventID)
		}
		return ids
	}
	timeline, err := h.Timeline(t.Context(), "4b1d2c00-aaaa", 3)
	if !errors.Is(err, ErrUnreachable) || len(timeline.Waiting) != 2 {
		t.Errorf("without Cassandra: %+v, %v", timeline, err)
	}
	tables := &fakeTables{events: []schema.Event{{EventID: stored}}}
	h.tables = tables
	timeline, err = h.Timeline(t.Context(), "4b1d2c00-aaaa", 3)
	if err != nil || len(timeline.Stored) != 1 || !reflect.DeepEqual(waiting(timeline.Waiting), []string{onItsWay}) {
		t.Errorf("Timeline = %+v, %v", timeline, err)
	}
	if timeline, err = h.Timeline(t.Context(), "4b1d2c00-bbbb", 3); err != nil || len(timeline.Waiting) != 0 {
		t.Errorf("another visitor's: %+v, %v", timeline, err)
	}
	tables.down = errors.New("away")
	if _, err = h.Timeline(t.Context(), "4b1d2c00-aaaa", 3); !errors.Is(err, ErrUnreachable) {
		t.Errorf("err = %v, want ErrUnreachable", err)
	}
}
