package service

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/bookstore/schema/kafkaclient"
	"example.com/bookstore/schema/secret"
)

// What stands for Kafka's password is in files of their owner's, and in nothing else that
// the engines get.
func TestTLS(t *testing.T) {
	const password secret.String = `hu"sh`
	for _, name := range []string{"KAFKA_PORT", "KAFKA_CONTROLLER_PORT", "KAFKA_PARTITIONS", "KAFKA_METRICS_PORT", "KAFKA_REPLICATION_FACTOR",
		"KAFKA_MIN_INSYNC_REPLICAS", "JMX_EXPORTER_VERSION", "CASSANDRA_PORT", "CASSANDRA_STORAGE_PORT", "CASSANDRA_METRICS_PORT",
		"CASSANDRA_REPLICATION_FACTOR", "CASSANDRA_RING_DELAY_MS", "CASSANDRA_FIRST_ROLE_DELAY_MS", "BYTEMAN_VERSION",
		"SPARK_MASTER_PORT", "SPARK_CONNECT_PORT", "SPARK_UI_PORT", "SPARK_EXECUTOR_CORES", "SPARK_EXECUTOR_MEMORY"} {
		t.Setenv(name, "12345")
	}
	project, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	b := &Builder{Config: validConfig(), Project: project, Dir: filepath.Join(t.TempDir(), "a stack"), Shared: t.TempDir()}
	b.Config.TLS = true
	if err := b.Config.CheckSecrets(); err == nil {
		t.Error("no password of Kafka's is asked for")
	}
	b.Config.Kafka = kafkaclient.Config{
		SecurityProtocol: kafkaclient.SASLSSL, SASLMechanism: "SCRAM-SHA-512", SASLUsername: kafkaUser, SASLPassword: password,
	}
	if err := b.Certificates(); err != nil {
		t.Fatal(err)
	}
	if err := b.configureKafka(firstNode); err != nil {
		t.Fatal(err)
	}
	services := map[string]*Service{}
	for _, s := range b.All() {
		services[s.Name] = s
		if s.Jars == nil || s.Name == Kafka { // whose Prepare starts a JVM
			continue
		}
		for range 2 {
			if err := s.Prepare(t.Context()); err != nil {
				t.Fatalf("preparing %s: %v", s.Name, err)
			}
		}
	}
	for file, want := range map[string]string{
		"kafka/server.properties":  "\nlisteners=SASL_SSL://127.0.0.1:12345,CONTROLLER://",
		"cassandra/cassandra.yaml": "\n  optional: false\n",
		"kafka/jaas.conf":          "KafkaServer {",
		"spark/jaas.conf":          "KafkaClient {",
	} {
		path := filepath.Join(b.Dir, "run", "conf", file)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(text), want) != 1 {
			t.Errorf("%s has not one %q", file, want)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		private := info.Mode().Perm() == 0o600
		if login := strings.HasSuffix(file, "jaas.conf"); login != private || login != strings.Contains(string(text), `hu\"sh`) {
			t.Errorf("%s has mode %v, and the password or not", file, info.Mode())
		}
	}
	for _, s := range services {
		if s.Jars == nil {
			continue
		}
		command := strings.Join(s.Command(), "\n")
		if strings.Contains(command, string(password)) {
			t.Errorf("the command line of %s has a password", s.Name)
		}
		reads := strings.Contains(command, "-Djava.security.auth.login.config="+b.Dir)
		if wants := slices.Contains([]string{Kafka, SparkConnect}, s.Name); reads != wants {
			t.Errorf("%s reads a login: %t, want %t", s.Name, reads, wants)
		}
	}
	user, err := b.scramUser()
	if err != nil || len(user) != 2 || strings.Contains(user[1], string(password)) || !strings.HasPrefix(user[1], "SCRAM-SHA-512=[name=bookstore,") {
		t.Errorf("the user is made with %q, %v", user, err)
	}
}

func TestWithoutTLS(t *testing.T) {
	b := &Builder{Config: validConfig(), Dir: t.TempDir()}
	if err := b.Certificates(); err != nil {
		t.Fatal(err)
	}
	if files, err := os.ReadDir(b.Dir); err != nil || len(files) != 0 {
		t.Errorf("there are %v, %v", files, err)
	}
	if user, err := b.scramUser(); user != nil || err != nil {
		t.Errorf("without a password there is the user %q, %v", user, err)
	}
}
