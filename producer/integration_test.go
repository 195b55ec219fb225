//go:build integration

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/uuid"

	"example.com/bookstore/producer/visitors"
	"example.com/bookstore/schema"
	"example.com/bookstore/schema/topic"
)

// newTopic creates a topic of the test's own.
func newTopic(t *testing.T) (servers, name string) {
	t.Helper()
	if servers = os.Getenv("KAFKA_BOOTSTRAP_SERVERS"); servers == "" {
		t.Fatal("KAFKA_BOOTSTRAP_SERVERS is not set; start the stack first")
	}
	name = "test-store-" + uuid.NewString()
	admin, err := topic.NewAdmin(servers, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if _, err := admin.Ensure(t.Context(), topic.Spec{Name: name, Partitions: 3, ReplicationFactor: 1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
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
	})
	return servers, name
}

// read returns every record that the topic holds.
func read(t *testing.T, servers, name string) []*kafka.Message {
	t.Helper()
	consumer, err := kafka.NewConsumer(&kafka.ConfigMap{
		"bootstrap.servers": servers, "group.id": name, "auto.offset.reset": "earliest",
		"enable.auto.commit": false, "enable.partition.eof": true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := consumer.Close(); err != nil {
			t.Error(err)
		}
	}()
	var partitions kafka.TopicPartitions
	for p := range int32(3) {
		partitions = append(partitions, kafka.TopicPartition{Topic: &name, Partition: p, Offset: kafka.OffsetBeginning})
	}
	if err := consumer.Assign(partitions); err != nil {
		t.Fatal(err)
	}
	var messages []*kafka.Message
	ended := 0
	for deadline := time.Now().Add(30 * time.Second); ended < len(partitions); {
		if time.Now().After(deadline) {
			t.Fatalf("read %d records and the end of %d partitions", len(messages), ended)
		}
		switch event := consumer.Poll(100).(type) {
		case *kafka.Message:
			messages = append(messages, event)
		case kafka.PartitionEOF:
			ended++
		}
	}
	return messages
}

// startStore runs the program itself.
func startStore(t *testing.T, servers, name string) (store *exec.Cmd, url string, log *opening) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "store")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("building the store: %v\n%s", err, out)
	}
	log = newOpening()
	store = exec.CommandContext(t.Context(), binary, "--addr=127.0.0.1:0", "--kafka-topic="+name, "--live=false")
	store.Env = append(os.Environ(), "KAFKA_BOOTSTRAP_SERVERS="+servers)
	store.Stderr = log
	if err := store.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if store.ProcessState == nil { // the test has failed before the store's end
			_ = store.Process.Kill()
			_ = store.Wait()
		}
	})
	return store, log.wait(t), log
}

// checkRecord holds a record against the contract and returns its event.
func checkRecord(t *testing.T, m *kafka.Message, since time.Time) schema.Event {
	t.Helper()
	e, err := schema.Decode(m.Value)
	if err != nil {
		t.Fatalf("%v\n%s", err, m.Value)
	}
	if string(m.Key) != e.UserID {
		t.Errorf("key = %s, want the user %s", m.Key, e.UserID)
	}
	if m.Timestamp.Before(since.Truncate(time.Millisecond)) || m.Timestamp.After(time.Now()) {
		t.Errorf("timestamp = %v, want the time of receipt", m.Timestamp)
	}
	headers := map[string]string{}
	for _, h := range m.Headers {
		headers[h.Key] = string(h.Value)
	}
	if headers[schema.VersionHeader] != schema.Version || len(headers[schema.TraceHeader]) != 55 || len(headers) != 2 {
		t.Errorf("headers = %v, want %s and %s", headers, schema.VersionHeader, schema.TraceHeader)
	}
	return e
}

func TestVisitorsEventsAreOnTheTopic(t *testing.T) {
	servers, name := newTopic(t)
	store, url, log := startStore(t, servers, name)
	if status, body := get(t, url+"/readyz"); status != 200 {
		t.Errorf("/readyz = %d %s", status, body)
	}
	start := time.Now()
	acknowledged, err := visitors.Run(t.Context(), visitors.Config{StoreURL: url, Visitors: 8, Seed: 7, Reading: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	byUser := map[string][]schema.Event{}
	for _, m := range read(t, servers, name) {
		e := checkRecord(t, m, start)
		byUser[e.UserID] = append(byUser[e.UserID], e)
	}
	want := map[string][]schema.Event{}
	for _, e := range acknowledged {
		want[e.UserID] = append(want[e.UserID], e)
	}
	if len(byUser) != len(want) {
		t.Errorf("records of %d visitors, want %d", len(byUser), len(want))
	}
	for user, events := range want {
		if !slices.Equal(byUser[user], events) {
			t.Errorf("records of %s:\n%v\nwant in this order:\n%v", user, byUser[user], events)
		}
	}

	if err := store.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := store.Wait(); err != nil {
		t.Errorf("the store ended with %v, want exit status 0", err)
	}
	if lines := strings.Split(strings.TrimSpace(log.String()), "\n"); len(lines) != 1 {
		t.Errorf("a healthy run should log that the store is open and nothing else:\n%s", log)
	}
}

func TestSIGTERMLosesNoAcknowledgedEvent(t *testing.T) {
	servers, name := newTopic(t)
	store, url, log := startStore(t, servers, name)
	start := time.Now()
	type outcome struct {
		events []schema.Event
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		events, err := visitors.Run(t.Context(), visitors.Config{
			StoreURL: url, Visitors: 16, Books: 100_000, Reading: -1, Patience: time.Second,
		})
		done <- outcome{events, err}
	}()
	// Amid the traffic: once some of it has gone through.
	for deadline := time.Now().Add(30 * time.Second); len(read(t, servers, name)) < 200; {
		if time.Now().After(deadline) {
			t.Fatal("no events came through")
		}
	}
	if err := store.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := store.Wait(); err != nil {
		t.Errorf("the store ended with %v, want exit status 0\n%s", err, log)
	}
	result := <-done
	if result.err == nil {
		t.Error("the visitors have not noticed that the store has closed")
	}
	stored := map[string]int{}
	for _, m := range read(t, servers, name) {
		stored[checkRecord(t, m, start).EventID]++
	}
	for _, e := range result.events {
		if stored[e.EventID] != 1 {
			t.Fatalf("event %s was acknowledged and is there %d times", e.EventID, stored[e.EventID])
		}
	}
	if len(result.events) < 200 {
		t.Errorf("%d events were acknowledged, want at least 200", len(result.events))
	}
}
