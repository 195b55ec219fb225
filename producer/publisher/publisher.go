// Package publisher writes events to Kafka. It stands between the store's delivery
// and the topic, and keeps the promise on which the rest of the path relies: an
// event that it reports as acknowledged is on the brokers' disks, once, in the
// order in which its visitor's events came.
package publisher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"go.opentelemetry.io/otel/trace"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/kafkaclient"
	"example.com/bookstore/schema/topic"
)

var (
	// ErrQueueFull is back pressure: too many events already wait for the
	// brokers. The event was not taken; try again a little later.
	ErrQueueFull = errors.New("too many events wait for the brokers already")

	// ErrNotDelivered says that the brokers did not acknowledge the event in
	// time. It may still have been stored, so send it again with the same id.
	ErrNotDelivered = errors.New("the brokers did not acknowledge the event")

	// ErrRefused says that the brokers do not want this event, such as one that is
	// larger than the topic allows. To send it again is in vain.
	ErrRefused = errors.New("the brokers refuse the event")

	// ErrFatal says that this Publisher cannot write any more; see Fatal.
	ErrFatal = errors.New("the Kafka producer has ended with a fatal error")

	// ErrClosed says that Close was called before the event was taken.
	ErrClosed = errors.New("the publisher is closed")
)

// Config says where and how a Publisher writes.
type Config struct {
	Kafka           kafkaclient.Config
	Topic           string        // must exist; brokers do not create it
	DeliveryTimeout time.Duration // longest wait for an acknowledgement, retries included; none if zero
	QueueLimit      int           // most records that wait for the brokers; 100,000 if zero
	// Report gets what the brokers say of the records that Send has taken, all that has
	// come together at once. It runs on a goroutine of the Publisher's, must return at
	// once, and must not keep the slice.
	Report func([]Report)
	Logger *slog.Logger // slog.Default() if nil
	Tracer trace.Tracer // makes a span for each record; nil for none
}

const (
	// linger is how long a record waits for others to share its request. It multiplies the
	// throughput of many clients, but each of them waits for its answer: 1 ms gives 50 % more
	// than 2 to 16 of them, 6 % to 64, and takes 8 % from 256.
	linger = time.Millisecond

	readyTimeout = 3 * time.Second // to ask the brokers about the topic
	readyFresh   = 2 * time.Second // for which an answer is given again
)

// Record is one event on its way to the topic.
type Record struct {
	Key         string    // the visitor; records of one key keep their order
	Value       []byte    // the event as JSON
	Time        time.Time // of receipt
	TraceParent string    // W3C trace context of the request; no header if empty. A Tracer's own takes its place
	Type        string    // of the event
}

// Report is what the brokers say of one record.
type Report struct {
	Call  any   // what Send was given with it
	Index int   // of the record among those of the call
	Err   error // nil once the brokers have acknowledged it, else ErrNotDelivered, ErrRefused or ErrFatal
}

// Publisher is an idempotent producer for one topic. Its methods may be called
// from any number of goroutines. It is a prometheus.Collector of its own metrics.
type Publisher struct {
	topic     string
	producer  *kafka.Producer
	admin     *topic.Admin
	report    func([]Report)
	logger    *slog.Logger
	tracer    trace.Tracer // nil for none
	metrics   *metrics
	fatal     chan error
	watching  sync.WaitGroup
	reachable atomic.Bool
	inFlight  atomic.Int64 // records taken that have no report yet

	closing sync.RWMutex // held for reading while records are handed over
	closed  bool

	asking chan struct{} // holds a token while nobody asks the brokers
	asked  time.Time
	answer error
}

// New returns a Publisher. It does not wait for the brokers: they may come later,
// and Ready says whether they are there.
func New(cfg Config) (*Publisher, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.QueueLimit == 0 {
		cfg.QueueLimit = 100_000
	}
	producer, err := kafka.NewProducer(cfg.Kafka.ConfigMap(kafka.ConfigMap{
		"client.id":                    "bookstore-store",
		"enable.idempotence":           true,
		"acks":                         "all",
		"compression.type":             "lz4",
		"linger.ms":                    int(linger.Milliseconds()),
		"delivery.timeout.ms":          int(cfg.DeliveryTimeout.Milliseconds()),
		"queue.buffering.max.messages": cfg.QueueLimit,
		// After a restart of the broker a visitor should not wait for the
		// default of up to ten seconds between two attempts to connect.
		"reconnect.backoff.max.ms":  1000,
		"go.delivery.report.fields": "none", // a report's error is all that is read
		"go.logs.channel.enable":    true,
		"go.events.channel.size":    1000,
		"go.produce.channel.size":   0, // unused
		"log.connection.close":      false,
		// A topic that is not there is said to be so well before the delivery
		// times out, and is found soon after it was created.
		"topic.metadata.propagation.max.ms":  2000,
		"topic.metadata.refresh.interval.ms": 10_000,
		"statistics.interval.ms":             statisticsInterval,
	}))
	if err != nil {
		return nil, fmt.Errorf("creating a Kafka producer for %s: %w", cfg.Kafka.BootstrapServers, err)
	}
	admin, err := topic.NewAdmin(cfg.Kafka, readyTimeout)
	if err != nil {
		producer.Close()
		return nil, err
	}
	p := &Publisher{
		topic: cfg.Topic, producer: producer, admin: admin, report: cfg.Report, logger: cfg.Logger, tracer: cfg.Tracer, metrics: newMetrics(),
		fatal: make(chan error, 1), asking: make(chan struct{}, 1),
	}
	p.reachable.Store(true) // until shown otherwise, so that the first loss is told
	p.asking <- struct{}{}
	p.watching.Go(p.watchEvents)
	p.watching.Go(p.watchLogs)
	return p, nil
}

// Send hands records to the producer in their order, up to one that it does not take,
// and returns how many it has taken and why not the next: to take a later one would
// break the order of its visitor's events. errors.Is tells ErrQueueFull, ErrFatal,
// ErrClosed and ErrNotDelivered.
//
// Config.Report gets one Report, with the call, for each record that was taken.
func (p *Publisher) Send(call any, records []Record) (taken int, err error) {
	p.closing.RLock()
	defer p.closing.RUnlock()
	if p.closed {
		return 0, ErrClosed
	}
	// One message for all, since Produce copies what it takes.
	m := kafka.Message{
		TopicPartition: kafka.TopicPartition{Topic: &p.topic, Partition: kafka.PartitionAny},
		Key:            make([]byte, 0, schema.MaxIDLength), Headers: untraced,
	}
	parent := ""
	deliveries := make([]delivery, len(records))
	now := time.Now()
	for i, r := range records {
		p.inFlight.Add(1)
		d := &deliveries[i]
		*d = delivery{call: call, index: i, taken: now}
		if p.tracer != nil {
			r.TraceParent, d.span = p.begin(r)
		}
		if r.TraceParent != parent { // else those of the record before
			m.Headers, parent = headersOf(r.TraceParent), r.TraceParent
		}
		m.Key, m.Value, m.Timestamp, m.Opaque = append(m.Key[:0], r.Key...), r.Value, r.Time, d
		if err := outcome(p.producer.Produce(&m, nil)); err != nil {
			p.inFlight.Add(-1)
			finish(d.span, err)
			return i, err
		}
	}
	return len(records), nil
}

// delivery is what is kept of a record until it is reported.
type delivery struct {
	call  any
	index int
	taken time.Time
	span  trace.Span // nil for none
}

// untraced are the headers of a record that belongs to no trace.
var untraced = []kafka.Header{{Key: schema.VersionHeader, Value: []byte(schema.Version)}}

// headersOf are those of a record of a trace, or of none if traceParent is empty.
func headersOf(traceParent string) []kafka.Header {
	if traceParent == "" {
		return untraced
	}
	return append(slices.Clip(untraced), kafka.Header{Key: schema.TraceHeader, Value: []byte(traceParent)})
}

// refusals are the errors that concern one record and its content.
var refusals = []kafka.ErrorCode{kafka.ErrMsgSizeTooLarge, kafka.ErrInvalidRecord, kafka.ErrInvalidMsg, kafka.ErrInvalidTimestamp}

// outcome turns what librdkafka says of one record into what a caller tells apart.
func outcome(err error) error {
	if err == nil {
		return nil
	}
	var kafkaErr kafka.Error
	if errors.As(err, &kafkaErr) {
		switch {
		case kafkaErr.Code() == kafka.ErrQueueFull:
			return ErrQueueFull
		case kafkaErr.IsFatal() || kafkaErr.Code() == kafka.ErrFatal:
			return fmt.Errorf("%w: %w", ErrFatal, err)
		case slices.Contains(refusals, kafkaErr.Code()):
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
	}
	return fmt.Errorf("%w: %w", ErrNotDelivered, err)
}

// Fatal yields the error after which this Publisher cannot write any more, such
// as one that would break the order or lose a record silently. A new Publisher must
// then take its place.
func (p *Publisher) Fatal() <-chan error { return p.fatal }

// Ready returns nil if the brokers answer and the topic exists, else what is
// wrong and what to do. It asks the brokers at most once every two seconds.
func (p *Publisher) Ready(ctx context.Context) error {
	select {
	case <-p.asking:
		defer func() { p.asking <- struct{}{} }()
	case <-ctx.Done():
		return fmt.Errorf("asking the brokers about topic %s: %w", p.topic, context.Cause(ctx))
	}
	if err := p.usable(); err != nil {
		return err
	}
	if time.Since(p.asked) < readyFresh {
		return p.answer
	}
	_, err := p.admin.Partitions(ctx, p.topic)
	if ctx.Err() != nil { // the caller's patience ended, which says nothing of the brokers
		return fmt.Errorf("asking the brokers about topic %s: %w", p.topic, context.Cause(ctx))
	}
	switch {
	case errors.Is(err, topic.ErrNotFound):
		err = fmt.Errorf("%w; `go run ./sparkjob setup` creates it", err)
	case errors.Is(err, topic.ErrUnreachable):
		err = fmt.Errorf("%w; start Kafka or correct KAFKA_BOOTSTRAP_SERVERS", err)
	}
	p.asked, p.answer = time.Now(), err
	return err
}

func (p *Publisher) usable() error {
	p.closing.RLock()
	defer p.closing.RUnlock()
	if p.closed {
		return ErrClosed
	}
	if err := p.producer.GetFatalError(); err != nil {
		return fmt.Errorf("%w: %w", ErrFatal, err)
	}
	return nil
}

// Close waits until every record that was taken is acknowledged or refused, at
// most until ctx ends, and returns how many were given up then. Each of them gets its
// report, too, and is not sent any more. A second call returns 0.
func (p *Publisher) Close(ctx context.Context) (undelivered int) {
	p.closing.Lock()
	if p.closed {
		p.closing.Unlock()
		return 0
	}
	p.closed = true
	p.closing.Unlock()

	// In short steps, since Flush knows no context.
	const step = 50 * time.Millisecond
	for p.inFlight.Load() > 0 && ctx.Err() == nil {
		p.producer.Flush(int(step.Milliseconds()))
	}
	if undelivered = int(p.inFlight.Load()); undelivered > 0 {
		// Each record given up gets its report.
		if err := p.producer.Purge(kafka.PurgeQueue | kafka.PurgeInFlight); err != nil {
			p.logger.Warn("giving up undelivered events", "error", err)
		}
		p.producer.Flush(int(time.Second.Milliseconds()))
	}
	p.producer.Close()
	p.watching.Wait()
	<-p.asking // no Ready is under way, and later ones find the publisher closed
	p.admin.Close()
	p.asking <- struct{}{}
	return undelivered
}

// watchEvents hands the reports on, and drains what concerns the producer as a whole.
func (p *Publisher) watchEvents() {
	var reports []Report
	events := p.producer.Events()
	for event := range events {
		now := time.Now()
		reports = p.read(event, now, reports[:0])
		for range len(events) { // what has come meanwhile
			reports = p.read(<-events, now, reports)
		}
		if len(reports) > 0 {
			p.inFlight.Add(-int64(len(reports))) // before whoever waits for a report looks at it
			p.report(reports)
			clear(reports) // for the garbage collector
		}
	}
}

// read adds the report that an event of the producer is, if it is one.
func (p *Publisher) read(event kafka.Event, now time.Time, reports []Report) []Report {
	switch e := event.(type) {
	case *kafka.Message:
		d := e.Opaque.(*delivery)
		err := outcome(e.TopicPartition.Error)
		if err == nil && p.reachable.CompareAndSwap(false, true) {
			p.logger.Info("the Kafka brokers answer again")
		}
		duration := p.metrics.acknowledged
		if err != nil {
			duration = p.metrics.failed
		}
		duration.Observe(now.Sub(d.taken).Seconds())
		finish(d.span, err)
		return append(reports, Report{Call: d.call, Index: d.index, Err: err})
	case kafka.Error:
		p.watchError(e)
	case *kafka.Stats:
		if err := p.metrics.read(e.String()); err != nil {
			p.logger.Debug("reading librdkafka's statistics", "error", err)
		}
	}
	return reports
}

// watchError tells what a person must know. librdkafka recovers by itself from all
// errors but the fatal ones, and each record has a report of its own.
func (p *Publisher) watchError(err kafka.Error) {
	switch {
	case err.IsFatal():
		select {
		case p.fatal <- fmt.Errorf("%w: %w", ErrFatal, err):
		default: // the first is the cause
		}
	case err.Code() == kafka.ErrAllBrokersDown:
		if p.reachable.CompareAndSwap(true, false) {
			p.logger.Warn("no Kafka broker answers")
		}
	default:
		p.logger.Debug("Kafka producer", "error", err)
	}
}

// watchLogs carries librdkafka's own log to ours. What concerns the connections
// is told by watchEvents, once, so it is kept for debugging.
func (p *Publisher) watchLogs() {
	for line := range p.producer.Logs() {
		level := slog.LevelDebug
		switch {
		case slices.Contains([]string{"FAIL", "ERROR", "GETPID", "METADATAUPDATE"}, line.Tag):
		case line.Level <= 3: // syslog's error and worse
			level = slog.LevelError
		case line.Level == 4:
			level = slog.LevelWarn
		}
		p.logger.Log(context.Background(), level, "Kafka producer", "tag", line.Tag, "detail", line.Message)
	}
}
