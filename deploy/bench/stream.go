package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/gocql/gocql"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"example.com/bookstore/deploy/bench/machine"
	"example.com/bookstore/deploy/stack/service"
	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/secret"
	"example.com/bookstore/sparkjob/job"
	"example.com/bookstore/sparkjob/stream"
)

// The contenders of cold and stream, and what is measured of them.
const (
	jobContender  = "the job's query of events"
	tutorialJob   = "tutorial: PySpark, foreachBatch"
	plainConsumer = "a plain Go consumer"
	inserts       = "gocql inserts from memory"

	inAll  = "rows/s in all"
	warm   = "rows/s after that"
	cold   = "first micro-batch"
	byCore = "rows/s per core"
)

// streamRows are what waits in Kafka at the beginning.
const streamRows = 300_000

// What comes before the first run that counts, until most is compiled.
const (
	warmInserts   = 2 // runs
	warmRows      = 1_500_000
	quickWarmRows = 200_000
)

// As `task submit` has them by default; the tutorial gets micro-batches of the same size.
const (
	maxOffsets         = 50_000
	maxOffsetsWindowed = 1_000_000
	shufflePartitions  = 2
)

// coldContenders come as applications that have run nothing yet. That of the tutorial, which
// takes a minute, has one round.
var coldContenders = []contender{
	{name: jobContender, rounds: 2, round: coldJobRound},
	{name: tutorialJob, rounds: 1, round: func(ctx context.Context, r *round) error {
		return r.coldRound(ctx, func(ctx context.Context) (catchUp, error) { return r.runTutorial(ctx, r.stream.tutorialTopic) })
	}},
}

// streamContenders have run for a while. Those of scale come with them, since they need
// the same.
var streamContenders = append([]contender{
	{name: jobContender, quick: true, round: func(ctx context.Context, r *round) error {
		return r.streamRound(ctx, r.stream.rows, r.theQuery(r.stream.topic, r.stream.rows))
	}},
	{name: plainConsumer, rounds: 1, round: func(ctx context.Context, r *round) error {
		return r.streamRound(ctx, r.stream.rows, func(ctx context.Context) (catchUp, error) { return r.consume(ctx, r.stream.topic, r.stream.rows) })
	}},
	{name: inserts, quick: true, round: func(ctx context.Context, r *round) error {
		return r.streamRound(ctx, r.stream.rows, func(ctx context.Context) (catchUp, error) { return r.insertFromMemory(ctx, r.stream.rows) })
	}},
}, scaleContenders...)

// streamState is what prepareStream has made.
type streamState struct {
	rows                 int
	topic, tutorialTopic string
	stack, sparkjob      string // the programs
	python               string
	session              *gocql.Session
	sparkSession         string // its id: the same for all runs, since executors compile a query anew for each
	cassandraWarm        bool
	used                 bool            // Spark's application has run something already
	preloaded            map[string]bool // topics that are filled
}

// onTables are the settings of what writes to Cassandra.
type onTables struct {
	CassandraHosts       []string      `env:"CASSANDRA_HOSTS" default:"127.0.0.1"`
	CassandraPort        int           `env:"CASSANDRA_PORT" default:"9042"`
	CassandraDatacenter  string        `env:"CASSANDRA_DATACENTER" default:"datacenter1"`
	CassandraJobPassword secret.String `env:"CASSANDRA_JOB_PASSWORD"`
	SparkRemote          string        `env:"SPARK_REMOTE"`
	StoreURL             string        `env:"STORE_URL"`
	MetricsAddr          string        `env:"SPARKJOB_METRICS_ADDR"`
}

// database is Cassandra as the job's role.
func (c onTables) database() cassandra.Config {
	return cassandra.Config{
		Hosts: c.CassandraHosts, Port: c.CassandraPort, Datacenter: c.CassandraDatacenter,
		User: cassandra.JobUser, Password: c.CassandraJobPassword, Keyspace: cassandra.Keyspace, Timeout: time.Minute,
	}
}

// prepareCold writes the events that wait, once into the partitions of a topic as the
// stack has them and once into the tutorial's one.
func prepareCold(ctx context.Context, b *bench) (err error) {
	if err := prepareTables(ctx, b); err != nil {
		return err
	}
	s := &b.stream
	if s.python, err = b.python(ctx); err != nil {
		return err
	}
	if s.topic, err = b.filledTopic(ctx, s.rows, b.KafkaPartitions); err != nil {
		return err
	}
	if err := b.warmUpCassandra(ctx); err != nil {
		return err
	}
	s.tutorialTopic, err = b.filledTopic(ctx, s.rows, 1)
	return err
}

// prepareStream has run for a while whatever is compared, so that whoever comes first has
// no disadvantage.
func prepareStream(ctx context.Context, b *bench) error {
	if err := prepareTables(ctx, b); err != nil {
		return err
	}
	if b.Quick {
		return b.warmUp(ctx, quickWarmRows, quickWarmRows)
	}
	return b.warmUp(ctx, warmRows, tenfoldRows)
}

// warmUp has Cassandra and the job's query run until most of it is compiled. The query reads
// rows of a topic that has at least as many.
func (b *bench) warmUp(ctx context.Context, rows, inTopic int) (err error) {
	s := &b.stream
	if s.topic, err = b.filledTopic(ctx, s.rows, b.KafkaPartitions); err != nil {
		return err
	}
	if err := b.warmUpCassandra(ctx); err != nil {
		return err
	}
	topic, err := b.filledTopic(ctx, inTopic, b.KafkaPartitions)
	if err != nil {
		return err
	}
	b.say("warming up the job's query with %d rows", rows)
	if err := b.emptyTable(ctx); err != nil {
		return err
	}
	_, err = b.theQuery(topic, rows)(ctx)
	return err
}

// warmUpCassandra inserts rows until Cassandra has compiled most of what that takes.
func (b *bench) warmUpCassandra(ctx context.Context) error {
	if b.stream.cassandraWarm {
		return nil
	}
	b.say("warming up Cassandra")
	for range warmInserts {
		if _, err := b.insertFromMemory(ctx, b.stream.rows); err != nil {
			return err
		}
	}
	b.stream.cassandraWarm = true
	return nil
}

// prepareTables is for whoever fills the table of events.
func prepareTables(ctx context.Context, b *bench) (err error) {
	b.stream.rows = streamRows
	if b.Quick {
		b.stream.rows = streamRows / 3
	}
	if b.stream.stack, err = b.build(ctx, "./deploy/stack"); err != nil {
		return err
	}
	return b.openTables(ctx)
}

// filledTopic makes a topic with so many events, unless it is there.
func (b *bench) filledTopic(ctx context.Context, rows, partitions int) (string, error) {
	topic := fmt.Sprintf("bench_%d_in_%d", rows, partitions)
	if b.stream.preloaded[topic] {
		return topic, nil
	}
	if err := b.preload(ctx, topic, partitions, rows); err != nil {
		return "", err
	}
	if b.stream.preloaded == nil {
		b.stream.preloaded = map[string]bool{}
	}
	b.stream.preloaded[topic] = true
	return topic, nil
}

// openTables connects to Cassandra.
func (b *bench) openTables(ctx context.Context) (err error) {
	if b.stream.session, err = b.database().Connect(ctx); err != nil {
		return err
	}
	b.cleanup(func() error { b.stream.session.Close(); return nil })
	b.stream.sparkSession = uuid.NewString()
	return nil
}

// event is the nth of those that wait.
func event(n int, at time.Time) schema.Event {
	types := schema.EventTypes()
	return schema.Event{
		EventID: schema.NewEventID(), EventType: types[n%len(types)], EventTime: at,
		UserID: "visitor-" + strconv.Itoa(n%10_000), BookID: "book-" + strconv.Itoa(n%100),
	}
}

// preload writes so many events to a new topic.
func (b *bench) preload(ctx context.Context, topic string, partitions, rows int) error {
	if err := b.makeTopic(ctx, topic, partitions); err != nil {
		return err
	}
	b.say("writing %d events to %d partitions of topic %s", rows, partitions, topic)
	producer, err := kafka.NewProducer(b.Kafka.ConfigMap(kafka.ConfigMap{"acks": "all", "linger.ms": 20, "compression.type": "lz4"}))
	if err != nil {
		return err
	}
	defer producer.Close()
	reports := make(chan error, 1)
	go func() {
		var failure error
		for range rows {
			if m, ok := (<-producer.Events()).(*kafka.Message); ok && m.TopicPartition.Error != nil {
				failure = m.TopicPartition.Error
			}
		}
		reports <- failure
	}()
	for n := range rows {
		e := event(n, time.Now())
		value, err := json.Marshal(e)
		if err != nil {
			return err
		}
		m := &kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: kafka.PartitionAny}, Key: []byte(e.UserID), Value: value}
		for {
			err := producer.Produce(m, nil)
			var full kafka.Error
			if errors.As(err, &full) && full.Code() == kafka.ErrQueueFull && ctx.Err() == nil {
				producer.Flush(100) // which is no more than waiting
				continue
			}
			if err != nil {
				return fmt.Errorf("writing to topic %s: %w", topic, err)
			}
			break
		}
	}
	select {
	case err := <-reports:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// catchUp is how something came through what waited.
type catchUp struct {
	took  time.Duration // from its start to the last row
	first time.Duration // to the end of the first micro-batch; zero if it has none
	warm  float64       // rows a second after that
	rows  int
	busy  time.Duration // of all cores of the machine meanwhile
}

func (c catchUp) perSecond() float64 { return float64(c.rows) / c.took.Seconds() }

func (c catchUp) perCore() float64 { return float64(c.rows) / c.busy.Seconds() }

// coldJobRound runs the job's query in an application that has just been started, as for
// somebody who has just brought the stack up.
func coldJobRound(ctx context.Context, r *round) error {
	if r.stream.used {
		if err := r.restart(ctx, service.SparkConnect); err != nil { // and its executors with it
			return err
		}
	}
	r.stream.used = true
	return r.coldRound(ctx, r.theQuery(r.stream.topic, r.stream.rows))
}

// restartSpark starts the worker and the application anew, with other settings than before.
func (b *bench) restartSpark(ctx context.Context, settings map[string]string) error {
	for variable, value := range settings {
		if err := os.Setenv(variable, value); err != nil {
			return err
		}
	}
	return b.restart(ctx, service.SparkWorker, service.SparkConnect)
}

func (r *round) coldRound(ctx context.Context, fill func(context.Context) (catchUp, error)) error {
	c, err := r.fillTable(ctx, r.stream.rows, fill)
	if err != nil {
		return err
	}
	return errors.Join(r.add(inAll, "/s", c.perSecond()), r.add(cold, "s", c.first.Seconds()), r.add(warm, "/s", c.warm), r.add(byCore, "/s", c.perCore()))
}

func (r *round) streamRound(ctx context.Context, rows int, fill func(context.Context) (catchUp, error)) error {
	c, err := r.fillTable(ctx, rows, fill)
	if err != nil {
		return err
	}
	return errors.Join(r.add(inAll, "/s", c.perSecond()), r.add(byCore, "/s", c.perCore()))
}

// fillTable empties the table, has it filled, and counts what is there.
func (b *bench) fillTable(ctx context.Context, rows int, fill func(context.Context) (catchUp, error)) (catchUp, error) {
	if err := b.emptyTable(ctx); err != nil {
		return catchUp{}, err
	}
	before, err := machine.Busy(ctx)
	if err != nil {
		return catchUp{}, err
	}
	c, err := fill(ctx)
	if err != nil {
		return catchUp{}, err
	}
	after, err := machine.Busy(ctx)
	if err != nil {
		return catchUp{}, err
	}
	if n, err := countEvents(ctx, b.stream.session); err != nil || n != rows {
		return catchUp{}, errors.Join(fmt.Errorf("the table has %d rows, not %d", n, rows), err)
	}
	c.rows, c.busy = rows, after-before
	return c, nil
}

func (b *bench) emptyTable(ctx context.Context) error {
	if err := b.stream.session.Query("TRUNCATE events").WithContext(ctx).Exec(); err != nil {
		return fmt.Errorf("emptying the table: %w", err)
	}
	return nil
}

// countEvents counts the rows of events, part by part of the ring, and several at once.
func countEvents(ctx context.Context, session *gocql.Session) (int, error) {
	const parts, atOnce = 64, 4
	const step = math.MaxUint64/parts + 1
	var rows atomic.Int64
	counting, ctx := errgroup.WithContext(ctx)
	counting.SetLimit(atOnce)
	for i := range parts {
		counting.Go(func() error {
			from := int64(math.MinInt64 + i*step)
			var n int64
			query := session.Query("SELECT count(*) FROM events WHERE token(event_id) >= ? AND token(event_id) <= ?", from, from+(step-1))
			if err := query.WithContext(ctx).Scan(&n); err != nil {
				return fmt.Errorf("counting the rows: %w", err)
			}
			rows.Add(n)
			return nil
		})
	}
	err := counting.Wait()
	return int(rows.Load()), err
}

// jobConfig is what the job has by default, with checkpoints of its own.
func (b *bench) jobConfig(topic string) job.Config {
	return job.Config{
		Kafka: b.Kafka, Topic: topic, ActivityTopic: schema.ActivityTopicOf(topic), Cassandra: b.database(),
		CheckpointLocation:   "file://" + filepath.Join(b.folder, "checkpoints", uuid.NewString()),
		MaxOffsetsPerTrigger: maxOffsets, MaxOffsetsPerWindowed: maxOffsetsWindowed, ShufflePartitions: shufflePartitions,
	}
}

// theQuery runs the job's query of events, with its settings, over a topic.
func (b *bench) theQuery(topic string, rows int) func(context.Context) (catchUp, error) {
	return func(ctx context.Context) (catchUp, error) { return b.runQuery(ctx, b.jobConfig(topic), rows) }
}

// runQuery has Spark run the job's query of events until all rows are through.
func (b *bench) runQuery(ctx context.Context, config job.Config, rows int) (catchUp, error) {
	session, err := stream.Connect(ctx, strings.TrimSuffix(b.SparkRemote, "/")+"/;user_id=bench;session_id="+b.stream.sparkSession)
	if err != nil {
		return catchUp{}, err
	}
	defer session.Close()
	if err := job.Prepare(ctx, session, config); err != nil {
		return catchUp{}, err
	}
	began := time.Now()
	query, err := job.Start(ctx, session, config, "events")
	if err != nil {
		return catchUp{}, err
	}
	var batches []*stream.Progress
	var seen int64
	for p, err := range query.Progress(ctx) {
		if err != nil {
			return catchUp{}, err
		}
		batches = append(batches, p)
		if seen += p.NumInputRows(); seen >= int64(rows) {
			break
		}
	}
	if err := query.Stop(ctx); err != nil {
		return catchUp{}, err
	}
	return ofBatches(began, batches)
}

// ofBatches says how a query came through, from its reports.
func ofBatches(began time.Time, batches []*stream.Progress) (catchUp, error) {
	batches = slices.DeleteFunc(slices.Clone(batches), func(p *stream.Progress) bool { return p.NumInputRows() == 0 })
	if len(batches) < 2 {
		return catchUp{}, fmt.Errorf("%d micro-batches with rows are too few to tell a warm one", len(batches))
	}
	end := func(p *stream.Progress) time.Time { return p.Timestamp.Add(p.Durations["triggerExecution"]) }
	first, last := end(batches[0]), end(batches[len(batches)-1])
	var rows int64
	for _, p := range batches[1:] {
		rows += p.NumInputRows()
	}
	return catchUp{took: last.Sub(began), first: first.Sub(began), warm: float64(rows) / last.Sub(first).Seconds()}, nil
}

// runTutorial runs the tutorial's job as an application of its own, which needs the cores
// that ours has: so ours makes room meanwhile.
func (b *bench) runTutorial(ctx context.Context, topic string) (c catchUp, err error) {
	if err := b.stackCommand(ctx, "stop", service.SparkConnect); err != nil {
		return c, err
	}
	defer func() {
		err = errors.Join(err, b.stackCommand(ctx, "start", service.SparkConnect))
		b.stream.used = false
	}()
	jars, err := filepath.Abs(".stack/jars/spark")
	if err != nil {
		return c, err
	}
	cmd := exec.CommandContext(ctx, b.stream.python, filepath.Join(tutorial, "job.py"))
	cmd.Env = slices.DeleteFunc(append(os.Environ(),
		"KAFKA_TOPIC="+topic, "CHECKPOINT_LOCATION=file://"+filepath.Join(b.folder, "checkpoints", uuid.NewString()),
		"MAX_OFFSETS_PER_TRIGGER="+strconv.Itoa(maxOffsets),
		// The workers have the jars of Kafka and Cassandra already.
		"PYSPARK_SUBMIT_ARGS=--driver-class-path "+filepath.Join(jars, "*")+" pyspark-shell",
		"PYSPARK_PYTHON="+b.stream.python),
		func(pair string) bool { return strings.HasPrefix(pair, "SPARK_REMOTE=") }) // with which it would be a client
	log, err := os.Create(filepath.Join(b.folder, "tutorial-job.log"))
	if err != nil {
		return c, err
	}
	defer log.Close()
	cmd.Stderr = log
	out, err := cmd.Output()
	if err != nil {
		return c, fmt.Errorf("the tutorial's job: %w; see %s", err, log.Name())
	}
	var printed struct {
		Started  float64            `json:"started"`
		Progress []*stream.Progress `json:"progress"`
	}
	if err := json.Unmarshal(out, &printed); err != nil {
		return c, fmt.Errorf("reading what the tutorial's job prints: %w\n%s", err, out)
	}
	return ofBatches(time.UnixMicro(int64(printed.Started*1e6)), printed.Progress)
}

// startService starts a service of the stack that the group alone needs.
func (b *bench) startService(ctx context.Context, name string) error {
	if err := b.stackCommand(ctx, "start", name); err != nil {
		return err
	}
	b.cleanup(func() error { return b.stackCommand(context.WithoutCancel(ctx), "stop", name) })
	return nil
}

// restart stops services of the stack, the last first, and starts them again.
func (b *bench) restart(ctx context.Context, names ...string) error {
	for _, name := range slices.Backward(names) {
		if err := b.stackCommand(ctx, "stop", name); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := b.stackCommand(ctx, "start", name); err != nil {
			return err
		}
	}
	return nil
}

// stackCommand runs a command of the stack.
func (b *bench) stackCommand(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, b.stream.stack, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("stack %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
