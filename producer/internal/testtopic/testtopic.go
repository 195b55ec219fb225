//go:build integration

// Package testtopic makes topics that last as long as a test. It stands beside the
// data's path, in tests alone.
package testtopic

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/uuid"

	"example.com/bookstore/schema/kafkaclient"
	"example.com/bookstore/schema/topic"
)

// Name returns the brokers of the stack under test and the name of a topic of the test's
// own, and how to create it.
func Name(t testing.TB) (servers, name string, create func()) {
	t.Helper()
	if servers = os.Getenv("KAFKA_BOOTSTRAP_SERVERS"); servers == "" {
		t.Fatal("KAFKA_BOOTSTRAP_SERVERS is not set; start the stack first")
	}
	name = "test-store-" + uuid.NewString()
	return servers, name, func() {
		t.Helper()
		admin, err := topic.NewAdmin(kafkaclient.Config{BootstrapServers: servers}, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer admin.Close()
		if _, err := admin.Ensure(t.Context(), topic.Spec{Name: name, Partitions: 3, ReplicationFactor: 1}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { remove(t, servers, name) })
	}
}

// New creates a topic of the test's own.
func New(t testing.TB) (servers, name string) {
	t.Helper()
	servers, name, create := Name(t)
	create()
	return servers, name
}

func remove(t testing.TB, servers, name string) {
	client, err := kafka.NewAdminClient(&kafka.ConfigMap{"bootstrap.servers": servers})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	results, err := client.DeleteTopics(context.Background(), []string{name})
	if err != nil {
		t.Error(err)
	} else if code := results[0].Error.Code(); code != kafka.ErrNoError {
		t.Error(results[0].Error)
	}
}
