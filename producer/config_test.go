package main

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/bookstore/schema/kafkaclient"
)

// clearEnv keeps the settings of the machine that runs the tests out of them.
func clearEnv(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"STACK_DIR", "STORE_RATE_LIMIT", "STORE_SPOOL_AFTER", "STORE_SPOOL_DIR", "STORE_SPOOL_LIMIT",
		"STORE_ADDR", "KAFKA_BOOTSTRAP_SERVERS", "KAFKA_TOPIC", "STORE_DELIVERY_TIMEOUT", "STORE_QUEUE_LIMIT",
		"STORE_DRAIN_DELAY", "STORE_DRAIN_TIMEOUT", "STORE_LOG_LEVEL", "STORE_LOG_REQUESTS",
		"STORE_LOG_FORMAT", "STORE_METRICS_ADDR", "STORE_LIVE", "KAFKA_ACTIVITY_TOPIC", "SPARK_JOB_NAME", "CASSANDRA_HOSTS", "CASSANDRA_PORT", "CASSANDRA_DATACENTER", "CASSANDRA_STORE_PASSWORD",
		"CASSANDRA_TLS", "CASSANDRA_TLS_CA", "CASSANDRA_TLS_CERTIFICATE", "CASSANDRA_TLS_KEY",
		"KAFKA_SECURITY_PROTOCOL", "KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD",
		"KAFKA_SSL_CA_LOCATION", "KAFKA_SSL_CERTIFICATE_LOCATION", "KAFKA_SSL_KEY_LOCATION",
	} {
		t.Setenv(name, "") // restores the variable when the test ends
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDefaults(t *testing.T) {
	clearEnv(t)
	cfg, err := parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Addr: "127.0.0.1:5001", KafkaTopic: "bookstore_events",
		DeliveryTimeout: 10 * time.Second, QueueLimit: 100_000, DrainTimeout: 15 * time.Second,
		SpoolAfter: 150 * time.Millisecond, SpoolDir: ".stack/data/spool", SpoolLimit: 1 << 30, RateLimit: 200,
		Kafka: kafkaclient.Config{
			BootstrapServers: "127.0.0.1:9092", SecurityProtocol: kafkaclient.Plaintext, SASLMechanism: "SCRAM-SHA-512",
		},
		LogFormat: "text", Live: true, SparkJobName: "bookstore", CassandraHosts: []string{"127.0.0.1"}, CassandraPort: 9042, CassandraDatacenter: "datacenter1",
	}
	if !reflect.DeepEqual(*cfg, want) {
		t.Errorf("got  %+v\nwant %+v", *cfg, want)
	}
}

func TestFlagsWinOverEnvironment(t *testing.T) {
	clearEnv(t)
	t.Setenv("STORE_ADDR", "127.0.0.1:1111")
	t.Setenv("KAFKA_TOPIC", "from-environment")
	cfg, err := parse([]string{"--addr=127.0.0.1:2222"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Addr != "127.0.0.1:2222" || cfg.KafkaTopic != "from-environment" {
		t.Errorf("addr = %s, topic = %s", cfg.Addr, cfg.KafkaTopic)
	}
}

func TestBadSettingsAreAllReported(t *testing.T) {
	clearEnv(t)
	_, err := parse([]string{
		"--addr=nowhere", "--kafka-bootstrap-servers=", "--kafka-topic=", "--delivery-timeout=1h", "--queue-limit=0",
		"--drain-delay=-1s", "--drain-timeout=0s", "--cassandra-port=0",
		"--spool-after=1ms", "--spool-dir=", "--spool-limit=1MiB", "--rate-limit=-1", "--kafka-security-protocol=SASL_SSL",
	})
	for _, flag := range []string{
		"--addr: ", "--kafka-bootstrap-servers: ", "--kafka-topic: ", "--delivery-timeout: ", "--queue-limit: ", "--drain-delay: ", "--drain-timeout: ",
		"--cassandra-port: ", "--spool-after: ", "--spool-dir: ", "--spool-limit: ", "--rate-limit: ", "--kafka-sasl-username: ", "KAFKA_SASL_PASSWORD: ",
	} {
		if err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("err = %v, want it to name %s", err, flag)
		}
	}
}

func TestPrintedConfigIsJSON(t *testing.T) {
	clearEnv(t)
	t.Setenv("CASSANDRA_STORE_PASSWORD", "open sesame")
	t.Setenv("KAFKA_SASL_PASSWORD", "open sesame")
	cfg, err := parse([]string{"--print-config", "--kafka-topic=other"})
	if err != nil {
		t.Fatal(err)
	}
	var printed map[string]any
	if err := json.Unmarshal([]byte(cfg.String()), &printed); err != nil {
		t.Fatal(err)
	}
	if printed["cassandra_password"] != "(hidden)" || printed["kafka_sasl_password"] != "(hidden)" || strings.Contains(cfg.String(), "sesame") {
		t.Errorf("a secret shows: %s", cfg)
	}
	if printed["kafka_activity_topic"] != "other_activity" {
		t.Errorf("kafka_activity_topic = %v, want the job's for the topic", printed["kafka_activity_topic"])
	}
	if printed["addr"] != "127.0.0.1:5001" || printed["drain_timeout"] != "15s" || printed["spool_limit"] != "1GiB" {
		t.Errorf("printed %v", printed)
	}
}

func TestSpoolSettings(t *testing.T) {
	clearEnv(t)
	t.Setenv("STACK_DIR", "/elsewhere")
	t.Setenv("STORE_SPOOL_LIMIT", "512MiB")
	cfg, err := parse([]string{"--kafka-topic=other"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.spoolDir() != "/elsewhere/data/spool/other" || cfg.SpoolLimit != 512<<20 {
		t.Errorf("the spool is in %s, at most %v", cfg.spoolDir(), cfg.SpoolLimit)
	}
	if _, err := parse([]string{"--spool-limit=much"}); err == nil || !strings.Contains(err.Error(), "spool-limit") {
		t.Errorf("err = %v, want it to name --spool-limit", err)
	}
}
