package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/gocql/gocql"

	"example.com/bookstore/producer/visitors"
	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/kafkaclient"
	"example.com/bookstore/schema/ledger"
	"example.com/bookstore/schema/secret"
	"example.com/bookstore/sparkjob/terminal"
)

// demo is its settings.
type demo struct {
	Visitors int           `default:"5" help:"Visitors who come, all at once."`
	Books    int           `default:"2" help:"Books that each of them looks at."`
	Seed     uint64        `help:"The same seed makes the visitors choose the same; by default each run differs."`
	Timeout  time.Duration `default:"60s" help:"How long the rows may take to be there."`

	StoreURL            string             `env:"STORE_URL" default:"http://127.0.0.1:5001" help:"The store (${env})."`
	Kafka               kafkaclient.Config `embed:"" prefix:"kafka-"`
	Topic               string             `env:"KAFKA_TOPIC" default:"bookstore_events" help:"Topic of the events (${env})."`
	CassandraHosts      []string           `env:"CASSANDRA_HOSTS" default:"127.0.0.1" help:"Contact points (${env})."`
	CassandraPort       int                `env:"CASSANDRA_PORT" default:"9042" help:"Port of CQL (${env})."`
	CassandraDatacenter string             `env:"CASSANDRA_DATACENTER" default:"datacenter1" help:"Local datacenter (${env})."`
	CassandraTLS        cassandra.TLS      `embed:"" prefix:"cassandra-"`
	CassandraPassword   secret.String      `name:"cassandra-store-password" env:"CASSANDRA_STORE_PASSWORD" help:"Password of the role bookstore_store (${env})."`
}

// foreign are records as some other program may write them to the topic.
var foreign = []string{
	`{"event": "page_view", "page": "/"}`,
	`purchase;emma;2026-01-31`,
}

func (d demo) run(ctx context.Context, out io.Writer) error {
	if d.Seed == 0 {
		d.Seed = uint64(time.Now().UnixNano())
	}
	session, err := cassandra.Config{
		Hosts: d.CassandraHosts, Port: d.CassandraPort, Datacenter: d.CassandraDatacenter,
		User: cassandra.StoreUser, Password: d.CassandraPassword, Keyspace: cassandra.Keyspace, TLS: d.CassandraTLS,
	}.Connect(ctx)
	if err != nil {
		return err
	}
	defer session.Close()

	fmt.Fprintf(out, "%d visitors come to %s\n", d.Visitors, d.StoreURL)
	acknowledged, err := d.visit(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "another program writes %d records to topic %s\n\n", len(foreign), d.Topic)
	written, err := d.writeForeign()
	if err != nil {
		return err
	}
	began := time.Now()
	result, err := d.await(ctx, session, acknowledged, written)
	if err != nil {
		return err
	}

	fmt.Fprintf(out, "bookstore.events\n%s\n\n", terminal.Events(result.stored))
	fmt.Fprintf(out, "bookstore.rejected_events\n%s\n\n", terminal.Rejected(result.rejected))
	fmt.Fprintf(out, "acknowledged=%d stored=%d rejected=%d\n", len(acknowledged), len(result.stored), len(result.rejected))
	return result.check(acknowledged, written, time.Since(began))
}

// visit lets the visitors come, all at once and with little time to read.
func (d demo) visit(ctx context.Context) ([]schema.Event, error) {
	plan, err := visitors.NewPlan(visitors.PlanConfig{
		Seed: d.Seed, Visits: d.Visitors, Rate: 1000, MinBooks: d.Books, MaxBooks: d.Books,
		Reading: 50 * time.Millisecond, Buying: 0.3, NeverClose: visitors.None, LatePhones: visitors.None,
		WrongClocks: visitors.None, Duplicates: visitors.None, BadClients: visitors.None,
	})
	if err != nil {
		return nil, err
	}
	var entries []ledger.Entry
	runner, err := visitors.NewRunner(visitors.RunConfig{
		StoreURL: d.StoreURL, Record: func(e ledger.Entry) error { entries = append(entries, e); return nil },
	})
	if err != nil {
		return nil, err
	}
	if err := runner.Ready(ctx); err != nil {
		return nil, err
	}
	end := runner.Watch(os.Stderr, plan.Size())
	err = runner.Run(ctx, plan.Steps())
	end()
	return ledger.AcknowledgedEvents(entries), errors.Join(err, runner.Stats().Err())
}

// writeForeign writes past the store, and returns where the records landed.
func (d demo) writeForeign() ([]kafka.TopicPartition, error) {
	producer, err := kafka.NewProducer(d.Kafka.ConfigMap(kafka.ConfigMap{
		"acks": "all", "message.timeout.ms": 10_000, "log_level": 0,
	}))
	if err != nil {
		return nil, fmt.Errorf("creating a Kafka producer: %w", err)
	}
	defer producer.Close()
	reports := make(chan kafka.Event, len(foreign))
	for _, value := range foreign {
		err := producer.Produce(&kafka.Message{
			TopicPartition: kafka.TopicPartition{Topic: &d.Topic, Partition: kafka.PartitionAny}, Value: []byte(value),
		}, reports)
		if err != nil {
			return nil, fmt.Errorf("writing to topic %s: %w", d.Topic, err)
		}
	}
	var written []kafka.TopicPartition
	for range foreign {
		report, ok := (<-reports).(*kafka.Message)
		if !ok {
			continue
		}
		if err := report.TopicPartition.Error; err != nil {
			return nil, fmt.Errorf("writing to topic %s: %w", d.Topic, err)
		}
		written = append(written, report.TopicPartition)
	}
	return written, nil
}

// result is what Cassandra holds of what was sent.
type result struct {
	stored   []schema.Event // by event_time
	rejected []cassandra.RejectedEvent
}

// await reads until everything is there or the time is over.
func (d demo) await(ctx context.Context, session *gocql.Session, acknowledged []schema.Event, written []kafka.TopicPartition) (result, error) {
	ids := make([]string, 0, len(acknowledged))
	for _, event := range acknowledged {
		ids = append(ids, event.EventID)
	}
	var r result
	errMissing := errors.New("not everything is there yet")
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		found, err := cassandra.FindEvents(ctx, session, ids)
		if err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		r = result{}
		for _, id := range ids {
			if event, ok := found[id]; ok {
				r.stored = append(r.stored, event)
			}
		}
		slices.SortFunc(r.stored, func(a, b schema.Event) int { return a.EventTime.Compare(b.EventTime) })
		for _, at := range written {
			rows, err := cassandra.RejectedInPartition(ctx, session, time.Now(), d.Topic, int(at.Partition))
			if err != nil {
				return struct{}{}, backoff.Permanent(err)
			}
			for _, row := range rows {
				if row.Offset == int64(at.Offset) {
					r.rejected = append(r.rejected, row)
				}
			}
		}
		if len(r.stored) < len(acknowledged) || len(r.rejected) < len(written) {
			return struct{}{}, errMissing
		}
		return struct{}{}, nil
	}, backoff.WithBackOff(backoff.NewConstantBackOff(250*time.Millisecond)), backoff.WithMaxElapsedTime(d.Timeout))
	if errors.Is(err, errMissing) {
		return r, nil // for check to tell
	}
	return r, err
}

// check compares what was sent with what is stored, field by field.
func (r result) check(acknowledged []schema.Event, written []kafka.TopicPartition, waited time.Duration) error {
	stored := make(map[string]schema.Event, len(r.stored))
	for _, event := range r.stored {
		stored[event.EventID] = event
	}
	errs := ledger.Missing(acknowledged, stored)
	if len(r.rejected) != len(written) {
		errs = append(errs, fmt.Errorf("%d of %d foreign records are in rejected_events", len(r.rejected), len(written)))
	}
	if len(errs) > 0 {
		return fmt.Errorf("after %.0f s:\n%w\ndoes the job run? `task status` tells", waited.Seconds(), errors.Join(errs...))
	}
	return nil
}
