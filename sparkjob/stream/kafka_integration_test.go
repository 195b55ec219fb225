//go:build integration

package stream_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/bookstore/sparkjob/stream"
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// brokers gives the addresses of Kafka, for this process and for Spark.
func brokers(t *testing.T) (ours, sparks string) {
	t.Helper()
	ours, sparks = os.Getenv("KAFKA_BOOTSTRAP_SERVERS"), os.Getenv("SPARK_KAFKA_BOOTSTRAP_SERVERS")
	if ours == "" {
		t.Skip("KAFKA_BOOTSTRAP_SERVERS is not set")
	}
	if sparks == "" {
		sparks = ours
	}
	return ours, sparks
}

// topic makes a topic for the test.
func topic(t *testing.T, servers string) string {
	t.Helper()
	admin := must(kafka.NewAdminClient(&kafka.ConfigMap{"bootstrap.servers": servers}))(t)
	t.Cleanup(admin.Close)
	topic := name("stream_test")
	results := must(admin.CreateTopics(t.Context(), []kafka.TopicSpecification{{Topic: topic, NumPartitions: 2, ReplicationFactor: 1}}))(t)
	if err := results[0].Error; err.Code() != kafka.ErrNoError {
		t.Fatal(err)
	}
	return topic
}

func TestKafka(t *testing.T) {
	t.Parallel()
	ours, sparks := brokers(t)
	topic := topic(t, ours)
	s := connect(t)
	ctx := t.Context()

	lines := must(s.ReadStream().Text(ctx, folder(t, map[string]string{"1": "a\nb\nc"})))(t)
	lines = must(lines.SelectExpr(ctx, "value AS key", "upper(value) AS value"))(t)
	sink := must(s.WriteStream(lines).Format("kafka").Option("kafka.bootstrap.servers", sparks).Option("topic", topic).
		Option("checkpointLocation", t.TempDir()).Trigger(stream.AvailableNow()).Start(ctx))(t)
	if ended, err := sink.AwaitTermination(ctx, time.Minute); !ended || err != nil {
		t.Fatalf("writing to Kafka: %v, %v", ended, err)
	}

	records := must(s.ReadStream().Format("kafka").Option("kafka.bootstrap.servers", sparks).Option("subscribe", topic).
		Option("startingOffsets", "earliest").Load(ctx))(t)
	records = must(records.SelectExpr(ctx, "CAST(key AS STRING)", "CAST(value AS STRING)"))(t)
	source := must(s.WriteStream(records).Format("memory").QueryName(name("records")).Trigger(stream.AvailableNow()).Start(ctx))(t)
	if ended, err := source.AwaitTermination(ctx, time.Minute); !ended || err != nil {
		t.Fatalf("reading from Kafka: %v, %v", ended, err)
	}
	equal(t, "records", rows(t, s, "SELECT * FROM "+source.Name()), []string{"a A", "b B", "c C"})

	p := must(source.LastProgress(ctx))(t)
	var offsets map[string]map[string]int64
	if err := json.Unmarshal(p.Sources[0].EndOffset, &offsets); err != nil {
		t.Fatal(err)
	}
	if got := offsets[topic]["0"] + offsets[topic]["1"]; got != 3 {
		t.Errorf("end offsets %s, want 3 in all", p.Sources[0].EndOffset)
	}
}

func TestMissingKafkaTopic(t *testing.T) {
	t.Parallel()
	_, sparks := brokers(t)
	s := connect(t)
	records := must(s.ReadStream().Format("kafka").Option("kafka.bootstrap.servers", sparks).Option("subscribe", name("nosuch")).Load(t.Context()))(t)
	_, err := s.WriteStream(records).Format("noop").Start(t.Context())
	var failure *stream.QueryException
	if !errors.As(err, &failure) || !strings.Contains(failure.Message, "UnknownTopicOrPartition") {
		t.Errorf("got %v, want the query's UnknownTopicOrPartitionException", err)
	}
}
