package service

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRender(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "conf")
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(from, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("good", "port=${PORT} twice=${PORT} lower=${sys:x} dots=${...} dollar=$PORT\n")
	write("bad", "${PORT} ${NOT_SET} ${NOT_SET} ${NEITHER}\n")
	write("unnamed", "")
	value := func(name string) (string, bool) { return "9092", name == "PORT" }

	if err := render(from, to, []string{"good"}, value); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(to, "good"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "port=9092 twice=9092 lower=${sys:x} dots=${...} dollar=$PORT\n"; string(got) != want {
		t.Errorf("rendered = %q, want %q", got, want)
	}
	if _, err := os.Stat(filepath.Join(to, "unnamed")); err == nil {
		t.Error("a file that was not named is there")
	}
	err = render(from, to, []string{"bad"}, value)
	if err == nil || !strings.Contains(err.Error(), "no value for NOT_SET, NEITHER") {
		t.Errorf("error = %v, want one that names NOT_SET and NEITHER", err)
	}
}

// validConfig is one that the tests change in one place.
func validConfig() Config {
	return Config{
		Nodes: 1, KafkaPort: 1, KafkaControllerPort: 2, CassandraPort: 3, CassandraStoragePort: 4, SparkMasterPort: 5,
		SparkMasterUIPort: 6, SparkWorkerUIPort: 7, SparkConnectPort: 8, SparkUIPort: 9, StorePort: 10, KafkaMetricsPort: 11, CassandraMetricsPort: 12,
		SparkWorkerCores: 2, SparkWorkerMemory: "1g", SparkScalaVersion: "2.12", AdminPassword: "hush",
	}
}

func TestConfigValidate(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   string // in the error; none when empty
	}{
		{"valid", func(*Config) {}, ""},
		{"no port", func(c *Config) { c.KafkaPort = 0 }, "KAFKA_PORT=0 is no port"},
		{"port too large", func(c *Config) { c.StorePort = 65536 }, "STORE_PORT=65536 is no port"},
		{"one port twice", func(c *Config) { c.SparkUIPort = c.KafkaPort }, "KAFKA_PORT and SPARK_UI_PORT are both 1"},
		{"two nodes", func(c *Config) { c.Nodes = 2 }, "STACK_NODES=2: the stack has 1 node of each engine, or 3"},
		{"no core", func(c *Config) { c.SparkWorkerCores = 0 }, "at least one core"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := validConfig()
			test.change(&c)
			err := c.Validate()
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want %q", err, test.want)
			}
		})
	}
}

func TestCheckSecrets(t *testing.T) {
	c := validConfig()
	if err := c.CheckSecrets(); err == nil || !strings.Contains(err.Error(), "CASSANDRA_JOB_PASSWORD is empty") {
		t.Errorf("error = %v, want one that names CASSANDRA_JOB_PASSWORD", err)
	}
	c.JobPassword, c.StorePassword = "a", "b"
	if err := c.CheckSecrets(); err != nil {
		t.Error(err)
	}
}

func TestPasswordsAreHidden(t *testing.T) {
	c := validConfig()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, c); strings.Contains(got, "hush") {
			t.Errorf("%s of the configuration shows a password: %s", verb, got)
		}
	}
}

func TestEnginesGetNoPassword(t *testing.T) {
	t.Setenv("CASSANDRA_ADMIN_PASSWORD", "hush")
	t.Setenv("CASSANDRA_STORE_PASSWORD", "hush")
	t.Setenv("SPARK_REMOTE", "sc://127.0.0.1:15002")
	b := &Builder{Config: validConfig(), Dir: t.TempDir(), Project: t.TempDir()}
	b.Config.StorePassword = "store's own"
	for _, s := range b.All() {
		environ := strings.Join(s.Environ(), "\n")
		engine := s.Jars != nil
		if engine && (strings.Contains(environ, "_PASSWORD=") || strings.Contains(environ, "SPARK_REMOTE=")) {
			t.Errorf("the environment of %s has a password or SPARK_REMOTE", s.Name)
		}
		if s.Name == Store && (strings.Contains(environ, "ADMIN") || !strings.Contains(environ, "CASSANDRA_STORE_PASSWORD=store's own")) {
			t.Error("the store's environment has not just its own password")
		}
	}
}

// Each configuration file as it is in the project must fill in completely.
func TestProjectConfiguration(t *testing.T) {
	for _, name := range []string{"KAFKA_PORT", "KAFKA_CONTROLLER_PORT", "KAFKA_PARTITIONS", "CASSANDRA_PORT", "CASSANDRA_STORAGE_PORT",
		"SPARK_MASTER_PORT", "SPARK_CONNECT_PORT", "SPARK_UI_PORT", "SPARK_EXECUTOR_CORES", "SPARK_EXECUTOR_MEMORY", "BYTEMAN_VERSION",
		"JMX_EXPORTER_VERSION", "KAFKA_METRICS_PORT", "CASSANDRA_METRICS_PORT", "KAFKA_REPLICATION_FACTOR", "KAFKA_MIN_INSYNC_REPLICAS",
		"CASSANDRA_REPLICATION_FACTOR", "CASSANDRA_RING_DELAY_MS", "CASSANDRA_FIRST_ROLE_DELAY_MS"} {
		t.Setenv(name, "12345")
	}
	project, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	b := &Builder{Config: validConfig(), Project: project, Dir: filepath.Join(t.TempDir(), "a stack"), Shared: t.TempDir()}
	for _, s := range b.All() {
		if s.Jars == nil || s.Name == Kafka { // whose Prepare starts a JVM
			continue
		}
		for range 2 {
			if err := s.Prepare(t.Context()); err != nil {
				t.Errorf("preparing %s: %v", s.Name, err)
			}
		}
	}
	if err := b.configureKafka(firstNode); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(filepath.Join(b.conf("kafka"), "server.properties"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "listeners=PLAINTEXT://127.0.0.1:12345,"; !strings.Contains(string(text), want) {
		t.Errorf("server.properties has no %q", want)
	}
}

// Several nodes have a name, an address and folders each, and know of one another.
func TestSeveralNodes(t *testing.T) {
	project, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"KAFKA_PORT", "KAFKA_CONTROLLER_PORT", "KAFKA_PARTITIONS", "KAFKA_METRICS_PORT", "KAFKA_REPLICATION_FACTOR",
		"KAFKA_MIN_INSYNC_REPLICAS", "JMX_EXPORTER_VERSION", "CASSANDRA_PORT", "CASSANDRA_STORAGE_PORT", "CASSANDRA_METRICS_PORT",
		"CASSANDRA_REPLICATION_FACTOR", "CASSANDRA_RING_DELAY_MS", "CASSANDRA_FIRST_ROLE_DELAY_MS"} {
		t.Setenv(name, "12345")
	}
	b := &Builder{Config: validConfig(), Project: project, Dir: t.TempDir(), Shared: t.TempDir()}
	b.Config.Nodes = 3
	services := map[string]*Service{}
	for _, s := range b.All() {
		services[s.Name] = s
	}
	for name, want := range map[string]string{"kafka": "127.0.0.1:1", "kafka-2": "127.0.0.2:1", "kafka-3": "127.0.0.3:1",
		"cassandra": "127.0.0.1:3", "cassandra-3": "127.0.0.3:3", "spark-worker": "http://127.0.0.1:7", "spark-worker-2": "http://127.0.0.2:7"} {
		if s := services[name]; s == nil || s.Address != want {
			t.Errorf("%s is %v, want it at %s", name, s, want)
		}
	}
	if got := strings.Join(services["kafka-2"].With, " "); got != "kafka kafka-3" {
		t.Errorf("kafka-2 starts with %s", got)
	}
	if got := services["spark-worker-2"].Environ(); !slices.Contains(got, "SPARK_LOCAL_IP=127.0.0.2") {
		t.Errorf("the second worker is not told its address: %q", got)
	}

	if err := b.configureKafka(nodes(3)[1]); err != nil {
		t.Fatal(err)
	}
	if err := services["cassandra-3"].Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	for file, wants := range map[string][]string{
		"kafka-2/server.properties": {"node.id=2\n", "voters=1@127.0.0.1:2,2@127.0.0.2:2,3@127.0.0.3:2\n", "listeners=PLAINTEXT://127.0.0.2:12345,",
			"log.dirs=" + b.Dir + "/data/kafka-2/logs\n"},
		"kafka-2/jvm.options":        {"=127.0.0.2:12345:" + b.Dir + "/run/conf/kafka-2/metrics.yaml"},
		"cassandra-3/cassandra.yaml": {`seeds: "127.0.0.1:4,127.0.0.2:4,127.0.0.3:4"`, "listen_address: 127.0.0.3\n", "rpc_address: 127.0.0.3\n"},
		"cassandra-3/jvm.options":    {"-Dcassandra.storagedir=" + b.Dir + `/data/cassandra-3"`},
	} {
		text, err := os.ReadFile(filepath.Join(b.Dir, "run", "conf", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s has no %q", file, want)
			}
		}
	}
}

// A broker that comes later, or lost its data, belongs to the cluster of the others.
func TestKafkaCluster(t *testing.T) {
	b := &Builder{Config: validConfig(), Dir: t.TempDir()}
	b.Config.Nodes = 3
	first, err := b.kafkaCluster()
	if err != nil {
		t.Fatal(err)
	}
	if other, err := b.kafkaCluster(); err != nil || other == first || len(other) != 22 {
		t.Errorf("new clusters have the ids %q and %q, %v; want two", first, other, err)
	}
	meta := b.kafkaMeta(nodes(3)[2])
	if err := os.MkdirAll(filepath.Dir(meta), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(meta, []byte("#\nnode.id=3\ncluster.id=theirs\nversion=1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := b.kafkaCluster(); err != nil || got != "theirs" {
		t.Errorf("id = %q, %v; want that of the third broker", got, err)
	}
}

func TestMasterAnswers(t *testing.T) {
	for _, test := range []struct{ name, body, want string }{
		{"alive", `{"status":"ALIVE","workers":[{"webuiaddress":"http://127.0.0.1:7","state":"ALIVE"}]}`, ""},
		{"standby", `{"status":"STANDBY"}`, "STANDBY"},
		{"not JSON", `<html>`, "invalid character"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, test.body) }))
			defer server.Close()
			b := &Builder{Config: validConfig()}
			b.Config.SparkMasterUIPort = server.Listener.Addr().(*net.TCPAddr).Port
			_, err := b.askMaster(t.Context())
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want %q", err, test.want)
			}
		})
	}
}

func TestNothingListens(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	b := &Builder{Config: validConfig(), Dir: t.TempDir()}
	b.Config.KafkaPort, b.Config.CassandraPort, b.Config.SparkMasterUIPort = port, port, port
	b.Config.SparkWorkerUIPort, b.Config.SparkConnectPort, b.Config.StorePort = port, port, port
	for _, s := range b.All() {
		if s.Name == Sparkjob {
			continue // asks a program of ours
		}
		if err := s.Answers(t.Context()); err == nil || !strings.Contains(err.Error(), "nothing listens there") {
			t.Errorf("%s: error = %v, want that nothing listens", s.Name, err)
		}
	}
}
