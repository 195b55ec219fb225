package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/kafkaclient"
	"example.com/bookstore/schema/secret"
	"example.com/bookstore/schema/topic"
	"example.com/bookstore/sparkjob/driver"
	"example.com/bookstore/sparkjob/job"
)

// settings of the program. Each command takes the parts that it needs.
type settings struct {
	sparkSettings     `embed:""`
	kafkaSettings     `embed:""`
	cassandraSettings `embed:""`
	adminSettings     `embed:""`
	jobSettings       `embed:""`
	querySettings     `embed:""`
	watchSettings     `embed:""`
}

type sparkSettings struct {
	Remote      string        `env:"SPARK_REMOTE" default:"sc://127.0.0.1:15002" group:"Spark:" help:"Spark Connect server (${env})."`
	JobName     string        `env:"SPARK_JOB_NAME" default:"bookstore" group:"Spark:" help:"Name of the job: commands with the same name see the same queries (${env})."`
	StopTimeout time.Duration `env:"SPARK_STOP_TIMEOUT" default:"20s" group:"Spark:" help:"How long the queries get to end (${env})."`
}

type kafkaSettings struct {
	Kafka                  kafkaclient.Config `embed:"" prefix:"kafka-" group:"Kafka:"`
	Topic                  string             `env:"KAFKA_TOPIC" default:"bookstore_events" group:"Kafka:" help:"Topic of the events (${env})."`
	ActivityTopic          string             `env:"KAFKA_ACTIVITY_TOPIC" group:"Kafka:" help:"Topic of the counts in the present minutes; by default one that is named after the events' (${env})."`
	Partitions             int                `env:"KAFKA_PARTITIONS" default:"6" group:"Kafka:" help:"Partitions of a topic, if it is created (${env})."`
	KafkaReplicationFactor int                `env:"KAFKA_REPLICATION_FACTOR" default:"1" group:"Kafka:" help:"Copies of each partition, if the topic is created (${env})."`
	KafkaMinInsyncReplicas int                `env:"KAFKA_MIN_INSYNC_REPLICAS" default:"1" group:"Kafka:" help:"Copies that must have a record before it is acknowledged, if the topic is created (${env})."`
}

type cassandraSettings struct {
	CassandraHosts       []string      `env:"CASSANDRA_HOSTS" default:"127.0.0.1" group:"Cassandra:" help:"Contact points (${env})."`
	CassandraPort        int           `env:"CASSANDRA_PORT" default:"9042" group:"Cassandra:" help:"Port of CQL (${env})."`
	CassandraDatacenter  string        `env:"CASSANDRA_DATACENTER" default:"datacenter1" group:"Cassandra:" help:"Local datacenter (${env})."`
	CassandraTLS         cassandra.TLS `embed:"" prefix:"cassandra-" group:"Cassandra:"`
	CassandraJobPassword secret.String `env:"CASSANDRA_JOB_PASSWORD" group:"Cassandra:" help:"Password of the role bookstore_job (${env})."`
}

// adminSettings are what making tables and roles needs.
type adminSettings struct {
	CassandraReplicationFactor int           `env:"CASSANDRA_REPLICATION_FACTOR" default:"1" group:"Cassandra:" help:"Copies of each row, if the keyspace is created (${env})."`
	CassandraAdminUser         string        `env:"CASSANDRA_ADMIN_USER" default:"admin" group:"Cassandra:" help:"Superuser, created if absent (${env})."`
	CassandraAdminPassword     secret.String `env:"CASSANDRA_ADMIN_PASSWORD" group:"Cassandra:" help:"Its password (${env})."`
	CassandraStorePassword     secret.String `env:"CASSANDRA_STORE_PASSWORD" group:"Cassandra:" help:"Password of the role bookstore_store (${env})."`
}

// jobSettings are how the queries run, and where Spark finds what the driver may
// know under another address.
type jobSettings struct {
	CheckpointLocation         string        `env:"CHECKPOINT_LOCATION" group:"Job:" help:"URL of the folder of the checkpoints as Spark sees it; by default one below STACK_DIR (${env})."`
	Trigger                    time.Duration `env:"SPARK_TRIGGER" default:"0s" group:"Job:" help:"Least time between micro-batches, of every query; with 0s those of events follow at once, and each other query has its own, of seconds (${env})."`
	MaxOffsetsPerTrigger       int           `env:"SPARK_MAX_OFFSETS_PER_TRIGGER" default:"50000" group:"Job:" help:"Records a micro-batch at the most (${env})."`
	MaxOffsetsPerWindowed      int           `name:"max-offsets-per-windowed-trigger" env:"SPARK_MAX_OFFSETS_PER_WINDOWED_TRIGGER" default:"1000000" group:"Job:" help:"The same for queries with windows of event time; what one micro-batch takes of a backlog never falls behind the watermark (${env})."`
	ShufflePartitions          int           `env:"SPARK_SHUFFLE_PARTITIONS" default:"2" group:"Job:" help:"Partitions of stateful queries, about the number of cores (${env})."`
	SparkKafkaBootstrapServers string        `env:"SPARK_KAFKA_BOOTSTRAP_SERVERS" group:"Job:" help:"The brokers as Spark sees them; by default the same (${env})."`
	SparkKafkaCAFile           string        `name:"spark-kafka-ssl-ca-location" env:"SPARK_KAFKA_SSL_CA_LOCATION" group:"Job:" help:"The file of Kafka's certificate authority as Spark sees it; by default the same (${env})."`
	SparkCassandraHosts        []string      `env:"SPARK_CASSANDRA_HOSTS" group:"Job:" help:"The contact points as Spark sees them; by default the same (${env})."`
	SparkCassandraPort         int           `env:"SPARK_CASSANDRA_PORT" group:"Job:" help:"The port of CQL as Spark sees it; by default the same (${env})."`
	SparkCassandraTrustStore   string        `name:"spark-cassandra-tls-trust-store" env:"SPARK_CASSANDRA_TLS_TRUST_STORE" group:"Job:" placeholder:"FILE" help:"With TLS, the trust store of Cassandra's certificate authority as Spark sees it: PKCS #12 without a password, or JKS; by default the JVM's own (${env})."`
}

// querySettings choose among the queries.
type querySettings struct {
	Queries []string `arg:"" optional:"" name:"query" env:"SPARK_QUERIES" predictor:"query" help:"Queries of the job; by default all (${env}, comma separated)."`
}

func (s querySettings) Validate() error { return job.CheckNames(s.names()...) }

// names takes the words apart, since kong leaves the variable as one, and each once.
func (s querySettings) names() (names []string) {
	for name := range strings.SplitSeq(strings.Join(s.Queries, ","), ",") {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// stalledSettings are when a query counts as stalled.
type stalledSettings struct {
	StalledAfter time.Duration `env:"SPARKJOB_STALLED_AFTER" default:"30s" group:"Watching:" help:"How long records may wait without a micro-batch until a query counts as stalled (${env})."`
}

func (s stalledSettings) Validate() error {
	if s.StalledAfter < time.Second {
		return fmt.Errorf("--stalled-after is %v, not at least 1s", s.StalledAfter)
	}
	return nil
}

// watchSettings are how the driver tells what it sees.
type watchSettings struct {
	stalledSettings `embed:""`

	MaxFailures int    `env:"SPARKJOB_MAX_FAILURES" default:"20" group:"Watching:" help:"How often a query may fail in a row, without a micro-batch in between, until the job ends (${env})."`
	MetricsAddr string `env:"SPARKJOB_METRICS_ADDR" group:"Watching:" placeholder:"HOST:PORT" help:"Where /metrics and /healthz are served; nowhere if empty (${env})."`
	LogFormat   string `env:"SPARKJOB_LOG_FORMAT" default:"lines" enum:"lines,text,json" group:"Watching:" help:"What submit prints: lines for people, or a log as text or json (${env})."`
}

func (s watchSettings) Validate() error {
	errs := []error{s.stalledSettings.Validate(), atLeastOne("max-failures", s.MaxFailures)}
	if s.MetricsAddr != "" {
		if _, _, err := net.SplitHostPort(s.MetricsAddr); err != nil {
			errs = append(errs, fmt.Errorf("--metrics-addr: %w", err))
		}
	}
	return errors.Join(errs...)
}

// log returns the log that the format asks for, nil for lines.
func (s watchSettings) log(out io.Writer) *slog.Logger {
	switch s.LogFormat {
	case "text":
		return slog.New(slog.NewTextHandler(out, nil))
	case "json":
		return slog.New(slog.NewJSONHandler(out, nil))
	}
	return nil
}

// Validate is called by kong after parsing.
func (s settings) Validate() error {
	return errors.Join(s.kafkaSettings.Validate(), s.cassandraSettings.Validate(), s.adminSettings.Validate(), s.jobSettings.Validate(), s.querySettings.Validate(), s.watchSettings.Validate())
}

func (s kafkaSettings) Validate() error {
	return errors.Join(
		s.Kafka.Validate(),
		atLeastOne("partitions", s.Partitions),
		atLeastOne("kafka-replication-factor", s.KafkaReplicationFactor),
		atLeastOne("kafka-min-insync-replicas", s.KafkaMinInsyncReplicas),
	)
}

func (s cassandraSettings) Validate() error { return atLeastOne("cassandra-port", s.CassandraPort) }

func (s adminSettings) Validate() error {
	return atLeastOne("cassandra-replication-factor", s.CassandraReplicationFactor)
}

func (s jobSettings) Validate() error {
	errs := []error{
		atLeastOne("max-offsets-per-trigger", s.MaxOffsetsPerTrigger),
		atLeastOne("max-offsets-per-windowed-trigger", s.MaxOffsetsPerWindowed),
		atLeastOne("shuffle-partitions", s.ShufflePartitions),
	}
	if s.Trigger < 0 {
		errs = append(errs, errors.New("--trigger is negative"))
	}
	if s.CheckpointLocation != "" {
		if u, err := url.Parse(s.CheckpointLocation); err != nil || u.Scheme == "" {
			errs = append(errs, fmt.Errorf("--checkpoint-location is %q, not a URL such as file:///var/checkpoints", s.CheckpointLocation))
		}
	}
	return errors.Join(errs...)
}

func atLeastOne(flag string, n int) error {
	if n < 1 {
		return fmt.Errorf("--%s is %d, not at least 1", flag, n)
	}
	return nil
}

// activityRetention is how long counts are kept in the topic of the activity. Those of
// minutes that are over are in activity_by_minute.
const activityRetention = 24 * time.Hour

// warmUpRetention is how long made-up events are kept, which nobody needs.
const warmUpRetention = 10 * time.Minute

// driverConfig fills in what follows from other settings.
func (s settings) driverConfig() (driver.Config, error) {
	checkpoints := s.CheckpointLocation
	if checkpoints == "" {
		stack := os.Getenv("STACK_DIR")
		if stack == "" {
			stack = ".stack"
		}
		folder, err := filepath.Abs(filepath.Join(stack, "data", "checkpoints"))
		if err != nil {
			return driver.Config{}, err
		}
		checkpoints = (&url.URL{Scheme: "file", Path: folder}).String()
	}
	db := cassandra.Config{
		Hosts: s.CassandraHosts, Port: s.CassandraPort, Datacenter: s.CassandraDatacenter,
		User: cassandra.JobUser, Password: s.CassandraJobPassword, Keyspace: cassandra.Keyspace, TLS: s.CassandraTLS,
	}
	sparkDB := db
	if len(s.SparkCassandraHosts) > 0 {
		sparkDB.Hosts = s.SparkCassandraHosts
	}
	if s.SparkCassandraPort != 0 {
		sparkDB.Port = s.SparkCassandraPort
	}
	trustStore := s.SparkCassandraTrustStore
	if s.CassandraTLS.Enabled && trustStore != "" && !filepath.IsAbs(trustStore) {
		var err error
		if trustStore, err = filepath.Abs(trustStore); err != nil { // Spark runs in folders of its own
			return driver.Config{}, err
		}
	}
	activityTopic := s.ActivityTopic
	if activityTopic == "" {
		activityTopic = schema.ActivityTopicOf(s.Topic)
	}
	sparkKafka := s.Kafka
	sparkKafka.SASLPassword = "" // which Spark has from a file of its own
	if s.SparkKafkaBootstrapServers != "" {
		sparkKafka.BootstrapServers = s.SparkKafkaBootstrapServers
	}
	sparkKafka.CAFile = s.SparkKafkaCAFile
	if sparkKafka.CAFile == "" && s.Kafka.CAFile != "" {
		file, err := filepath.Abs(s.Kafka.CAFile) // Spark runs in folders of its own
		if err != nil {
			return driver.Config{}, err
		}
		sparkKafka.CAFile = file
	}
	events := topic.Spec{
		Name: s.Topic, Partitions: s.Partitions,
		ReplicationFactor: s.KafkaReplicationFactor, MinInSyncReplicas: s.KafkaMinInsyncReplicas,
	}
	activity, warmUp := events, events
	activity.Name, activity.Retention, activity.Compact = activityTopic, activityRetention, true
	warmUp.Name, warmUp.Retention = job.WarmUpTopic, warmUpRetention
	return driver.Config{
		Remote: s.Remote, JobName: s.JobName,
		Kafka: s.Kafka,
		Topic: events, ActivityTopic: activity, WarmUpTopic: warmUp,
		Queries:   s.names(),
		Cassandra: db,
		AdminUser: s.CassandraAdminUser, AdminPassword: s.CassandraAdminPassword,
		StorePassword: s.CassandraStorePassword, ReplicationFactor: s.CassandraReplicationFactor,
		StopTimeout: s.StopTimeout, MaxFailures: s.MaxFailures, StalledAfter: s.StalledAfter, MetricsAddr: s.MetricsAddr, Log: s.log(os.Stdout),
		Job: job.Config{
			Kafka: sparkKafka, Topic: s.Topic, ActivityTopic: activityTopic, Cassandra: sparkDB, TrustStore: trustStore, CheckpointLocation: checkpoints,
			MaxOffsetsPerTrigger: s.MaxOffsetsPerTrigger, MaxOffsetsPerWindowed: s.MaxOffsetsPerWindowed,
			Trigger: s.Trigger, ShufflePartitions: s.ShufflePartitions,
		},
	}, nil
}

// String lists the settings by their environment variables, secrets hidden.
func (s settings) String() string {
	var b strings.Builder
	list(&b, reflect.ValueOf(s))
	return b.String()
}

func list(b *strings.Builder, of reflect.Value) {
	for field, value := range of.Fields() {
		if _, ok := field.Tag.Lookup("embed"); ok {
			list(b, value)
			continue
		}
		shown := value.Interface()
		if words, ok := shown.([]string); ok {
			shown = strings.Join(words, ",")
		}
		fmt.Fprintf(b, "%s=%v\n", field.Tag.Get("env"), shown)
	}
}
