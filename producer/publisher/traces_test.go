package publisher

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/kafkaclient"
)

// consume reads n records of topic events.
func consume(t *testing.T, servers string, n int) []*kafka.Message {
	t.Helper()
	consumer, err := kafka.NewConsumer(&kafka.ConfigMap{"bootstrap.servers": servers, "group.id": "test", "enable.auto.commit": false})
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	name := "events"
	var all []kafka.TopicPartition
	for p := range int32(3) {
		all = append(all, kafka.TopicPartition{Topic: &name, Partition: p, Offset: kafka.OffsetBeginning})
	}
	if err := consumer.Assign(all); err != nil {
		t.Fatal(err)
	}
	var messages []*kafka.Message
	for deadline := time.Now().Add(30 * time.Second); len(messages) < n; {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d records", len(messages), n)
		}
		if m, ok := consumer.Poll(100).(*kafka.Message); ok {
			messages = append(messages, m)
		}
	}
	return messages
}

func traceHeader(m *kafka.Message) string {
	for _, h := range m.Headers {
		if h.Key == schema.TraceHeader {
			return string(h.Value)
		}
	}
	return ""
}

func TestEachRecordCarriesItsOwnSpan(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(spans))
	c := cluster(t)
	p, _ := start(t, Config{Kafka: kafkaclient.Config{BootstrapServers: c.BootstrapServers()}, DeliveryTimeout: 10 * time.Second, Tracer: provider.Tracer("test")})
	const request = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	sent := records(2)
	for i := range sent {
		sent[i].TraceParent = request
	}
	for _, err := range publish(t, p, sent) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if sent[0].TraceParent != request {
		t.Error("the caller's record was changed")
	}
	want := map[string]bool{}
	for _, span := range spans.Ended() {
		if span.Name() != "send events" || span.SpanKind() != trace.SpanKindProducer || span.Parent().SpanID().String() != "b7ad6b7169203331" || span.Parent().TraceID().String() != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("span %s of kind %s below %v", span.Name(), span.SpanKind(), span.Parent())
		}
		attributes := attribute.NewSet(span.Attributes()...)
		for key, want := range map[attribute.Key]string{
			"messaging.system": "kafka", "messaging.operation.type": "send", "messaging.operation.name": "send", "messaging.destination.name": "events",
		} {
			if v, _ := attributes.Value(key); v.AsString() != want {
				t.Errorf("%s = %q, want %q", key, v.AsString(), want)
			}
		}
		want[fmt.Sprintf("00-%s-%s-01", span.SpanContext().TraceID(), span.SpanContext().SpanID())] = true
	}
	for _, m := range consume(t, c.BootstrapServers(), 2) {
		if header := traceHeader(m); !want[header] {
			t.Errorf("a record has traceparent %q, want one of %v", header, want)
		}
	}
}

func TestWithoutTracesTheRequestsContextGoesOn(t *testing.T) {
	c := cluster(t)
	p, _ := start(t, Config{Kafka: kafkaclient.Config{BootstrapServers: c.BootstrapServers()}, DeliveryTimeout: 10 * time.Second})
	sent := records(1)
	sent[0].TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	if err := publish(t, p, sent)[0]; err != nil {
		t.Fatal(err)
	}
	if got := traceHeader(consume(t, c.BootstrapServers(), 1)[0]); got != sent[0].TraceParent {
		t.Errorf("traceparent = %q", got)
	}
}

func TestARecordThatFailsIsAFailedSpan(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	p, _ := start(t, Config{
		Kafka: kafkaclient.Config{BootstrapServers: "127.0.0.1:1"}, DeliveryTimeout: 300 * time.Millisecond,
		Tracer: sdk.NewTracerProvider(sdk.WithSpanProcessor(spans)).Tracer("test"),
	})
	if err := publish(t, p, records(1))[0]; err == nil {
		t.Fatal("no error without a broker")
	}
	if ended := spans.Ended(); len(ended) != 1 || ended[0].Status().Code.String() != "Error" {
		t.Errorf("spans %v", ended)
	}
}

func TestMetrics(t *testing.T) {
	c := cluster(t)
	p, _ := start(t, Config{Kafka: kafkaclient.Config{BootstrapServers: c.BootstrapServers()}, DeliveryTimeout: 10 * time.Second})
	for _, err := range publish(t, p, records(5)) {
		if err != nil {
			t.Fatal(err)
		}
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(p)
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	value := func(name string) (v float64, found bool) {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			for _, m := range family.Metric {
				if family.GetName() == name {
					found = true
					v += m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
				}
			}
		}
		return v, found
	}
	if n, _ := value("bookstore_store_produce_duration_seconds"); n != 5 {
		t.Errorf("%v durations, want 5", n)
	}
	if n, found := value("bookstore_store_records_in_flight"); n != 0 || !found {
		t.Errorf("%v records are in flight", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for { // until librdkafka has told its statistics
		if rtt, found := value("bookstore_store_kafka_rtt_seconds"); found && rtt > 0 {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("no statistics of a broker")
		}
		time.Sleep(100 * time.Millisecond)
	}
}
