//go:build integration

package topic_test

import (
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/kafkaclient"
	"example.com/bookstore/schema/topic"
)

func TestEnsure(t *testing.T) {
	admin, err := topic.NewAdmin(kafkaclient.Config{BootstrapServers: os.Getenv("KAFKA_BOOTSTRAP_SERVERS")}, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	spec := topic.Spec{Name: "topic_test_" + schema.NewEventID(), Partitions: 3, ReplicationFactor: 1, Retention: time.Hour}
	if _, err := admin.Partitions(t.Context(), spec.Name); !errors.Is(err, topic.ErrNotFound) {
		t.Fatalf("Partitions of no topic: %v, want ErrNotFound", err)
	}
	// Looking up must not have created it, and several setups at once make one topic.
	var created int
	var mu sync.Mutex
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			ok, err := admin.Ensure(t.Context(), spec)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if ok {
				created++
			}
		})
	}
	group.Wait()
	if created != 1 {
		t.Errorf("%d calls say that they created the topic, want 1", created)
	}
	spec.Partitions = 5
	if ok, err := admin.Ensure(t.Context(), spec); ok || err != nil {
		t.Errorf("Ensure of an existing topic = %v, %v", ok, err)
	}
	if n, err := admin.Partitions(t.Context(), spec.Name); n != 3 || err != nil {
		t.Errorf("Partitions = %d, %v; want 3", n, err)
	}
	spec.Name = "no name"
	if _, err := admin.Ensure(t.Context(), spec); err == nil {
		t.Error("Ensure took an impossible name")
	}
}

func TestEnsureCompacted(t *testing.T) {
	servers := os.Getenv("KAFKA_BOOTSTRAP_SERVERS")
	admin, err := topic.NewAdmin(kafkaclient.Config{BootstrapServers: servers}, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	spec := topic.Spec{
		Name: "topic_test_" + schema.NewEventID(), Partitions: 1, ReplicationFactor: 1, Retention: 24 * time.Hour, Compact: true,
	}
	if created, err := admin.Ensure(t.Context(), spec); !created || err != nil {
		t.Fatalf("Ensure = %v, %v", created, err)
	}
	client, err := kafka.NewAdminClient(&kafka.ConfigMap{"bootstrap.servers": servers})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	// The broker that is asked may hear of the topic later than the one that made it.
	var config map[string]kafka.ConfigEntryResult
	for deadline := time.Now().Add(10 * time.Second); len(config) == 0 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		results, err := client.DescribeConfigs(t.Context(), []kafka.ConfigResource{{Type: kafka.ResourceTopic, Name: spec.Name}})
		if err != nil {
			t.Fatal(err)
		}
		config = results[0].Config
	}
	for name, want := range map[string]string{"cleanup.policy": "compact,delete", "retention.ms": "86400000", "segment.ms": "3600000"} {
		if got := config[name].Value; got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

func TestUnreachable(t *testing.T) {
	admin, err := topic.NewAdmin(kafkaclient.Config{BootstrapServers: "127.0.0.1:1"}, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if _, err := admin.Partitions(t.Context(), "x"); !errors.Is(err, topic.ErrUnreachable) {
		t.Errorf("Partitions without a broker: %v, want ErrUnreachable", err)
	}
}
