// Package records reads a stretch of a Kafka topic and writes single records to it, for
// a person at a terminal: it stands in the middle of the data's path, but no event takes
// its way through it.
package records

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"example.com/bookstore/schema/kafkaclient"
)

const (
	// patience is how long the brokers may send nothing until they count as gone.
	patience = 15 * time.Second
	// deliveryTimeout is the longest wait for an acknowledgement, retries included.
	deliveryTimeout = 15 * time.Second
)

// ErrUnreachable says that the brokers have sent nothing for too long.
var ErrUnreachable = errors.New("no broker answered")

// Record of a topic.
type Record struct {
	Topic     string            `json:"topic"`
	Partition int               `json:"partition"`
	Offset    int64             `json:"offset"`
	Timestamp time.Time         `json:"timestamp"` // of receipt, UTC
	Key       []byte            `json:"-"`
	Value     []byte            `json:"-"` // nil if it has none
	Headers   map[string]string `json:"headers,omitempty"`
}

// Partition returns where librdkafka's default partitioner puts a record with a key, in
// a topic of so many partitions. Other clients have others.
func Partition(key string, partitions int) int {
	return int(crc32.ChecksumIEEE([]byte(key)) % uint32(partitions))
}

// Read calls visit for each record from the offsets from on and before the offsets to,
// by partition, until visit returns false or limit records were read, and returns how
// many were. Records of one partition come in order. A partition that is not in both maps
// is not read.
func Read(ctx context.Context, c kafkaclient.Config, topic string, from, to map[int]int64, limit int, visit func(Record) bool) (read int, err error) {
	var assignment []kafka.TopicPartition
	for _, partition := range slices.Sorted(maps.Keys(from)) {
		if from[partition] < to[partition] {
			assignment = append(assignment, kafka.TopicPartition{Topic: &topic, Partition: int32(partition), Offset: kafka.Offset(from[partition])})
		}
	}
	if len(assignment) == 0 || limit <= 0 {
		return 0, nil
	}
	fail := func(err error) (int, error) {
		return read, fmt.Errorf("reading topic %s at %s: %w", topic, c.BootstrapServers, err)
	}
	consumer, err := kafka.NewConsumer(c.ConfigMap(kafka.ConfigMap{
		"group.id":             "sparkjob", // needed, and never used: nothing is committed
		"enable.auto.commit":   false,
		"auto.offset.reset":    "earliest", // where retention has just passed the first offset
		"enable.partition.eof": true,
		"isolation.level":      "read_uncommitted", // as Spark reads
		"log_level":            0,
	}))
	if err != nil {
		return fail(err)
	}
	defer func() { _ = consumer.Close() }() // it has nothing to commit
	if err := consumer.Assign(assignment); err != nil {
		return fail(err)
	}
	open := len(assignment)
	done := map[int32]bool{}
	finish := func(partition int32) error {
		if done[partition] {
			return nil
		}
		done[partition] = true
		open--
		return consumer.Pause([]kafka.TopicPartition{{Topic: &topic, Partition: partition}})
	}
	heard := time.Now()
	for open > 0 {
		if ctx.Err() != nil {
			return fail(context.Cause(ctx))
		}
		var finishErr error
		switch event := consumer.Poll(100).(type) {
		case *kafka.Message:
			heard = time.Now()
			partition, offset := event.TopicPartition.Partition, int64(event.TopicPartition.Offset)
			if done[partition] {
				continue
			}
			if offset < to[int(partition)] {
				read++
				if !visit(record(event)) || read >= limit {
					return read, nil
				}
			}
			if offset+1 >= to[int(partition)] {
				finishErr = finish(partition)
			}
		case kafka.PartitionEOF: // before the end where what was there is no record
			heard = time.Now()
			finishErr = finish(event.Partition)
		case kafka.Error:
			if event.IsFatal() || event.Code() == kafka.ErrUnknownTopicOrPart {
				return fail(event)
			}
		}
		if finishErr != nil {
			return fail(finishErr)
		}
		if time.Since(heard) > patience {
			return fail(ErrUnreachable)
		}
	}
	return read, nil
}

func record(m *kafka.Message) Record {
	r := Record{
		Topic: *m.TopicPartition.Topic, Partition: int(m.TopicPartition.Partition), Offset: int64(m.TopicPartition.Offset),
		Timestamp: m.Timestamp.UTC(), Key: m.Key, Value: m.Value,
	}
	for _, header := range m.Headers {
		if r.Headers == nil {
			r.Headers = map[string]string{}
		}
		r.Headers[header.Key] = string(header.Value)
	}
	return r
}

// Write writes one record and returns where it is, once every in-sync replica has it.
// The record's partition follows from its key.
func Write(ctx context.Context, c kafkaclient.Config, r Record) (Record, error) {
	fail := func(err error) (Record, error) {
		return r, fmt.Errorf("writing to topic %s at %s: %w", r.Topic, c.BootstrapServers, err)
	}
	producer, err := kafka.NewProducer(c.ConfigMap(kafka.ConfigMap{
		"client.id":          "sparkjob",
		"enable.idempotence": true, "acks": "all",
		"delivery.timeout.ms": int(deliveryTimeout.Milliseconds()), "log_level": 0,
		"topic.metadata.propagation.max.ms": 2000,
	}))
	if err != nil {
		return fail(err)
	}
	defer producer.Close()
	message := &kafka.Message{
		TopicPartition: kafka.TopicPartition{Topic: &r.Topic, Partition: kafka.PartitionAny},
		Key:            r.Key, Value: r.Value,
	}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		message.Headers = append(message.Headers, kafka.Header{Key: name, Value: []byte(r.Headers[name])})
	}
	report := make(chan kafka.Event, 1)
	if err := producer.Produce(message, report); err != nil {
		return fail(err)
	}
	select {
	case <-ctx.Done():
		return fail(fmt.Errorf("%w; whether it was written is not known", context.Cause(ctx)))
	case event := <-report:
		stored := event.(*kafka.Message)
		if err := stored.TopicPartition.Error; err != nil {
			return fail(fmt.Errorf("the brokers did not acknowledge it: %w", err))
		}
		r.Partition, r.Offset = int(stored.TopicPartition.Partition), int64(stored.TopicPartition.Offset)
		return r, nil
	}
}

// At returns one record, or nil if Kafka does not keep it any more.
func At(ctx context.Context, c kafkaclient.Config, topic string, partition int, offset int64) (*Record, error) {
	var found *Record
	_, err := Read(ctx, c, topic, map[int]int64{partition: offset}, map[int]int64{partition: offset + 1}, 1, func(r Record) bool {
		found = &r
		return false
	})
	return found, err
}
