package publisher

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"example.com/bookstore/producer/internal/synclog"
	"example.com/bookstore/schema/kafkaclient"
)

// cluster starts librdkafka's own in-process broker with the topic "events".
func cluster(t *testing.T) *kafka.MockCluster {
	t.Helper()
	c, err := kafka.NewMockCluster(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.CreateTopic("events", 3, 1); err != nil {
		t.Fatal(err)
	}
	return c
}

func start(t *testing.T, cfg Config) (*Publisher, *synclog.Buffer) {
	t.Helper()
	log := new(synclog.Buffer)
	cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	cfg.Topic, cfg.Report = "events", report
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		p.Close(ctx)
	})
	return p, log
}

// report brings each report to the call, which is a function.
func report(reports []Report) {
	for _, r := range reports {
		r.Call.(func(int, error))(r.Index, r.Err)
	}
}

// publish sends records and waits for the report of each.
func publish(t *testing.T, p *Publisher, records []Record) []error {
	t.Helper()
	errs := make([]error, len(records))
	var reported sync.WaitGroup
	reported.Add(len(records))
	taken, err := p.Send(func(i int, err error) {
		errs[i] = err
		reported.Done()
	}, records)
	for i := taken; i < len(records); i++ {
		errs[i] = err
		reported.Done()
	}
	reported.Wait()
	return errs
}

func records(n int) []Record {
	out := make([]Record, n)
	for i := range out {
		out[i] = Record{Key: "visitor", Value: []byte("{}"), Time: time.Now()}
	}
	return out
}

// nowhere is an address where nothing listens: port 1 is reserved.
const nowhere = "127.0.0.1:1"

func TestSendAcknowledges(t *testing.T) {
	p, log := start(t, Config{Kafka: kafkaclient.Config{BootstrapServers: cluster(t).BootstrapServers()}, DeliveryTimeout: 10 * time.Second})
	for i, err := range publish(t, p, records(500)) {
		if err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
	}
	if n := p.Close(t.Context()); n != 0 {
		t.Errorf("Close gave up %d records, want 0", n)
	}
	if log.String() != "" {
		t.Errorf("a healthy run logged:\n%s", log)
	}
}

func TestSendNothing(t *testing.T) {
	p, _ := start(t, Config{Kafka: kafkaclient.Config{BootstrapServers: nowhere}, DeliveryTimeout: time.Second})
	if errs := publish(t, p, nil); len(errs) != 0 {
		t.Errorf("sending nothing = %v", errs)
	}
}

func TestSendWithoutBrokers(t *testing.T) {
	p, log := start(t, Config{Kafka: kafkaclient.Config{BootstrapServers: nowhere}, DeliveryTimeout: time.Second})
	errs := publish(t, p, records(2))
	for i, err := range errs {
		if !errors.Is(err, ErrNotDelivered) {
			t.Errorf("record %d: got %v, want ErrNotDelivered", i, err)
		}
	}
	if got := strings.Count(log.String(), "level=WARN"); got != 1 || strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("the log should tell once that no broker answers:\n%s", log)
	}
}

func TestSendQueueFull(t *testing.T) {
	p, _ := start(t, Config{Kafka: kafkaclient.Config{BootstrapServers: nowhere}, DeliveryTimeout: time.Second, QueueLimit: 3})
	errs := publish(t, p, records(5))
	for i, want := range []error{ErrNotDelivered, ErrNotDelivered, ErrNotDelivered, ErrQueueFull, ErrQueueFull} {
		if !errors.Is(errs[i], want) {
			t.Errorf("record %d: got %v, want %v", i, errs[i], want)
		}
	}
}

func TestSendAfterBrokersReturn(t *testing.T) {
	c := cluster(t)
	p, log := start(t, Config{Kafka: kafkaclient.Config{BootstrapServers: c.BootstrapServers()}, DeliveryTimeout: time.Minute})
	if err := publish(t, p, records(1))[0]; err != nil {
		t.Fatal(err)
	}
	if err := c.SetBrokerDown(1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the loss is logged", func() bool { return strings.Contains(log.String(), "no Kafka broker answers") })
	if err := c.SetBrokerUp(1); err != nil {
		t.Fatal(err)
	}
	if err := publish(t, p, records(1))[0]; err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "answer again") {
		t.Errorf("the log does not tell that the brokers answer again:\n%s", log)
	}
}

func TestClose(t *testing.T) {
	p, _ := start(t, Config{Kafka: kafkaclient.Config{BootstrapServers: nowhere}, DeliveryTimeout: time.Minute})
	published := make(chan error)
	go func() { published <- publish(t, p, records(1))[0] }()
	eventually(t, "the record is taken", func() bool { return p.inFlight.Load() == 1 })

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if n := p.Close(ctx); n != 1 {
		t.Errorf("Close gave up %d records, want 1", n)
	}
	if err := <-published; !errors.Is(err, ErrNotDelivered) {
		t.Errorf("the record given up is reported with %v, want ErrNotDelivered", err)
	}
	if err := publish(t, p, records(1))[0]; !errors.Is(err, ErrClosed) {
		t.Errorf("Send after Close: got %v, want ErrClosed", err)
	}
	if err := p.Ready(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Ready after Close: got %v, want ErrClosed", err)
	}
	if n := p.Close(t.Context()); n != 0 {
		t.Errorf("a second Close gave up %d records, want 0", n)
	}
}

func TestFatalError(t *testing.T) {
	p, _ := start(t, Config{Kafka: kafkaclient.Config{BootstrapServers: cluster(t).BootstrapServers()}, DeliveryTimeout: 10 * time.Second})
	p.producer.TestFatalError(kafka.ErrOutOfOrderSequenceNumber, "made by the test")
	select {
	case err := <-p.Fatal():
		if !errors.Is(err, ErrFatal) || !strings.Contains(err.Error(), "made by the test") {
			t.Errorf("Fatal yields %v, want ErrFatal with its cause", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Fatal yields nothing")
	}
	if err := publish(t, p, records(1))[0]; !errors.Is(err, ErrFatal) {
		t.Errorf("Send got %v, want ErrFatal", err)
	}
	if err := p.Ready(t.Context()); !errors.Is(err, ErrFatal) {
		t.Errorf("Ready got %v, want ErrFatal", err)
	}
}

func TestReadyRespectsContext(t *testing.T) {
	p, _ := start(t, Config{Kafka: kafkaclient.Config{BootstrapServers: nowhere}, DeliveryTimeout: time.Second})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := p.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want context.DeadlineExceeded", err)
	}
}

func TestRecordTooLarge(t *testing.T) {
	c := cluster(t)
	p, _ := start(t, Config{Kafka: kafkaclient.Config{BootstrapServers: c.BootstrapServers()}, DeliveryTimeout: 10 * time.Second})
	large := records(2)
	large[0].Value = make([]byte, 2_000_000)
	if err := publish(t, p, large)[0]; !errors.Is(err, ErrRefused) {
		t.Errorf("got %v, want ErrRefused", err)
	}
	if err := publish(t, p, records(1))[0]; err != nil {
		t.Errorf("the record after it: %v", err)
	}
}

func TestWithoutTimeoutRecordsWait(t *testing.T) {
	p, _ := start(t, Config{Kafka: kafkaclient.Config{BootstrapServers: nowhere}})
	published := make(chan error, 1)
	go func() { published <- publish(t, p, records(1))[0] }()
	select {
	case err := <-published:
		t.Errorf("reported with %v, want no report", err)
	case <-time.After(1500 * time.Millisecond): // librdkafka looks for time-outs each second
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.Close(ctx)
	if err := <-published; !errors.Is(err, ErrNotDelivered) {
		t.Errorf("reported with %v after Close, want ErrNotDelivered", err)
	}
}

func TestNewRefusesBadSettings(t *testing.T) {
	if _, err := New(Config{Kafka: kafkaclient.Config{BootstrapServers: nowhere}, DeliveryTimeout: -time.Second}); err == nil {
		t.Error("a negative time-out was taken")
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
