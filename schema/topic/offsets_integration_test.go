//go:build integration

package topic_test

import (
	"errors"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/kafkaclient"
	"example.com/bookstore/schema/topic"
)

func TestEndOffsets(t *testing.T) {
	servers := os.Getenv("KAFKA_BOOTSTRAP_SERVERS")
	admin, err := topic.NewAdmin(kafkaclient.Config{BootstrapServers: servers}, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	name := "topic_test_" + schema.NewEventID()
	if _, err := admin.EndOffsets(t.Context(), name); !errors.Is(err, topic.ErrNotFound) {
		t.Errorf("EndOffsets of no topic: %v, want ErrNotFound", err)
	}
	if _, err := admin.Ensure(t.Context(), topic.Spec{Name: name, Partitions: 3, ReplicationFactor: 1, Retention: time.Hour}); err != nil {
		t.Fatal(err)
	}
	producer, err := kafka.NewProducer(&kafka.ConfigMap{"bootstrap.servers": servers})
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	reports := make(chan kafka.Event, 3)
	began := time.Now().Truncate(time.Millisecond)
	for i, partition := range []int32{1, 2, 2} {
		if err := producer.Produce(&kafka.Message{
			TopicPartition: kafka.TopicPartition{Topic: &name, Partition: partition}, Timestamp: began.Add(time.Duration(i) * time.Minute),
		}, reports); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if err := (<-reports).(*kafka.Message).TopicPartition.Error; err != nil {
			t.Fatal(err)
		}
	}
	ends, err := admin.EndOffsets(t.Context(), name)
	if want := map[int]int64{0: 0, 1: 1, 2: 2}; err != nil || !maps.Equal(ends, want) {
		t.Errorf("EndOffsets = %v, %v; want %v", ends, err, want)
	}
	starts, err := admin.StartOffsets(t.Context(), name)
	if want := map[int]int64{0: 0, 1: 0, 2: 0}; err != nil || !maps.Equal(starts, want) {
		t.Errorf("StartOffsets = %v, %v; want %v", starts, err, want)
	}
	at, err := admin.OffsetsAt(t.Context(), name, began.Add(90*time.Second))
	if want := map[int]int64{2: 1}; err != nil || !maps.Equal(at, want) {
		t.Errorf("OffsetsAt = %v, %v; want %v", at, err, want)
	}
}
