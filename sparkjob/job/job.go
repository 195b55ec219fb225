// Package job is the bookstore's streaming job: what each query reads, what it
// makes of it and where it writes. On the data's path it stands between Kafka and
// Cassandra; the work itself is done by Spark, which gets it as SQL.
//
// There is one query a table, each with its own checkpoint and its own file below
// queries/. To add a table: a migration in schema/cassandra, a SQL file here, its
// name in Names.
package job

import (
	"context"
	"embed"
	"fmt"
	"strconv"
	"strings"
	"time"

	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/sparkjob/stream"
)

//go:embed queries/*.sql
var queries embed.FS

// Names lists the queries, each named as the table it fills.
var Names = []string{"events", "rejected_events"}

// Views of the session that the queries are written over.
const (
	sourceView     = "kafka_records"
	classifiedView = "classified"
)

// Config says where Spark finds Kafka and Cassandra, and how it goes through the
// records. The addresses are those that the Spark cluster sees.
type Config struct {
	KafkaBootstrapServers string // host:port, comma separated
	Topic                 string
	Cassandra             cassandra.Config // user and password are those of the job's role
	CheckpointLocation    string           // URL of a folder that Spark's driver and executors share
	MaxOffsetsPerTrigger  int              // records a micro-batch at the most
	Trigger               time.Duration    // time between micro-batches; 0 starts the next at once
	ShufflePartitions     int              // of stateful queries, fixed in a checkpoint when it is first made
}

// Checkpoint returns the URL of the folder where a query keeps its progress. It
// depends on the topic, since offsets of one mean nothing in another.
func (c Config) Checkpoint(name string) string {
	return strings.TrimSuffix(c.CheckpointLocation, "/") + "/" + c.Topic + "/" + name
}

// Prepare makes a session ready to start queries: its settings, and the views
// that they read. It may be called again.
func Prepare(ctx context.Context, session *stream.Session, c Config) error {
	settings := session.SparkSession().Config()
	for name, value := range map[string]string{
		// The day of a rejected event is cut from a timestamp, so it must not
		// depend on where the cluster stands.
		"spark.sql.session.timeZone":   "UTC",
		"spark.sql.shuffle.partitions": strconv.Itoa(c.ShufflePartitions),
	} {
		if err := settings.Set(ctx, name, value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	records, err := session.ReadStream().Format("kafka").
		Option("kafka.bootstrap.servers", c.KafkaBootstrapServers).
		Option("subscribe", c.Topic).
		Option("startingOffsets", "earliest"). // counts only without a checkpoint
		Option("maxOffsetsPerTrigger", c.MaxOffsetsPerTrigger).
		Option("failOnDataLoss", true). // records that Kafka dropped unread must not go unnoticed
		Load(ctx)
	if err != nil {
		return fmt.Errorf("reading topic %s: %w", c.Topic, err)
	}
	if err := session.CreateTempView(ctx, records, sourceView); err != nil {
		return fmt.Errorf("creating view %s: %w", sourceView, err)
	}
	text, err := sql(classifiedView)
	if err != nil {
		return err
	}
	classified, err := session.SQL(ctx, text)
	if err != nil {
		return fmt.Errorf("reading queries/%s.sql: %w", classifiedView, err)
	}
	if err := session.CreateTempView(ctx, classified, classifiedView); err != nil {
		return fmt.Errorf("creating view %s: %w", classifiedView, err)
	}
	return nil
}

// Start starts one query, from its checkpoint if there is one. The session must
// have been prepared.
func Start(ctx context.Context, session *stream.Session, c Config, name string) (*stream.Query, error) {
	text, err := sql(name)
	if err != nil {
		return nil, err
	}
	rows, err := session.SQL(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("reading queries/%s.sql: %w", name, err)
	}
	return session.WriteStream(rows).
		Format("org.apache.spark.sql.cassandra").
		Option("keyspace", cassandra.Keyspace).
		Option("table", name).
		Options(connection(c.Cassandra)).
		Options(writeSettings).
		Option("checkpointLocation", c.Checkpoint(name)).
		OutputMode(stream.Append).
		QueryName(name).
		Trigger(stream.ProcessingTime(c.Trigger)).
		Start(ctx)
}

func connection(c cassandra.Config) map[string]string {
	return map[string]string{
		"spark.cassandra.connection.host":    strings.Join(c.Hosts, ","),
		"spark.cassandra.connection.port":    strconv.Itoa(c.Port),
		"spark.cassandra.connection.localDC": c.Datacenter,
		"spark.cassandra.auth.username":      c.User,
		"spark.cassandra.auth.password":      c.Password,
	}
}

// writeSettings of the spark-cassandra-connector. Rows are grouped by the nodes
// that own them rather than by partition key, since every row of events is a
// partition of its own.
var writeSettings = map[string]string{
	"spark.cassandra.output.consistency.level":  "LOCAL_QUORUM",
	"spark.cassandra.output.ignoreNulls":        "true", // a null would be written as a tombstone
	"spark.cassandra.output.batch.grouping.key": "replica_set",
	"spark.cassandra.output.batch.size.rows":    "64",
	"spark.cassandra.output.concurrent.writes":  "16",
}

func sql(name string) (string, error) {
	text, err := queries.ReadFile("queries/" + name + ".sql")
	if err != nil {
		return "", fmt.Errorf("there is no query %q; the queries are %s", name, strings.Join(Names, ", "))
	}
	return string(text), nil
}
