package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/alecthomas/kong"
	"github.com/docker/go-units"

	"example.com/bookstore/producer/web"
	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/kafkaclient"
	"example.com/bookstore/schema/secret"
)

const description = `The bookstore's web store: shows the catalogue and writes what visitors do to Kafka.

Settings come from flags, else from the environment, else from .env and deploy/stack.env
of the working directory.

Examples:

  # the store at http://127.0.0.1:5001, with the local stack's Kafka
  go run ./producer

  # on another port, with other brokers, one log line a request
  go run ./producer --addr=127.0.0.1:8000 --kafka-bootstrap-servers=kafka-1:9092,kafka-2:9092 --log-requests

  # only sell: no live page, and no connection to Cassandra
  go run ./producer --live=false

  # send an event
  curl -i -d '{"event_type":"purchase","book_id":"middlemarch"}' -H 'Content-Type: application/json' http://127.0.0.1:5001/events

SIGTERM or an interrupt ends the store once every request is answered and every event
is with the brokers, or after --drain-timeout in the spool, from where the next start
sends it; a second one ends it at once.`

// Config is every setting of the store.
type Config struct {
	Addr                string             `name:"addr" env:"STORE_ADDR" default:"127.0.0.1:5001" placeholder:"HOST:PORT" help:"Address to listen on."`
	Kafka               kafkaclient.Config `embed:"" prefix:"kafka-"`
	KafkaTopic          string             `env:"KAFKA_TOPIC" default:"bookstore_events" help:"Topic of the events. It must exist."`
	DeliveryTimeout     time.Duration      `env:"STORE_DELIVERY_TIMEOUT" default:"10s" help:"How long brokers that answer may acknowledge no event before the store connects to them anew."`
	QueueLimit          int                `env:"STORE_QUEUE_LIMIT" default:"100000" help:"Most events that wait for the brokers; beyond it events go to the spool."`
	SpoolAfter          time.Duration      `env:"STORE_SPOOL_AFTER" default:"150ms" help:"How long an event waits for brokers that acknowledge nothing, or only later ones. Then events go to the spool on this machine's disk, in order, until the brokers are back."`
	SpoolDir            string             `env:"STORE_SPOOL_DIR" default:"${spool_dir}" placeholder:"DIR" help:"Folder of the spool, with one in it for each topic. Each store needs one of its own. By default ${spool_dir}, which follows STACK_DIR."`
	SpoolLimit          byteSize           `env:"STORE_SPOOL_LIMIT" default:"1GiB" placeholder:"SIZE" help:"Most that the spool holds, such as 512MiB; beyond it the store answers 503. 0 for no spool."`
	RateLimit           int                `env:"STORE_RATE_LIMIT" default:"200" help:"Requests with events that one visitor may send in a second, and twice as many at once; beyond it the store answers 429. 0 for no limit."`
	DrainDelay          time.Duration      `env:"STORE_DRAIN_DELAY" default:"0s" help:"Time between /readyz turning 503 and the end of listening, for a load balancer to notice."`
	DrainTimeout        time.Duration      `env:"STORE_DRAIN_TIMEOUT" default:"15s" help:"Longest time for the last requests and events, once told to stop."`
	Live                bool               `env:"STORE_LIVE" default:"true" negatable:"" help:"Show at /live what is happening, and at /me each visitor's own visits."`
	KafkaActivityTopic  string             `env:"KAFKA_ACTIVITY_TOPIC" help:"Topic of the live counts, for /live; by default the one that the job makes for the topic of the events."`
	SparkJobName        string             `env:"SPARK_JOB_NAME" default:"bookstore" help:"Streaming job whose queries /live shows."`
	CassandraHosts      []string           `env:"CASSANDRA_HOSTS" default:"127.0.0.1" help:"Contact points of Cassandra, for /live and /me. The store sells without it."`
	CassandraPort       int                `env:"CASSANDRA_PORT" default:"9042" help:"Port of CQL."`
	CassandraDatacenter string             `env:"CASSANDRA_DATACENTER" default:"datacenter1" help:"Local datacenter."`
	CassandraTLS        cassandra.TLS      `embed:"" prefix:"cassandra-"`
	CassandraPassword   secret.String      `name:"cassandra-store-password" env:"CASSANDRA_STORE_PASSWORD" help:"Password of the role bookstore_store, which may only read."`
	MetricsAddr         string             `env:"STORE_METRICS_ADDR" placeholder:"HOST:PORT" help:"Address of its own for /metrics. By default it is on --addr if that is a loopback address, and else nowhere."`
	LogLevel            slog.Level         `env:"STORE_LOG_LEVEL" default:"info" help:"debug, info, warn or error."`
	LogFormat           string             `env:"STORE_LOG_FORMAT" default:"text" enum:"text,json" help:"text or json."`
	LogRequests         bool               `env:"STORE_LOG_REQUESTS" help:"Log one line for each request."`
	PrintConfig         bool               `help:"Print the settings as JSON and exit."`
	Ready               bool               `help:"Ask the store that listens on --addr whether it can take events, and exit with 1 if not."`
}

// byteSize is a number of bytes, written as such or like 512MiB.
type byteSize int64

// UnmarshalText makes a byteSize a setting.
func (s *byteSize) UnmarshalText(text []byte) error {
	n, err := units.RAMInBytes(string(text))
	*s = byteSize(n)
	return err
}

func (s byteSize) String() string { return units.BytesSize(float64(s)) }

// Validate reports every setting with which the store could not work.
func (c *Config) Validate() error {
	var errs []error
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		errs = append(errs, fmt.Errorf("--addr: %w", err))
	}
	if c.MetricsAddr != "" {
		if _, _, err := net.SplitHostPort(c.MetricsAddr); err != nil {
			errs = append(errs, fmt.Errorf("--metrics-addr: %w", err))
		}
	}
	errs = append(errs, c.Kafka.Validate())
	if c.KafkaTopic == "" {
		errs = append(errs, errors.New("--kafka-topic: is empty"))
	}
	if c.DeliveryTimeout < 100*time.Millisecond || c.DeliveryTimeout > web.MaxDeliveryTimeout {
		errs = append(errs, fmt.Errorf("--delivery-timeout: %v is not between 100ms and %v", c.DeliveryTimeout, web.MaxDeliveryTimeout))
	}
	if c.SpoolAfter < 10*time.Millisecond || c.SpoolAfter > web.MaxDeliveryTimeout {
		errs = append(errs, fmt.Errorf("--spool-after: %v is not between 10ms and %v", c.SpoolAfter, web.MaxDeliveryTimeout))
	}
	if c.SpoolDir == "" {
		errs = append(errs, errors.New("--spool-dir: is empty"))
	}
	if c.SpoolLimit != 0 && c.SpoolLimit < minSpoolLimit {
		errs = append(errs, fmt.Errorf("--spool-limit: %v is neither 0 nor at least %v", c.SpoolLimit, minSpoolLimit))
	}
	if c.QueueLimit < 1 || c.QueueLimit > 10_000_000 {
		errs = append(errs, fmt.Errorf("--queue-limit: %d is not between 1 and 10000000", c.QueueLimit))
	}
	if c.RateLimit < 0 {
		errs = append(errs, fmt.Errorf("--rate-limit: %d is negative", c.RateLimit))
	}
	if c.DrainDelay < 0 {
		errs = append(errs, fmt.Errorf("--drain-delay: %v is negative", c.DrainDelay))
	}
	if c.DrainTimeout <= 0 {
		errs = append(errs, fmt.Errorf("--drain-timeout: %v is not positive", c.DrainTimeout))
	}
	if c.Live && (c.CassandraPort < 1 || c.CassandraPort > 65535) {
		errs = append(errs, fmt.Errorf("--cassandra-port: %d is no port", c.CassandraPort))
	}
	return errors.Join(errs...)
}

// minSpoolLimit is room for the largest requests.
const minSpoolLimit byteSize = 16 << 20

// spoolDir is the folder of the spool for the topic.
func (c *Config) spoolDir() string { return filepath.Join(c.SpoolDir, c.KafkaTopic) }

// activityTopic is the topic of the live counts.
func (c *Config) activityTopic() string {
	if c.KafkaActivityTopic != "" {
		return c.KafkaActivityTopic
	}
	return schema.ActivityTopicOf(c.KafkaTopic)
}

// String is the settings as --print-config shows them.
func (c *Config) String() string {
	text, err := json.MarshalIndent(map[string]any{
		"addr":                           c.Addr,
		"kafka_bootstrap_servers":        c.Kafka.BootstrapServers,
		"kafka_security_protocol":        c.Kafka.SecurityProtocol,
		"kafka_sasl_mechanism":           c.Kafka.SASLMechanism,
		"kafka_sasl_username":            c.Kafka.SASLUsername,
		"kafka_sasl_password":            c.Kafka.SASLPassword,
		"kafka_ssl_ca_location":          c.Kafka.CAFile,
		"kafka_ssl_certificate_location": c.Kafka.CertificateFile,
		"kafka_ssl_key_location":         c.Kafka.KeyFile,
		"kafka_topic":                    c.KafkaTopic,
		"delivery_timeout":               c.DeliveryTimeout.String(),
		"queue_limit":                    c.QueueLimit,
		"spool_after":                    c.SpoolAfter.String(),
		"spool_dir":                      c.SpoolDir,
		"spool_limit":                    c.SpoolLimit.String(),
		"rate_limit":                     c.RateLimit,
		"drain_delay":                    c.DrainDelay.String(),
		"drain_timeout":                  c.DrainTimeout.String(),
		"live":                           c.Live,
		"kafka_activity_topic":           c.activityTopic(),
		"spark_job_name":                 c.SparkJobName,
		"cassandra_hosts":                c.CassandraHosts,
		"cassandra_port":                 c.CassandraPort,
		"cassandra_datacenter":           c.CassandraDatacenter,
		"cassandra_tls":                  c.CassandraTLS.Enabled,
		"cassandra_tls_ca":               c.CassandraTLS.CAFile,
		"cassandra_tls_certificate":      c.CassandraTLS.CertificateFile,
		"cassandra_tls_key":              c.CassandraTLS.KeyFile,
		"cassandra_password":             c.CassandraPassword,
		"metrics_addr":                   c.MetricsAddr,
		"log_level":                      c.LogLevel.String(),
		"log_format":                     c.LogFormat,
		"log_requests":                   c.LogRequests,
	}, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// logger returns the log that the settings ask for.
func (c *Config) logger(out io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}

// parse reads the command line and the environment. --help ends the program.
func parse(args []string) (*Config, error) {
	cfg := new(Config)
	stack := os.Getenv("STACK_DIR")
	if stack == "" {
		stack = ".stack"
	}
	parser, err := kong.New(cfg, kong.Name("producer"), kong.Description(description),
		kong.Vars{"spool_dir": filepath.Join(stack, "data", "spool")})
	if err != nil {
		return nil, err
	}
	_, err = parser.Parse(args)
	return cfg, err
}
