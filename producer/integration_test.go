//go:build integration

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"example.com/bookstore/producer/internal/testtopic"
	"example.com/bookstore/producer/visitors"
	"example.com/bookstore/schema"
	"example.com/bookstore/schema/ledger"
)

// read returns every record that the topic holds.
func read(t testing.TB, servers, name string) []*kafka.Message {
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

// buildStore builds the program, once for all tests.
var buildStore = sync.OnceValues(func() (binary string, err error) {
	binary = filepath.Join(binaries, "store")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the store: %w\n%s", err, out)
	}
	return binary, nil
})

// binaries is a folder that is gone after the tests.
var binaries string

func TestMain(m *testing.M) {
	var err error
	if binaries, err = os.MkdirTemp("", "store"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(binaries)
	os.Exit(code)
}

// startStore runs the program itself. A broker that is slow, as in tests of the race
// detector, is no reason for it to spool, unless settings say so.
func startStore(t testing.TB, servers, name string, settings ...string) (store *exec.Cmd, url string, log *opening) {
	t.Helper()
	binary, err := buildStore()
	if err != nil {
		t.Fatal(err)
	}
	log = newOpening()
	store = exec.CommandContext(t.Context(), binary, "--addr=127.0.0.1:0", "--kafka-topic="+name, "--live=false")
	store.Env = append(os.Environ(), "KAFKA_BOOTSTRAP_SERVERS="+servers, "STORE_SPOOL_AFTER=10s", "STORE_SPOOL_DIR="+t.TempDir())
	store.Env = append(store.Env, settings...)
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

// Everybody comes: also those who send late or twice, and the bad clients, of whom
// nothing may come through.
func TestVisitorsEventsAreOnTheTopic(t *testing.T) {
	servers, name := testtopic.New(t)
	store, url, log := startStore(t, servers, name)
	if status, body := get(t, url+"/readyz"); status != 200 {
		t.Errorf("/readyz = %d %s", status, body)
	}
	start := time.Now()
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	kept, err := ledger.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := visitors.Run(t.Context(), visitors.PlanConfig{
		Seed: 7, Visits: 40, Rate: 1000, Reading: 20 * time.Millisecond, LatePhones: 0.2, Duplicates: 0.1, BadClients: 0.2,
	}, visitors.RunConfig{StoreURL: url, AsFastAsPossible: true, Record: kept.Record}); err != nil {
		t.Fatal(err)
	}
	if err := kept.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := ledger.ReadAll(path)
	if err != nil {
		t.Fatal(err)
	}
	want, repeated, refused := map[string][]schema.Event{}, 0, 0
	for _, e := range entries {
		switch e.Outcome {
		case ledger.Acknowledged:
			want[e.Event.UserID] = append(want[e.Event.UserID], e.Event)
		case ledger.Repeated:
			repeated++
		case ledger.Refused:
			refused++
		}
	}
	if repeated == 0 || refused == 0 {
		t.Errorf("%d events were repeated, %d payloads refused, want some of both", repeated, refused)
	}
	byUser, once, again := map[string][]schema.Event{}, map[string]bool{}, 0
	for _, m := range read(t, servers, name) {
		e := checkRecord(t, m, start)
		if once[e.EventID] {
			again++
			continue
		}
		once[e.EventID] = true
		byUser[e.UserID] = append(byUser[e.UserID], e)
	}
	if len(byUser) != len(want) || again != repeated {
		t.Errorf("records of %d visitors, %d of them again, want %d and %d", len(byUser), again, len(want), repeated)
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
	servers, name := testtopic.New(t)
	store, url, log := startStore(t, servers, name)
	start := time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan []schema.Event, 1)
	go func() {
		events, _ := visitors.Run(ctx, visitors.PlanConfig{
			LatePhones: visitors.None, Duplicates: visitors.None, BadClients: visitors.None, // no end
		}, visitors.RunConfig{StoreURL: url, AsFastAsPossible: true, InFlight: 16, Patience: time.Second})
		done <- events // the error is that they were told to end, and what the store did not take
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
	cancel()
	acknowledged := <-done
	stored := map[string]int{}
	for _, m := range read(t, servers, name) {
		stored[checkRecord(t, m, start).EventID]++
	}
	for _, e := range acknowledged {
		if stored[e.EventID] != 1 {
			t.Fatalf("event %s was acknowledged and is there %d times", e.EventID, stored[e.EventID])
		}
	}
	if len(acknowledged) < 200 {
		t.Errorf("%d events were acknowledged, want at least 200", len(acknowledged))
	}
}
