package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"example.com/bookstore/deploy/stack/supervisor"
	"example.com/bookstore/schema/topic"
)

// The contenders of ingest, and what is measured of them.
const (
	storeOne       = "store, one event a request"
	storeArrays    = "store, arrays of 100"
	tutorialStore  = "tutorial: Flask, send and flush each event"
	confluentFlask = "the same with confluent-kafka"
	bound          = "store's handler without Kafka"

	halfP50 = "p50 at half the top rate"
	halfP99 = "p99 at half the top rate"
	halfMax = "longest at half the top rate"
)

func acknowledged(connections int) string {
	return fmt.Sprintf("events/s, %d connections", connections)
}

// usual is the number of connections of which more is told.
const usual = 64

var ingestContenders = []contender{
	{name: storeOne, quick: true, round: func(ctx context.Context, r *round) error { return r.ingestRound(ctx, r.ingest.store, 1) }},
	{name: tutorialStore, quick: true, round: func(ctx context.Context, r *round) error { return r.ingestRound(ctx, r.ingest.tutorial, 1) }},
	{name: confluentFlask, rounds: 1, round: func(ctx context.Context, r *round) error { return r.ingestRound(ctx, r.ingest.confluent, 1) }},
	{name: storeArrays, quick: true, round: func(ctx context.Context, r *round) error { return r.ingestRound(ctx, r.ingest.store, 100) }},
	{name: bound, quick: true, round: func(ctx context.Context, r *round) error { return r.ingestRound(ctx, r.ingest.bound, 1) }},
}

// ingestState is what prepareIngest has started.
type ingestState struct {
	store, tutorial, confluent, bound server
}

// server takes events at a URL.
type server struct {
	program
	url string
}

// prepareIngest starts all that are compared. Those who have nothing to do cost nothing.
func prepareIngest(ctx context.Context, b *bench) error {
	store, err := b.build(ctx, "./producer")
	if err != nil {
		return err
	}
	python, err := b.python(ctx)
	if err != nil {
		return err
	}
	if err := b.makeTopic(ctx, "bench_ingest", b.KafkaPartitions); err != nil {
		return err
	}
	// The live page needs Cassandra and a job, and so is off: this is the way to Kafka.
	env := []string{"KAFKA_TOPIC=bench_ingest", "STORE_LIVE=false", "STORE_SPOOL_DIR=" + filepath.Join(b.folder, "spool")}
	for _, s := range []struct {
		server *server
		name   string
		args   []string
	}{
		{&b.ingest.store, "store", []string{store}},
		{&b.ingest.tutorial, "tutorial-store", []string{python, filepath.Join(tutorial, "store.py"), "kafka-python"}},
		{&b.ingest.confluent, "tutorial-store-confluent", []string{python, filepath.Join(tutorial, "store.py"), "confluent-kafka"}},
		{&b.ingest.bound, "bound", []string{b.self, "bound"}},
	} {
		if *s.server, err = b.serve(ctx, s.name, env, s.args...); err != nil {
			return err
		}
	}
	// Whoever comes first should not be the one for whom the broker compiles what it runs.
	for _, batch := range []int{1, 100, 1} {
		c := loadCmd{URL: b.ingest.store.url, Connections: usual, Batch: batch}
		if _, err := b.loadFor(ctx, fmt.Sprintf("warming up the broker with %d a request", batch), c, brokerJITTime, quickBrokerJITTime); err != nil {
			return err
		}
	}
	return nil
}

const (
	brokerJITTime      = 10 * time.Second
	quickBrokerJITTime = 5 * time.Second
)

// serve starts a server on a port of its own, which it finds in STORE_ADDR.
func (b *bench) serve(ctx context.Context, name string, env []string, args ...string) (server, error) {
	free, err := supervisor.FreePorts(ctx)
	if err != nil {
		return server{}, err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(free()))
	p, err := b.start(ctx, name, append(env[:len(env):len(env)], "STORE_ADDR="+address), args...)
	if err != nil {
		return server{}, err
	}
	b.cleanup(func() error { return p.stop(ctx) })
	return server{p, "http://" + address + "/events"}, p.answers(ctx, "http://"+address+"/healthz")
}

func (b *bench) makeTopic(ctx context.Context, name string, partitions int) error {
	kafka, err := topic.NewAdmin(b.Kafka, 10*time.Second)
	if err != nil {
		return err
	}
	defer kafka.Close()
	_, err = kafka.Ensure(ctx, topic.Spec{Name: name, Partitions: partitions, ReplicationFactor: 1})
	return err
}

// ingestRound finds out how much a server takes, and how long it takes for one event at
// half of that.
func (r *round) ingestRound(ctx context.Context, s server, batch int) error {
	const duration = 3 * time.Second
	connections := []int{16, usual, 256}
	if r.Quick || s.Child == r.ingest.confluent.Child { // of which one figure is enough
		connections = []int{usual}
	}
	before, err := r.spooled(ctx)
	if err != nil {
		return err
	}
	var top float64 // requests a second
	for _, n := range connections {
		c := loadCmd{URL: s.url, Connections: n, Batch: batch, Warmup: time.Second, Duration: duration}
		begun, err := s.busy(ctx)
		if err != nil {
			return err
		}
		result, err := r.load(ctx, c, nil)
		if err != nil {
			return err
		}
		after, err := s.busy(ctx)
		if err != nil {
			return err
		}
		if err := r.add(acknowledged(n), "/s", result.PerSecond()); err != nil {
			return err
		}
		if n != usual {
			continue
		}
		top = result.PerSecond() / float64(batch)
		whole := (c.Warmup + result.Took).Seconds()
		for _, f := range []struct {
			metric, unit string
			value        float64
		}{
			{"p99, 64 connections", "ms", milliseconds(result.P99)},
			{"cores that it took, 64 connections", "", (after - begun).Seconds() / whole},
			{"cores that the load took, 64 connections", "", result.Busy.Seconds() / whole},
		} {
			if err := r.add(f.metric, f.unit, f.value); err != nil {
				return err
			}
		}
	}
	if s.Child == r.ingest.store.Child {
		after, err := r.spooled(ctx)
		if err != nil {
			return err
		}
		if err := r.add("events that took the spool", "", after-before); err != nil {
			return err
		}
	}
	if batch > 1 {
		return nil
	}
	// At a fixed rate of arrivals, whatever the server does with them.
	result, err := r.load(ctx, loadCmd{URL: s.url, Connections: 256, Batch: 1, Rate: top / 2, Warmup: time.Second, Duration: duration}, nil)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		metric string
		value  time.Duration
	}{{halfP50, result.P50}, {halfP99, result.P99}, {halfMax, result.Max}} {
		if err := r.add(f.metric, "ms", milliseconds(f.value)); err != nil {
			return err
		}
	}
	return nil
}

var spoolWritten = regexp.MustCompile(`(?m)^bookstore_store_spool_written_total (\S+)$`)

// spooled is how many events the store has put into its spool so far, because the broker
// did not acknowledge them in time.
func (b *bench) spooled(ctx context.Context) (float64, error) {
	text, err := metrics(ctx, strings.TrimSuffix(b.ingest.store.url, "/events"))
	if err != nil {
		return 0, err
	}
	match := spoolWritten.FindSubmatch(text)
	if match == nil {
		return 0, errors.New("no metric of the store is called bookstore_store_spool_written_total")
	}
	return strconv.ParseFloat(string(match[1]), 64)
}

// metrics returns what a program tells of itself.
func metrics(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", request.URL, response.Status)
	}
	return io.ReadAll(response.Body)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
