package live

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"example.com/bookstore/schema/kafkaclient"
)

const (
	// maxReplayed bounds how many earlier records of a partition are read at first.
	maxReplayed = 50_000

	checkEvery = 10 * time.Second // whether the brokers and the topic are there
	askTimeout = 3 * time.Second
)

// tail follows a topic, all partitions of it, from a time in the recent past.
type tail struct {
	kafka kafkaclient.Config
	topic string
	back  time.Duration // how far before now it begins
	most  int64         // earlier records of a partition, whatever their time

	record  func(value []byte, at time.Time)
	ends    func(map[int]int64) // may be nil; gets the partitions' next offsets
	healthy func(error)         // gets nil, or why nothing can be read

	next map[int32]kafka.Offset // by partition, where to go on
}

// run follows the topic until ctx ends.
func (t *tail) run(ctx context.Context) {
	t.next = map[int32]kafka.Offset{}
	for ctx.Err() == nil {
		if err := t.follow(ctx); err != nil && ctx.Err() == nil {
			t.healthy(err)
			pause(ctx, retryEvery)
		}
	}
}

// follow reads until ctx ends or the consumer cannot go on.
func (t *tail) follow(ctx context.Context) error {
	consumer, err := kafka.NewConsumer(t.kafka.ConfigMap(kafka.ConfigMap{
		"client.id": "bookstore-live",
		// librdkafka asks for a group; with partitions assigned and nothing committed
		// the brokers never hear of it.
		"group.id":                 "bookstore-live",
		"enable.auto.commit":       false,
		"enable.auto.offset.store": false,
		"auto.offset.reset":        "latest", // an offset is gone only with its topic
		// The page is no reason to keep much in memory.
		"queued.max.messages.kbytes": 4096,
		"fetch.message.max.bytes":    256 << 10,
		// An answer of the broker for all of a tenth of a second, instead of one for each
		// record: else the page takes a tenth of a core at 1,000 events a second.
		"fetch.min.bytes":          1 << 20,
		"fetch.wait.max.ms":        100,
		"reconnect.backoff.max.ms": 1000,
		// It logs each refused connection on stderr; healthy says the same once.
		"log_level": 0,
	}))
	if err != nil {
		return fmt.Errorf("creating a Kafka consumer for %s: %w", t.kafka.BootstrapServers, err)
	}
	defer func() { _ = consumer.Close() }() // it has nothing to commit

	partitions, err := t.assign(consumer)
	for ; err != nil; partitions, err = t.assign(consumer) {
		if ctx.Err() != nil {
			return nil
		}
		t.healthy(err) // and go on with this consumer, which may be about to connect
		pause(ctx, retryEvery)
	}
	t.healthy(nil)

	check := time.Now().Add(checkEvery)
	tell := time.Now()
	lost := false
	for ctx.Err() == nil {
		switch event := consumer.Poll(200).(type) {
		case *kafka.Message:
			t.next[event.TopicPartition.Partition] = event.TopicPartition.Offset + 1
			t.record(event.Value, event.Timestamp)
		case kafka.Error:
			if event.IsFatal() {
				return fmt.Errorf("reading topic %s: %w", t.topic, event)
			}
			lost = lost || event.Code() == kafka.ErrAllBrokersDown
			check = time.Now()
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
			if err != nil {
				t.healthy(err)
				lost = true
				check = time.Now().Add(time.Second)
				continue
			}
			if lost || n != partitions {
				// After an outage librdkafka may take minutes until it reads each
				// partition again; another consumer goes on at once, and has new
				// partitions as well.
				return nil
			}
			check = time.Now().Add(checkEvery)
		}
	}
	return nil
}

var errNoTopic = errors.New("it does not exist; `go run ./sparkjob setup` creates it")

// assign has the consumer read every partition and returns how many there are.
func (t *tail) assign(consumer *kafka.Consumer) (partitions int, err error) {
	if partitions, err = t.partitions(consumer); err != nil {
		return 0, err
	}
	begin, err := t.beginning(consumer, partitions)
	if err != nil {
		return 0, err
	}
	if err := consumer.Assign(begin); err != nil {
		return 0, fmt.Errorf("reading topic %s: %w", t.topic, err)
	}
	return partitions, nil
}

func (t *tail) partitions(consumer *kafka.Consumer) (int, error) {
	metadata, err := consumer.GetMetadata(&t.topic, false, int(askTimeout.Milliseconds()))
	if err != nil {
		return 0, fmt.Errorf("asking Kafka at %s about topic %s: no broker answered; is it running?", t.kafka.BootstrapServers, t.topic)
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

// beginning is where to begin in each partition: where the last consumer ended, else at
// the first record that is recent enough.
func (t *tail) beginning(consumer *kafka.Consumer, partitions int) ([]kafka.TopicPartition, error) {
	timeout := int(askTimeout.Milliseconds())
	since := kafka.Offset(time.Now().Add(-t.back).UnixMilli())
	var times []kafka.TopicPartition
	lows, highs := make([]int64, partitions), make([]int64, partitions)
	for p := range partitions {
		var err error
		// Before the times, so that no record that comes meanwhile is passed over.
		if lows[p], highs[p], err = consumer.QueryWatermarkOffsets(t.topic, int32(p), timeout); err != nil {
			return nil, fmt.Errorf("looking up the ends of topic %s: %w", t.topic, err)
		}
		times = append(times, kafka.TopicPartition{Topic: &t.topic, Partition: int32(p), Offset: since})
	}
	begin, err := consumer.OffsetsForTimes(times, timeout)
	if err != nil {
		return nil, fmt.Errorf("looking up times in topic %s: %w", t.topic, err)
	}
	for i, found := range begin {
		p := found.Partition
		if _, known := t.next[p]; !known {
			offset := int64(found.Offset)
			if offset < 0 { // there is no record that late
				offset = highs[p]
			}
			t.next[p] = kafka.Offset(max(offset, highs[p]-t.most, lows[p]))
		}
		begin[i].Offset = t.next[p]
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
