package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"example.com/bookstore/schema/cassandra"
)

const (
	bursts     = 5
	burstEvery = time.Second
	perBurst   = 8 // of each kind
)

// poisons are values that no reader of the topic takes for an event.
var poisons = map[string][]byte{
	"no JSON":          []byte("purchase;emma;2026-01-31"),
	"cut off":          []byte(`{"event_id":"0199a1f2-5c1e-7cc3-9d4e-8f6b2a7d1e90","event_ty`),
	"no object":        []byte(`[]`),
	"wrong types":      []byte(`{"event_id":42,"event_type":["purchase"],"event_time":true,"user_id":{},"book_id":1.5}`),
	"another schema":   []byte(`{"event":"page_view","page":"/"}`),
	"broken UTF-8":     []byte("{\"event_id\":\"0199a1f2-5c1e-7cc3-9d4e-8f6b2a7d1e90\",\"shop\":\"\xe9\xff\"}"),
	"nothing but NUL":  make([]byte, 64),
	"deeply nested":    []byte(strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)),
	"tombstone":        nil,
	"empty":            {},
	"more than 64 KiB": []byte(`{"book_id":"` + strings.Repeat("x", 200<<10) + `"}`),
}

// place is where a record lies.
type place struct {
	partition int
	offset    int64
}

// writePoison writes to the topic past the store, in bursts.
func writePoison(ctx context.Context, s *stand) error {
	producer, err := kafka.NewProducer(&kafka.ConfigMap{
		"bootstrap.servers": s.KafkaBootstrapServers, "acks": "all", "message.timeout.ms": 10_000, "log_level": 0,
	})
	if err != nil {
		return fmt.Errorf("creating a Kafka producer: %w", err)
	}
	defer producer.Close()
	s.poison = nil
	tick := time.NewTicker(burstEvery)
	defer tick.Stop()
	for range bursts {
		if err := s.burst(producer); err != nil {
			return fmt.Errorf("writing poison to topic %s: %w", s.Topic, err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

func (s *stand) burst(producer *kafka.Producer) error {
	reports := make(chan kafka.Event, perBurst*len(poisons))
	for _, value := range poisons {
		for range perBurst {
			err := producer.Produce(&kafka.Message{
				TopicPartition: kafka.TopicPartition{Topic: &s.Topic, Partition: kafka.PartitionAny}, Value: value,
			}, reports)
			if err != nil {
				return err
			}
		}
	}
	for range perBurst * len(poisons) {
		report, ok := (<-reports).(*kafka.Message)
		if !ok {
			return errors.New("the producer reports something else than a delivery")
		}
		if err := report.TopicPartition.Error; err != nil {
			return err
		}
		s.poison = append(s.poison, place{int(report.TopicPartition.Partition), int64(report.TopicPartition.Offset)})
	}
	return nil
}

// poisonIsRejected wants a row of rejected_events for each record.
func poisonIsRejected(ctx context.Context, s *stand) error {
	session, err := s.probe.rows.Connect(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	return poll(ctx, time.Second, time.Minute, func() error {
		rejected := map[place]bool{}
		partitions, err := cassandra.RejectedPartitions(ctx, session)
		if err != nil {
			return backoff.Permanent(err)
		}
		for _, p := range partitions {
			if p.Topic != s.Topic {
				continue
			}
			rows, err := cassandra.RejectedInPartition(ctx, session, p.Day, p.Topic, p.Partition)
			if err != nil {
				return backoff.Permanent(err)
			}
			for _, row := range rows {
				rejected[place{row.Partition, row.Offset}] = true
			}
		}
		missing := 0
		for _, at := range s.poison {
			if !rejected[at] {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d records that are no events are not in rejected_events", missing, len(s.poison))
		}
		return nil
	})
}
