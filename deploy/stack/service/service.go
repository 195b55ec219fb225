// Package service knows each process of the local stack: how it is configured, what
// command runs it, and how to tell that it really answers. It stands beneath the whole
// of the data's path.
package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"example.com/bookstore/deploy/stack/jars"
	"example.com/bookstore/deploy/stack/process"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/kafkaclient"
	"example.com/bookstore/schema/secret"
)

// The names of the services, as users type them and as docker compose has them.
const (
	Kafka        = "kafka"
	Cassandra    = "cassandra"
	SparkMaster  = "spark-master"
	SparkWorker  = "spark-worker"
	SparkConnect = "spark-connect"
	Store        = "store"
	Sparkjob     = "sparkjob"
)

// Service is one process of the stack.
type Service struct {
	process.Process

	Address string   // where it answers, as a user would write it
	Host    string   // address of this machine that it listens on
	Ports   []Port   // ports that it listens on
	After   []string // services that must answer before this one starts
	// With names the other nodes of its cluster: whoever needs one needs all.
	With []string
	// Bound names a service whose restart this one does not survive.
	Bound   string
	Memory  uint64    // resident bytes that it takes, with its children
	Jars    *jars.Set // nil for our own programs
	Start   time.Duration
	Drain   time.Duration // time to end by itself after SIGTERM
	Folder  string        // that it runs in
	Command func() []string
	Environ func() []string
	// Prepare writes configuration and data folders. It may run again at any time.
	Prepare func(ctx context.Context) error
	// Answers makes one request and reports why it got no proper answer.
	Answers func(ctx context.Context) error
	// Works does a first piece of real work, once it answers after a start and the tables
	// are there; nil where an answer says enough.
	Works func(ctx context.Context) error
}

// Port is a number and the variable that sets it.
type Port struct {
	Variable string
	Number   int
}

// Config is what the local stack takes from the environment. Kong reads it.
type Config struct {
	Dir                string `name:"stack-dir" env:"STACK_DIR" default:".stack" help:"Folder of data, logs and pid files."`
	CheckpointLocation string `env:"CHECKPOINT_LOCATION" help:"Where queries keep their progress, a URI; below the stack's folder when absent."`
	JavaVersion        int    `env:"JAVA_VERSION" required:""`

	TLS          bool               `env:"STACK_TLS" help:"Encrypt the ways to Kafka and Cassandra, and have Kafka ask for a password."`
	Kafka        kafkaclient.Config `embed:"" prefix:"kafka-"`
	CassandraTLS cassandra.TLS      `embed:"" prefix:"cassandra-"`

	KafkaPort            int `env:"KAFKA_PORT" required:""`
	KafkaControllerPort  int `env:"KAFKA_CONTROLLER_PORT" required:""`
	CassandraPort        int `env:"CASSANDRA_PORT" required:""`
	CassandraStoragePort int `env:"CASSANDRA_STORAGE_PORT" required:""`
	SparkMasterPort      int `env:"SPARK_MASTER_PORT" required:""`
	SparkMasterUIPort    int `env:"SPARK_MASTER_UI_PORT" required:""`
	SparkWorkerUIPort    int `env:"SPARK_WORKER_UI_PORT" required:""`
	SparkConnectPort     int `env:"SPARK_CONNECT_PORT" required:""`
	SparkUIPort          int `env:"SPARK_UI_PORT" required:""`
	StorePort            int `env:"STORE_PORT" required:""`
	KafkaMetricsPort     int `env:"KAFKA_METRICS_PORT" required:""`
	CassandraMetricsPort int `env:"CASSANDRA_METRICS_PORT" required:""`

	Nodes int `env:"STACK_NODES" default:"1" help:"Nodes of Kafka and Cassandra, 1 or 3."`

	SparkVersion      string `env:"SPARK_VERSION" required:""`
	SparkScalaVersion string `env:"SPARK_SCALA_VERSION" required:""`
	SparkWorkerCores  int    `env:"SPARK_WORKER_CORES" required:""`
	SparkWorkerMemory string `env:"SPARK_WORKER_MEMORY" required:""`

	AdminPassword secret.String `env:"CASSANDRA_ADMIN_PASSWORD"`
	JobPassword   secret.String `env:"CASSANDRA_JOB_PASSWORD"`
	StorePassword secret.String `env:"CASSANDRA_STORE_PASSWORD"`
}

// Validate is called by kong once the fields are set.
func (c *Config) Validate() error {
	seen := map[int]string{}
	for _, p := range c.ports() {
		if p.Number < 1 || p.Number > 65535 {
			return fmt.Errorf("%s=%d is no port: it must be from 1 to 65535", p.Variable, p.Number)
		}
		if other := seen[p.Number]; other != "" {
			return fmt.Errorf("%s and %s are both %d: each needs a port of its own", other, p.Variable, p.Number)
		}
		seen[p.Number] = p.Variable
	}
	if c.Nodes != 1 && c.Nodes != 3 {
		return fmt.Errorf("STACK_NODES=%d: the stack has 1 node of each engine, or 3", c.Nodes)
	}
	if c.SparkWorkerCores < 1 {
		return fmt.Errorf("SPARK_WORKER_CORES=%d: the worker needs at least one core", c.SparkWorkerCores)
	}
	return nil
}

// CheckSecrets reports a password that is missing, which only a command that starts
// something needs.
func (c *Config) CheckSecrets() error {
	for _, p := range []struct {
		variable string
		value    secret.String
	}{
		{"CASSANDRA_ADMIN_PASSWORD", c.AdminPassword},
		{"CASSANDRA_JOB_PASSWORD", c.JobPassword},
		{"CASSANDRA_STORE_PASSWORD", c.StorePassword},
	} {
		if p.value == "" {
			return fmt.Errorf("%s is empty: set it in .env, or remove .env to have a new one made", p.variable)
		}
	}
	if c.TLS && c.Kafka.SASLPassword == "" {
		return errors.New("KAFKA_SASL_PASSWORD is empty, and STACK_TLS has Kafka ask for one: set it in .env")
	}
	return nil
}

func (c *Config) ports() []Port {
	return []Port{
		{"KAFKA_PORT", c.KafkaPort}, {"KAFKA_CONTROLLER_PORT", c.KafkaControllerPort},
		{"CASSANDRA_PORT", c.CassandraPort}, {"CASSANDRA_STORAGE_PORT", c.CassandraStoragePort},
		{"SPARK_MASTER_PORT", c.SparkMasterPort}, {"SPARK_MASTER_UI_PORT", c.SparkMasterUIPort},
		{"SPARK_WORKER_UI_PORT", c.SparkWorkerUIPort},
		{"SPARK_CONNECT_PORT", c.SparkConnectPort}, {"SPARK_UI_PORT", c.SparkUIPort},
		{"STORE_PORT", c.StorePort},
		{"KAFKA_METRICS_PORT", c.KafkaMetricsPort}, {"CASSANDRA_METRICS_PORT", c.CassandraMetricsPort},
	}
}

// Builder makes the services of one stack. Its paths are absolute.
type Builder struct {
	Config   Config
	Project  string // folder of the project
	Dir      string // folder of this stack: data, logs and pid files
	Shared   string // folder of what every stack of the project shares: jars and bin
	JavaHome string // of the Java that runs the engines; needed only to start one
}

// All returns every service in the order of their dependencies.
func (b *Builder) All() []*Service {
	all := append(b.kafkas(), b.cassandras()...)
	all = append(all, b.sparkMaster())
	all = append(all, b.sparkWorkers()...)
	return append(all, b.sparkConnect(), b.store(), b.sparkjob())
}

// base fills in what every service has.
func (b *Builder) base(name string) *Service {
	return &Service{
		Host: firstHost,
		Process: process.Process{
			Name:    name,
			PIDFile: filepath.Join(b.Dir, "run", name+".pid"),
			LogFile: filepath.Join(b.Dir, "logs", name+".log"),
		},
		Folder:  b.Project,
		Environ: os.Environ,
		Prepare: func(context.Context) error { return nil },
	}
}

func (b *Builder) java() string { return filepath.Join(b.JavaHome, "bin", "java") }

func (b *Builder) jars(engine string) *jars.Set {
	return &jars.Set{
		Name: engine,
		POM:  filepath.Join(b.Project, "deploy", engine, "pom.xml"),
		Dir:  filepath.Join(b.Shared, "jars", engine),
	}
}

// conf is the folder of the filled-in configuration of an engine, or of a node of it.
func (b *Builder) conf(name string) string { return filepath.Join(b.Dir, "run", "conf", name) }

// data is the folder of the data of an engine, or of a node of it.
func (b *Builder) data(name string) string { return filepath.Join(b.Dir, "data", name) }

// configure fills in the configuration files of an engine's node and makes its data
// folders. Beside the environment, the files may name STACK_DIR, the node's DATA_DIR,
// NODE_NUMBER and NODE_HOST, CONF_DIR and CONF_URL, the folder that they are in, JARS_DIR,
// the folder of the engine's jars, and the variables of more.
func (b *Builder) configure(engine string, n node, more map[string]string, folders []string, files ...string) error {
	name := n.name(engine)
	own := map[string]string{
		"STACK_DIR":   b.Dir,
		"DATA_DIR":    b.data(name),
		"CONF_DIR":    b.conf(name),
		"CONF_URL":    (&url.URL{Scheme: "file", Path: b.conf(name)}).String(),
		"JARS_DIR":    b.jars(engine).Dir,
		"NODE_NUMBER": strconv.Itoa(n.number),
		"NODE_HOST":   n.host,
	}
	maps.Copy(own, more)
	value := func(name string) (string, bool) {
		if v, ok := own[name]; ok {
			return v, true
		}
		return os.LookupEnv(name)
	}
	for _, folder := range folders {
		if err := os.MkdirAll(filepath.Join(b.data(name), folder), 0o755); err != nil {
			return fmt.Errorf("configuring %s: %w", name, err)
		}
	}
	if err := render(filepath.Join(b.Project, "deploy", engine), b.conf(name), files, value); err != nil {
		return fmt.Errorf("configuring %s: %w", name, err)
	}
	return nil
}

// engineEnviron is the environment without the passwords, which no engine needs and
// which Spark would hand on to its executors, and without SPARK_REMOTE, with which a
// Spark server takes itself for a client.
func engineEnviron(extra ...string) []string {
	var environ []string
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); !strings.HasSuffix(name, "_PASSWORD") && name != "SPARK_REMOTE" {
			environ = append(environ, pair)
		}
	}
	return append(environ, extra...)
}

func loopback(port int) string { return firstNode.address(port) }
