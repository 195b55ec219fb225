package watch

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/gocql/gocql"

	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/topic"
	"example.com/bookstore/sparkjob/driver"
	"example.com/bookstore/sparkjob/stream"
)

// rejectedQuery is the query whose table has what is rejected.
const rejectedQuery = "rejected_events"

// askTimeout bounds each question to Kafka and Cassandra.
const askTimeout = 3 * time.Second

// Watcher asks Spark, Kafka and Cassandra about the queries, each at its own pace, so
// that one that does not answer holds up none of the others.
type Watcher struct {
	config   driver.Config
	names    []string
	interval time.Duration

	mu      sync.Mutex
	known   known
	counted counted
}

// New returns a Watcher of the named queries of a job that asks once an interval.
func New(config driver.Config, names []string, interval time.Duration) *Watcher {
	return &Watcher{config: config, names: names, interval: interval, known: known{
		address: address(config.Remote), topic: config.Topic.Name,
		batches: map[string]*stream.Progress{}, dropped: map[string]int64{},
	}}
}

// address returns the host and port of a connection string of Spark.
func address(remote string) string {
	host, _, _ := strings.Cut(strings.TrimPrefix(remote, "sc://"), "/")
	host, _, _ = strings.Cut(host, ";")
	return host
}

// Snapshot returns what is known now.
func (w *Watcher) Snapshot() Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known.snapshot(w.config.JobName, w.names, time.Now())
}

// learn takes in an answer.
func (w *Watcher) learn(what func(*known)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	what(&w.known)
}

// source is one that is asked. Ask connects where that is needed.
type source interface {
	ask(ctx context.Context)
	close()
}

func (w *Watcher) sources() []source {
	return []source{&spark{Watcher: w}, &kafka{Watcher: w}, &database{Watcher: w}}
}

// Once asks each source once.
func (w *Watcher) Once(ctx context.Context) {
	// Cassandra last: what is rejected is counted up to where the query has read.
	for _, s := range w.sources() {
		s.ask(ctx)
		s.close()
	}
}

// Run asks until ctx ends, and calls answered once each source has been asked.
func (w *Watcher) Run(ctx context.Context, answered func()) {
	var first sync.WaitGroup
	first.Add(3)
	var telling sync.WaitGroup
	telling.Go(func() {
		first.Wait()
		answered()
	})
	for _, s := range w.sources() {
		telling.Go(func() {
			defer s.close()
			tick := time.NewTicker(w.interval)
			defer tick.Stop()
			s.ask(ctx)
			first.Done()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					s.ask(ctx)
				}
			}
		})
	}
	telling.Wait()
}

type spark struct {
	*Watcher
	session *stream.Session
}

func (s *spark) close() {
	if s.session != nil {
		s.session.Close()
		s.session = nil
	}
}

func (s *spark) ask(ctx context.Context) {
	s.learn(func(k *known) { k.sparkAsked = time.Now() })
	states, batches, version, err := s.read(ctx)
	s.learn(func(k *known) {
		k.sparkAsked, k.sparkErr = time.Time{}, nil
		if err != nil {
			k.sparkErr = err
			return
		}
		k.version, k.states = version, map[string]driver.QueryState{}
		for _, state := range states {
			k.states[state.Name] = state
			if batch := batches[state.Name]; batch != nil {
				if former := k.batches[state.Name]; former == nil || former.RunID != batch.RunID || former.BatchID != batch.BatchID {
					for _, operator := range batch.StateOperators {
						k.dropped[state.Name] += operator.NumRowsDroppedByWatermark
					}
				}
				k.batches[state.Name] = batch
			}
		}
	})
	if err != nil {
		s.close()
	}
}

func (s *spark) read(ctx context.Context) (states []driver.QueryState, batches map[string]*stream.Progress, version string, err error) {
	if s.session == nil {
		if s.session, err = driver.Connect(ctx, s.config); err != nil {
			return nil, nil, "", err
		}
	}
	if version, err = s.session.Version(ctx); err != nil {
		return nil, nil, "", err
	}
	if states, err = driver.Status(ctx, s.session); err != nil {
		return nil, nil, "", err
	}
	s.mu.Lock()
	former := maps.Clone(s.known.batches)
	s.mu.Unlock()
	batches = map[string]*stream.Progress{}
	for _, state := range states {
		switch last := state.Last; {
		case last == nil:
		case !last.Idle():
			batches[state.Name] = last
		case former[state.Name] == nil || former[state.Name].RunID != last.RunID:
			// An idle report stands in front of the latest micro-batch.
			recent, err := driver.Progress(ctx, s.session, true, state.Name)
			if err != nil {
				continue // it has just been stopped
			}
			for _, p := range recent {
				if !p.Idle() {
					batches[state.Name] = p
				}
			}
		}
	}
	return states, batches, version, nil
}

type kafka struct {
	*Watcher
	admin *topic.Admin
}

func (k *kafka) close() {
	if k.admin != nil {
		k.admin.Close()
	}
}

func (k *kafka) ask(ctx context.Context) {
	var ends map[int]int64
	var err error
	if k.admin == nil {
		k.admin, err = topic.NewAdmin(k.config.Kafka, askTimeout)
	}
	if err == nil {
		ends, err = k.admin.EndOffsets(ctx, k.config.Topic.Name)
		err = driver.Hint(err, k.config)
	}
	k.learn(func(known *known) { known.ends, known.kafkaErr = ends, err })
}

type database struct {
	*Watcher
	session *gocql.Session
}

func (d *database) close() {
	if d.session != nil {
		d.session.Close()
		d.session = nil
	}
}

func (d *database) ask(ctx context.Context) {
	err := d.read(ctx)
	if err != nil && d.session != nil { // connecting says by itself where it went
		err = fmt.Errorf("asking Cassandra at %s, port %d: %w", strings.Join(d.config.Cassandra.Hosts, ","), d.config.Cassandra.Port, err)
	}
	d.learn(func(k *known) { k.cassandraErr = driver.Hint(err, d.config) })
}

func (d *database) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if d.session == nil {
		config := d.config.Cassandra
		config.Timeout = askTimeout
		session, err := config.Connect(ctx)
		if err != nil {
			return err
		}
		d.session = session
	}
	list, err := cassandra.StreamingQueries(ctx, d.session, d.config.JobName)
	if err != nil {
		return err
	}
	d.learn(func(k *known) {
		k.reports = map[string]cassandra.StreamingQuery{}
		for _, report := range list {
			k.reports[report.Query] = report
		}
	})
	return d.count(ctx)
}

// counted is how far today's rejected records have been counted.
type counted struct {
	day     time.Time
	upTo    map[int]int64 // by partition
	rejects Rejected
}

// count adds what was rejected since the last time. What rejected_events has written is
// all that stands before its end offsets.
func (d *database) count(ctx context.Context) error {
	d.mu.Lock()
	read := driver.EndOffsets(d.known.states[rejectedQuery].Last, d.config.Topic.Name)
	if read == nil {
		read = d.known.reports[rejectedQuery].EndOffsets
	}
	d.mu.Unlock()
	if read == nil {
		return nil
	}
	if today := time.Now().UTC().Truncate(24 * time.Hour); !today.Equal(d.counted.day) {
		d.counted = counted{day: today, upTo: map[int]int64{}, rejects: Rejected{Reasons: map[string]int64{}}}
	}
	for partition, end := range read {
		from := d.counted.upTo[partition]
		if end <= from {
			continue
		}
		more, err := cassandra.CountRejections(ctx, d.session, []time.Time{d.counted.day}, d.config.Topic.Name, partition, from, end)
		if err != nil {
			return err
		}
		d.counted.upTo[partition] = end
		d.counted.rejects.Records += more.Records
		for reason, n := range more.Reasons {
			d.counted.rejects.Reasons[reason] += n
		}
	}
	now := Rejected{Records: d.counted.rejects.Records, Reasons: maps.Clone(d.counted.rejects.Reasons)}
	d.learn(func(k *known) { k.rejected = &now })
	return nil
}
