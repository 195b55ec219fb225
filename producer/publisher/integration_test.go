//go:build integration

package publisher

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"example.com/bookstore/producer/internal/testtopic"
	"example.com/bookstore/schema"
	"example.com/bookstore/schema/kafkaclient"
	"example.com/bookstore/schema/topic"
)

func readAll(t *testing.T, servers, name string, n int) []*kafka.Message {
	t.Helper()
	consumer, err := kafka.NewConsumer(&kafka.ConfigMap{
		"bootstrap.servers": servers, "group.id": name, "auto.offset.reset": "earliest", "enable.auto.commit": false,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := consumer.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := consumer.Subscribe(name, nil); err != nil {
		t.Fatal(err)
	}
	var messages []*kafka.Message
	for deadline := time.Now().Add(30 * time.Second); len(messages) < n; {
		if time.Now().After(deadline) {
			t.Fatalf("read %d records, want %d", len(messages), n)
		}
		if m, err := consumer.ReadMessage(time.Second); err == nil {
			messages = append(messages, m)
		}
	}
	return messages
}

func TestRecordsOnTheTopic(t *testing.T) {
	servers, name, create := testtopic.Name(t)
	create()
	p, err := New(Config{Report: report, Kafka: kafkaclient.Config{BootstrapServers: servers}, Topic: name, DeliveryTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Ready(t.Context()); err != nil {
		t.Fatalf("Ready: %v", err)
	}
	const visitors, each = 5, 20
	at := time.Now().Truncate(time.Millisecond)
	var sent []Record
	for i := range each {
		for v := range visitors {
			sent = append(sent, Record{
				Key: fmt.Sprint("visitor-", v), Value: fmt.Appendf(nil, "%d", i), Time: at,
				TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
			})
		}
	}
	for i, err := range publish(t, p, sent) {
		if err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
	}
	if n := p.Close(t.Context()); n != 0 {
		t.Errorf("Close gave up %d records", n)
	}

	next := map[string]int{}
	for _, m := range readAll(t, servers, name, len(sent)) {
		key := string(m.Key)
		if got, want := string(m.Value), fmt.Sprint(next[key]); got != want {
			t.Fatalf("%s: read value %s, want %s next", key, got, want)
		}
		next[key]++
		if !m.Timestamp.Equal(at) || m.TimestampType != kafka.TimestampCreateTime {
			t.Errorf("timestamp = %v %v, want %v of the producer", m.Timestamp, m.TimestampType, at)
		}
		headers := map[string]string{}
		for _, h := range m.Headers {
			headers[h.Key] = string(h.Value)
		}
		if headers[schema.VersionHeader] != schema.Version || headers[schema.TraceHeader] != sent[0].TraceParent || len(headers) != 2 {
			t.Errorf("headers = %v", headers)
		}
	}
	if len(next) != visitors {
		t.Errorf("read the keys %v, want %d", next, visitors)
	}
}

func TestMissingTopic(t *testing.T) {
	servers, name, create := testtopic.Name(t)
	p, err := New(Config{Report: report, Kafka: kafkaclient.Config{BootstrapServers: servers}, Topic: name, DeliveryTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(t.Context())
	if err := p.Ready(t.Context()); !errors.Is(err, topic.ErrNotFound) || !strings.Contains(err.Error(), "sparkjob setup") {
		t.Errorf("Ready = %v, want ErrNotFound and what to run", err)
	}
	if err := publish(t, p, records(1))[0]; !errors.Is(err, ErrNotDelivered) {
		t.Errorf("Send = %v, want ErrNotDelivered", err)
	}

	create()
	eventually(t, "Ready sees the new topic", func() bool { return p.Ready(t.Context()) == nil })
	eventually(t, "the new topic takes records", func() bool { return publish(t, p, records(1))[0] == nil })
}

func TestReadyWithoutBrokers(t *testing.T) {
	p, err := New(Config{Report: report, Kafka: kafkaclient.Config{BootstrapServers: nowhere}, Topic: "events", DeliveryTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(t.Context())
	if err := p.Ready(t.Context()); !errors.Is(err, topic.ErrUnreachable) || !strings.Contains(err.Error(), "KAFKA_BOOTSTRAP_SERVERS") {
		t.Errorf("Ready = %v, want ErrUnreachable and what to correct", err)
	}
}
