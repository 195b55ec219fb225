// Package driver submits the bookstore's job to Spark and watches over it. It
// stands beside the data's path: no event passes through it, but without it no
// query starts, and nobody notices when one ends.
package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/kafkaclient"
	"example.com/bookstore/schema/secret"
	"example.com/bookstore/schema/topic"
	"example.com/bookstore/sparkjob/job"
	"example.com/bookstore/sparkjob/stream"
)

// Config is what the driver needs to know. Addresses in it are those that the
// driver's own host sees; job.Config has those that Spark sees.
type Config struct {
	Remote  string // Spark Connect's connection string, sc://host:port/;…
	JobName string // names the session: the same name finds the same queries

	Kafka         kafkaclient.Config
	Topic         topic.Spec
	ActivityTopic topic.Spec // that bookstore_activity writes to
	WarmUpTopic   topic.Spec // that Spark practises on

	Cassandra         cassandra.Config // as the job's role
	AdminUser         string
	AdminPassword     secret.String // "" where this driver may not make tables
	StorePassword     secret.String // of the role that setup makes for the store
	ReplicationFactor int

	Job     job.Config
	Queries []string // of job.Names, those that Submit runs; all if empty
	Standby bool     // Submit waits for the end of another driver of the job

	StopTimeout  time.Duration // how long a query gets to end
	MaxFailures  int           // of a query in a row, without a micro-batch between them, that end the job
	StalledAfter time.Duration // how long records wait without a micro-batch until a query counts as stalled
	MetricsAddr  string        // host:port of /metrics; "" for none
	Log          *slog.Logger  // takes what Submit tells; nil for lines to its writer
}

// requestTimeout bounds each question to Kafka and Cassandra before the start.
const requestTimeout = 5 * time.Second

// Connect joins the job's session on the Spark Connect server. The session's
// identity follows from the job's name, so that every process which names the
// same job finds the same queries.
func Connect(ctx context.Context, c Config) (*stream.Session, error) {
	session, err := stream.Connect(ctx, remote(c.Remote, c.JobName))
	if errors.Is(err, stream.ErrUnreachable) {
		return nil, fmt.Errorf("%w; start it with `task up` or correct SPARK_REMOTE", err)
	}
	return session, err
}

// remote adds the job's identity to a connection string that names none.
func remote(s, jobName string) string {
	add := func(key, value string) {
		if !strings.Contains(s, ";"+key+"=") {
			s += ";" + key + "=" + value
		}
	}
	address, _, hasParams := strings.Cut(s, ";")
	if !hasParams && !strings.HasSuffix(address, "/") {
		s += "/"
	}
	s = strings.TrimSuffix(s, ";")
	add("user_id", "bookstore")
	add("session_id", uuid.NewSHA1(uuid.NameSpaceOID, []byte("bookstore job "+jobName)).String())
	return s
}

// queries are those that Submit runs.
func (c Config) queries() []string {
	if len(c.Queries) == 0 {
		return job.Names
	}
	return c.Queries
}

// Setup makes the topics, keyspace, tables and roles, where they are absent, and
// gives the roles the passwords of c.
func Setup(ctx context.Context, c Config) error {
	kafka, err := topic.NewAdmin(c.Kafka, requestTimeout)
	if err != nil {
		return err
	}
	defer kafka.Close()
	for _, spec := range []topic.Spec{c.Topic, c.ActivityTopic} {
		if _, err := kafka.Ensure(ctx, spec); err != nil {
			return hintKafka(err, c)
		}
	}
	return setupCassandra(ctx, c)
}

func setupCassandra(ctx context.Context, c Config) error {
	if c.AdminPassword == "" || c.Cassandra.Password == "" || c.StorePassword == "" {
		return errors.New("setting up Cassandra: CASSANDRA_ADMIN_PASSWORD, CASSANDRA_JOB_PASSWORD and CASSANDRA_STORE_PASSWORD must be set; `task up` writes them to .env")
	}
	return cassandra.Setup(ctx, cassandra.SetupConfig{
		Admin:             c.admin(),
		ReplicationFactor: c.ReplicationFactor,
		JobPassword:       c.Cassandra.Password,
		StorePassword:     c.StorePassword,
	})
}

func (c Config) admin() cassandra.Config {
	admin := c.Cassandra
	admin.User, admin.Password, admin.Keyspace = c.AdminUser, c.AdminPassword, ""
	return admin
}

// Check sees to it that the topics and the tables are there before a query starts:
// Spark itself would say so only after a long time, or never. The project's own
// topic and tables are made if absent, and so is the topic of the activity; a topic of
// events of another name is more likely to be misspelt.
func Check(ctx context.Context, c Config) error {
	kafka, err := topic.NewAdmin(c.Kafka, requestTimeout)
	if err != nil {
		return err
	}
	defer kafka.Close()
	if c.Topic.Name == schema.Topic {
		_, err = kafka.Ensure(ctx, c.Topic)
	} else {
		_, err = kafka.Partitions(ctx, c.Topic.Name)
	}
	if err == nil && slices.ContainsFunc(c.queries(), job.WritesActivity) {
		_, err = kafka.Ensure(ctx, c.ActivityTopic)
	}
	if err != nil {
		return hintKafka(err, c)
	}

	err = checkCassandra(ctx, c)
	refused := errors.Is(err, cassandra.ErrCredentials)
	if c.AdminPassword != "" && (refused || errors.Is(err, cassandra.ErrNotSetUp)) {
		needed, adminErr := cassandra.NeedsSetup(ctx, c.admin())
		if adminErr == nil && needed {
			if err := setupCassandra(ctx, c); err != nil {
				return err
			}
			err = checkCassandra(ctx, c)
		}
	}
	switch {
	case errors.Is(err, cassandra.ErrCredentials):
		return fmt.Errorf("%w; check CASSANDRA_JOB_PASSWORD", err)
	case errors.Is(err, cassandra.ErrNotSetUp):
		return fmt.Errorf("%w; run `sparkjob setup`", err)
	}
	return err
}

func checkCassandra(ctx context.Context, c Config) error {
	session, err := c.Cassandra.Connect(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	return cassandra.Check(ctx, session)
}

func hintKafka(err error, c Config) error {
	switch {
	case errors.Is(err, topic.ErrNotFound):
		return fmt.Errorf("%w; correct KAFKA_TOPIC or create it with `sparkjob setup --topic %s`", err, c.Topic.Name)
	case errors.Is(err, topic.ErrUnreachable):
		return fmt.Errorf("%w; start Kafka with `task up` or correct KAFKA_BOOTSTRAP_SERVERS", err)
	}
	return err
}
