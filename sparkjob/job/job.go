// Package job is the bookstore's streaming job: what each query reads, what it
// makes of it and where it writes. On the data's path it stands between Kafka and
// Cassandra; the work itself is done by Spark, which gets it as SQL.
//
// There is one query a table, and one for a topic, each with its own checkpoint and
// its own file below queries/. To add a table: a migration in schema/cassandra, a SQL
// file here, a line in Queries.
package job

import (
	"cmp"
	"context"
	"embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/spark-connect-go/spark/sql"

	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/kafkaclient"
	"example.com/bookstore/sparkjob/stream"
)

//go:embed queries/*.sql
var queries embed.FS

// Query is one streaming query of the job.
type Query struct {
	Name    string            // also that of the table it fills, and of its SQL file
	ToKafka bool              // writes to Config.ActivityTopic instead of to its table
	Mode    stream.OutputMode // Cassandra's sink takes Append only
	Every   time.Duration     // least time between its micro-batches without Config.Trigger, so that it leaves cores to others

	Pool      string // of deploy/spark/fairscheduler.xml, in which its tasks wait for cores; "" for that of all others
	LargeRows bool   // a row may have many KiB, so that each is written by itself
}

// Queries are all that the job has. The query of events has no least time, and comes first
// wherever a core becomes free. Spark starts their micro-batches at multiples of Every since
// 1970: so no two have a common divisor, or else they would all start at once and hold events
// up.
var Queries = []Query{
	{Name: "events", Mode: stream.Append, Pool: "events"},
	{Name: "rejected_events", Mode: stream.Append, Every: 7 * time.Second, LargeRows: true},
	{Name: "events_by_user", Mode: stream.Append, Every: 5 * time.Second},
	{Name: "late_events", Mode: stream.Append, Every: 17 * time.Second},
	{Name: "activity_by_minute", Mode: stream.Append, Every: 13 * time.Second},
	{Name: "reads", Mode: stream.Append, Every: 11 * time.Second},
	{Name: "funnel", Mode: stream.Append, Every: 9 * time.Second},
	{Name: "bookstore_activity", ToKafka: true, Mode: stream.Update, Every: 2 * time.Second},
}

// Names lists the names of Queries.
var Names = func() (names []string) {
	for _, query := range Queries {
		names = append(names, query.Name)
	}
	return names
}()

const (
	sourceView = "kafka_records"
	onTimeView = "on_time_events"
)

// Views of the session that the queries are written over, each over those before it.
// They stand in files as the queries do.
var (
	views         = []string{"classified", "valid_events"}
	windowedViews = append(views[:2:2], "windowed_events", onTimeView, "openings")
)

const (
	// MaxLate is how long before Kafka received it an event may have happened that is on
	// time. valid_events.sql has it too.
	MaxLate = 2 * time.Minute
	// MaxAhead is how long after, for a clock that is ahead. valid_events.sql has it too.
	MaxAhead = time.Minute

	// Watermark is how far windows of event time wait behind the latest event on time:
	// for the latest that is on time, for a clock that is ahead, and 2 minutes for
	// partitions that Spark reads at a different pace.
	Watermark = MaxLate + MaxAhead + 2*time.Minute
)

// Config says where Spark finds Kafka and Cassandra, and how it goes through the
// records. The addresses are those that the Spark cluster sees.
type Config struct {
	Kafka                 kafkaclient.Config
	Topic                 string
	ActivityTopic         string           // that bookstore_activity writes to
	Cassandra             cassandra.Config // user and password are those of the job's role
	TrustStore            string           // file of the authorities that may vouch for Cassandra, with TLS; "" for the JVM's own
	CheckpointLocation    string           // URL of a folder that Spark's driver and executors share
	MaxOffsetsPerTrigger  int              // records a micro-batch at the most
	MaxOffsetsPerWindowed int              // the same for queries with windows of event time
	Trigger               time.Duration    // least time between micro-batches of any query; 0 for Query.Every of each
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
		// The column day is cut from a timestamp, so it must not
		// depend on where the cluster stands.
		"spark.sql.session.timeZone":   "UTC",
		"spark.sql.shuffle.partitions": strconv.Itoa(c.ShufflePartitions),
	} {
		if err := settings.Set(ctx, name, value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	// A view stays with those that were there when it was made. So the second round
	// changes nothing for the views with windows, which read larger micro-batches:
	// the watermark moves from one micro-batch to the next, and one that ends in the
	// middle of a backlog has come further in some partitions than in others.
	if err := createViews(ctx, session, c, c.MaxOffsetsPerWindowed, windowedViews); err != nil {
		return err
	}
	return createViews(ctx, session, c, c.MaxOffsetsPerTrigger, views)
}

// createViews makes, or replaces, the source and the views over it.
func createViews(ctx context.Context, session *stream.Session, c Config, maxOffsets int, names []string) error {
	records, err := kafkaReader(session, c, c.Topic, maxOffsets).Load(ctx)
	if err != nil {
		return fmt.Errorf("reading topic %s: %w", c.Topic, err)
	}
	return createViewsOver(ctx, session, c, records, names)
}

// kafkaReader reads a topic from its beginning, or from where a checkpoint is.
func kafkaReader(session *stream.Session, c Config, topic string, maxOffsets int) *stream.Reader {
	return session.ReadStream().Format("kafka").
		Options(c.Kafka.SparkOptions()).
		Option("subscribe", topic).
		Option("startingOffsets", "earliest"). // counts only without a checkpoint
		Option("maxOffsetsPerTrigger", maxOffsets).
		Option("failOnDataLoss", true). // records that Kafka dropped unread must not go unnoticed
		// Whenever it gets records, Spark asks for the ends of the partition. The broker
		// answers that only after the fetch that Kafka's client has sent ahead, which waits
		// for records as long as this: 500 ms a partition by default, of nothing but waiting.
		Option("kafka.fetch.max.wait.ms", 1).
		// So it should get more at a time than the 500 of Kafka's default. Not as many as a fetch
		// has, a MiB: executors keep what they got last, for each query and partition, and with
		// 5000 that was most of what was live in their heap.
		Option("kafka.max.poll.records", 2000)
}

// createViewsOver makes, or replaces, the views over records as they come from Kafka.
func createViewsOver(ctx context.Context, session *stream.Session, c Config, records sql.DataFrame, names []string) error {
	// A task for each core instead of one for each partition of the topic: a small
	// micro-batch costs hardly more than its tasks, and the queries share the cores.
	if err := createView(ctx, session, sourceView, records.Coalesce(ctx, c.ShufflePartitions)); err != nil {
		return err
	}
	for _, name := range names {
		rows, err := read(ctx, session, name)
		if err != nil {
			return err
		}
		if name == onTimeView {
			if rows, err = rows.WithWatermark(ctx, "event_time", fmt.Sprintf("%d seconds", int(Watermark.Seconds()))); err != nil {
				return fmt.Errorf("setting the watermark of view %s: %w", name, err)
			}
		}
		if err := createView(ctx, session, name, rows); err != nil {
			return err
		}
	}
	return nil
}

func createView(ctx context.Context, session *stream.Session, name string, rows sql.DataFrame) error {
	if err := session.CreateTempView(ctx, rows, name); err != nil {
		return fmt.Errorf("creating view %s: %w", name, err)
	}
	return nil
}

// read has the session read the SQL file of a query or view.
func read(ctx context.Context, session *stream.Session, name string) (sql.DataFrame, error) {
	text, err := text(name)
	if err != nil {
		return nil, err
	}
	rows, err := session.SQL(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("reading queries/%s.sql: %w", name, err)
	}
	return rows, nil
}

// Start starts one query, from its checkpoint if there is one. The session must
// have been prepared.
func Start(ctx context.Context, session *stream.Session, c Config, name string) (*stream.Query, error) {
	query, err := find(name)
	if err != nil {
		return nil, err
	}
	rows, err := read(ctx, session, name)
	if err != nil {
		return nil, err
	}
	writer := session.WriteStream(rows).
		Option("checkpointLocation", c.Checkpoint(name)).
		OutputMode(query.Mode).
		QueryName(name).
		Trigger(stream.ProcessingTime(cmp.Or(c.Trigger, query.Every)))
	if query.Pool != "" {
		writer.Option("spark.scheduler.pool", query.Pool) // read by deploy/spark/scheduler-pool.btm
	}
	if query.ToKafka {
		writer.Format("kafka").
			Options(c.Kafka.SparkOptions()).
			Option("topic", c.ActivityTopic)
	} else {
		toTable(writer, c, name)
		if query.LargeRows {
			// A single row is no batch. Cassandra refuses a batch of more than 50 KiB.
			writer.Option("spark.cassandra.output.batch.size.rows", 1)
		}
	}
	return writer.Start(ctx)
}

// toTable has a query write to a table.
func toTable(writer *stream.Writer, c Config, table string) {
	writer.Format("org.apache.spark.sql.cassandra").
		Option("keyspace", cassandra.Keyspace).
		Option("table", table).
		Options(connection(c.Cassandra, c.TrustStore)).
		Options(writeSettings)
}

// WritesActivity reports whether a query writes to Config.ActivityTopic.
func WritesActivity(name string) bool {
	query, err := find(name)
	return err == nil && query.ToKafka
}

// CheckNames reports a name that none of Queries has.
func CheckNames(names ...string) error {
	for _, name := range names {
		if _, err := find(name); err != nil {
			return err
		}
	}
	return nil
}

func find(name string) (Query, error) {
	i := slices.Index(Names, name)
	if i < 0 {
		return Query{}, fmt.Errorf("there is no query %q; the queries are %s", name, strings.Join(Names, ", "))
	}
	return Queries[i], nil
}

func connection(c cassandra.Config, trustStore string) map[string]string {
	options := map[string]string{
		"spark.cassandra.connection.host":    strings.Join(c.Hosts, ","),
		"spark.cassandra.connection.port":    strconv.Itoa(c.Port),
		"spark.cassandra.connection.localDC": c.Datacenter,
		"spark.cassandra.auth.username":      c.User,
		"spark.cassandra.auth.password":      string(c.Password),
		// A node that was away for half a minute is else asked again only after
		// another half: the pauses double, up to a minute.
		"spark.cassandra.connection.reconnectionDelayMS.max": "3000",
	}
	if !c.TLS.Enabled {
		return options
	}
	options["spark.cassandra.connection.ssl.enabled"] = "true"
	options["spark.cassandra.connection.ssl.enabledAlgorithms"] = strings.Join(cipherSuites, ",")
	if trustStore != "" {
		options["spark.cassandra.connection.ssl.trustStore.path"] = trustStore
		options["spark.cassandra.connection.ssl.trustStore.type"] = "PKCS12"
		if strings.HasSuffix(trustStore, ".jks") {
			options["spark.cassandra.connection.ssl.trustStore.type"] = "JKS"
		}
	}
	return options
}

// cipherSuites that Spark may speak to Cassandra with. The connector's own are two for
// RSA, without forward secrecy, which newer Javas refuse.
var cipherSuites = []string{
	"TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256",
	"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
	"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
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

func text(name string) (string, error) {
	text, err := queries.ReadFile("queries/" + name + ".sql")
	return string(text), err
}
