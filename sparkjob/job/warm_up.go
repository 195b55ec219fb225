package job

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/apache/spark-connect-go/spark/sql"

	"example.com/bookstore/sparkjob/stream"
)

//go:embed warm_up.sql
var warmUp string

// WarmUpTopic is the Kafka topic of the made-up events that Spark practises on.
const WarmUpTopic = "bookstore_warm_up"

const (
	// warmUpRows are enough for the executors to compile the most of what each row goes
	// through, and take some seconds.
	warmUpRows = 50_000
	// warmUpOffsets are as many of them as a micro-batch takes: some of it is compiled
	// only once it has been done a few times.
	warmUpOffsets = 10_000
	warmUpTable   = "warm_up"
)

// WarmUp has a Spark cluster that has run nothing yet write made-up events to WarmUpTopic,
// which must exist, and the query of events take them from there to the table warm_up. So
// Spark starts its executors, connects to Kafka and Cassandra, and loads and compiles most
// of its classes, for which nobody has to wait who submits the job. The session is of no
// use for the job afterwards.
func WarmUp(ctx context.Context, session *stream.Session, c Config) error {
	records, err := madeUp(ctx, session)
	if err != nil {
		return err
	}
	toKafka := session.WriteStream(records).Trigger(stream.Once()).
		Format("kafka").
		Options(c.Kafka.SparkOptions()).
		Option("topic", WarmUpTopic).
		Option("checkpointLocation", c.warmUpCheckpoint("records"))
	if err := runToEnd(ctx, toKafka); err != nil {
		return err
	}
	// Nobody misses one of these records.
	records, err = kafkaReader(session, c, WarmUpTopic, warmUpOffsets).Option("failOnDataLoss", false).Load(ctx)
	if err != nil {
		return fmt.Errorf("reading topic %s: %w", WarmUpTopic, err)
	}
	events, err := eventsOf(ctx, session, c, records)
	if err != nil {
		return err
	}
	writer := session.WriteStream(events).Trigger(stream.AvailableNow()).
		Option("checkpointLocation", c.warmUpCheckpoint("events"))
	toTable(writer, c, warmUpTable)
	return runToEnd(ctx, writer)
}

// WarmUpAlone has Spark practise without Kafka and Cassandra, as far as that goes.
func WarmUpAlone(ctx context.Context, session *stream.Session, c Config) error {
	records, err := madeUp(ctx, session)
	if err != nil {
		return err
	}
	events, err := eventsOf(ctx, session, c, records)
	if err != nil {
		return err
	}
	return runToEnd(ctx, session.WriteStream(events).Trigger(stream.Once()).Format("noop"))
}

// madeUp are records as they come from Kafka.
func madeUp(ctx context.Context, session *stream.Session) (sql.DataFrame, error) {
	ticks, err := session.ReadStream().Format("rate-micro-batch").Option("rowsPerBatch", warmUpRows).Load(ctx)
	if err != nil {
		return nil, err
	}
	if err := createView(ctx, session, "ticks", ticks); err != nil {
		return nil, err
	}
	records, err := session.SQL(ctx, warmUp)
	if err != nil {
		return nil, fmt.Errorf("reading warm_up.sql: %w", err)
	}
	return records, nil
}

// eventsOf is what the query of events makes of records.
func eventsOf(ctx context.Context, session *stream.Session, c Config, records sql.DataFrame) (sql.DataFrame, error) {
	if err := createViewsOver(ctx, session, c, records, views); err != nil {
		return nil, err
	}
	return read(ctx, session, Names[0])
}

func runToEnd(ctx context.Context, writer *stream.Writer) error {
	query, err := writer.Start(ctx)
	if err != nil {
		return err
	}
	_, err = query.AwaitTermination(ctx, 0)
	return err
}

// warmUpCheckpoint is Checkpoint for WarmUpTopic.
func (c Config) warmUpCheckpoint(name string) string {
	c.Topic = WarmUpTopic
	return c.Checkpoint(name)
}
