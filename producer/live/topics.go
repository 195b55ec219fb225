package live

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

const (
	// maxReplayed bounds how many earlier records of a partition are read at first.
	maxReplayed = 50_000

	checkEvery = 10 * time.Second // whether the brokers and the topic are there
	askTimeout = 2 * time.Second
)

// tail follows a topic, all partitions of it, from a time in the recent past.
type tail struct {
	servers string
	topic   string
	back    time.Duration // how far before now it begins
	most    int64         // earlier records of a partition, whatever their time

	record  func(value []byte, at time.Time)
	ends    func(map[int]int64) // may be nil; gets the partitions' next offsets
	healthy func(error)         // gets nil, or why nothing can be read

	next map[int32]kafka.Offset // by partition, where to go on with another consumer
}

// run follows the topic until ctx ends.
func (t *tail) run(ctx context.Context) {
	t.next = map[int32]kafka.Offset{}
	for ctx.Err() == nil {
		if err := t.follow(ctx); err != nil && ctx.Err() == nil {
			t.healthy(err)
		}
		pause(ctx, retryEvery)
	}
}

// follow reads until ctx ends or the consumer cannot go on.
func (t *tail) follow(ctx context.Context) error {
	consumer, err := kafka.NewConsumer(&kafka.ConfigMap{
		"bootstrap.servers": t.servers,
		"client.id":         "bookstore-live",
		// librdkafka asks for a group; with partitions assigned and nothing committed
		// the brokers never hear of it.
		"group.id":                 "bookstore-live",
		"enable.auto.commit":       false,
		"enable.auto.offset.store": false,
		"auto.offset.reset":        "earliest",
		// The page is no reason to keep much in memory.
		"queued.max.messages.kbytes": 4096,
		"fetch.message.max.bytes":    256 << 10,
		"reconnect.backoff.max.ms":   1000,
		// It logs each refused connection on stderr; healthy says the same once.
		"log_level": 0,
	})
	if err != nil {
		return fmt.Errorf("creating a Kafka consumer for %s: %w", t.servers, err)
	}
	defer func() { _ = consumer.Close() }() // it has nothing to commit

	partitions, err := t.partitions(consumer)
	if err != nil {
		return err
	}
	begin, err := t.beginning(consumer, partitions)
	if err != nil {
		return err
	}
	if err := consumer.Assign(begin); err != nil {
		return fmt.Errorf("reading topic %s: %w", t.topic, err)
	}
	t.healthy(nil)

	check := time.Now().Add(checkEvery)
	tell := time.Now()
	for ctx.Err() == nil {
		switch event := consumer.Poll(200).(type) {
		case *kafka.Message:
			t.next[event.TopicPartition.Partition] = event.TopicPartition.Offset + 1
			t.record(event.Value, event.Timestamp)
		case kafka.Error:
			if event.IsFatal() {
				return fmt.Errorf("reading topic %s: %w", t.topic, event)
			}
			check = time.Now() // it recovers by itself, but perhaps not now
		}
		if now := time.Now(); t.ends != nil && now.After(tell) {
			tell = now.Add(landEvery)
			t.tellEnds(consumer, partitions)
		}
		if time.Now().After(check) {
			n, err := t.partitions(consumer)
			if errors.Is(err, errNoTopic) {
				return err
			}
			if t.healthy(err); err != nil {
				check = time.Now().Add(time.Second)
				continue
			}
			check = time.Now().Add(checkEvery)
			if n != partitions {
				return nil // the next consumer has all of them
			}
		}
	}
	return nil
}

var errNoTopic = errors.New("it does not exist; `go run ./sparkjob setup` creates it")

func (t *tail) partitions(consumer *kafka.Consumer) (int, error) {
	metadata, err := consumer.GetMetadata(&t.topic, false, int(askTimeout.Milliseconds()))
	if err != nil {
		return 0, fmt.Errorf("asking Kafka at %s about topic %s: no broker answered; is it running?", t.servers, t.topic)
	}
	topic := metadata.Topics[t.topic]
	switch code := topic.Error.Code(); {
	case code == kafka.ErrUnknownTopicOrPart || code == kafka.ErrUnknownTopic || code == kafka.ErrNoError && len(topic.Partitions) == 0:
		return 0, fmt.Errorf("reading topic %s: %w", t.topic, errNoTopic)
	case code != kafka.ErrNoError:
		return 0, fmt.Errorf("asking Kafka about topic %s: %w", t.topic, topic.Error)
	}
	return len(topic.Partitions), nil
}

// beginning is where to begin in each partition.
func (t *tail) beginning(consumer *kafka.Consumer, partitions int) ([]kafka.TopicPartition, error) {
	var begin []kafka.TopicPartition
	since := kafka.Offset(time.Now().Add(-t.back).UnixMilli())
	for p := range int32(partitions) {
		begin = append(begin, kafka.TopicPartition{Topic: &t.topic, Partition: p, Offset: since})
	}
	timeout := int(askTimeout.Milliseconds())
	begin, err := consumer.OffsetsForTimes(begin, timeout)
	if err != nil {
		return nil, fmt.Errorf("looking up times in topic %s: %w", t.topic, err)
	}
	for i, p := range begin {
		low, high, err := consumer.QueryWatermarkOffsets(t.topic, p.Partition, timeout)
		if err != nil {
			return nil, fmt.Errorf("looking up the end of topic %s: %w", t.topic, err)
		}
		offset := int64(p.Offset)
		if offset < 0 { // there is no later record
			offset = high
		}
		begin[i].Offset = kafka.Offset(max(offset, high-t.most, low))
		if next, ok := t.next[p.Partition]; ok {
			begin[i].Offset = next
		}
	}
	return begin, nil
}

// tellEnds tells what the last answers of the brokers said.
func (t *tail) tellEnds(consumer *kafka.Consumer, partitions int) {
	ends := make(map[int]int64, partitions)
	for p := range partitions {
		if _, high, err := consumer.GetWatermarkOffsets(t.topic, int32(p)); err == nil && high >= 0 {
			ends[p] = high
		}
	}
	if len(ends) == partitions {
		t.ends(ends)
	}
}
