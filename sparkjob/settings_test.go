package main

import (
	"slices"
	"strings"
	"testing"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/kafkaclient"
)

func TestSettingsHideSecrets(t *testing.T) {
	s := settings{
		kafkaSettings:     kafkaSettings{Kafka: kafkaclient.Config{BootstrapServers: "k:1", SASLPassword: "s3cret"}},
		cassandraSettings: cassandraSettings{CassandraJobPassword: "s3cret", CassandraHosts: []string{"a", "b"}},
	}
	text := s.String()
	if strings.Contains(text, "s3cret") {
		t.Errorf("a password shows:\n%s", text)
	}
	for _, want := range []string{"CASSANDRA_JOB_PASSWORD=(hidden)\n", "KAFKA_SASL_PASSWORD=(hidden)\n", "KAFKA_BOOTSTRAP_SERVERS=k:1\n", "CASSANDRA_ADMIN_PASSWORD=\n", "CASSANDRA_HOSTS=a,b\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing:\n%s", want, text)
		}
	}
}

func TestQueryNames(t *testing.T) {
	s := querySettings{Queries: []string{"events, reads", "funnel", "reads", ""}}
	if got, want := s.names(), []string{"events", "reads", "funnel"}; !slices.Equal(got, want) {
		t.Errorf("names = %q, want %q", got, want)
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	s.Queries = append(s.Queries, "event")
	if err := s.Validate(); err == nil || !strings.Contains(err.Error(), `"event"`) {
		t.Errorf("Validate of a name that no query has: %v", err)
	}
}

func TestDriverConfigFillsIn(t *testing.T) {
	s := settings{
		kafkaSettings:     kafkaSettings{Kafka: kafkaclient.Config{BootstrapServers: "k:1", CAFile: "/ca.pem", SASLPassword: "hush"}, Topic: schema.Topic},
		cassandraSettings: cassandraSettings{CassandraHosts: []string{"c"}, CassandraPort: 9042},
	}
	t.Setenv("STACK_DIR", "/s")
	c, err := s.driverConfig()
	if err != nil {
		t.Fatal(err)
	}
	if c.Job.Kafka.BootstrapServers != "k:1" || c.Job.Kafka.CAFile != "/ca.pem" || c.Job.Cassandra.Hosts[0] != "c" || c.Job.Cassandra.Port != 9042 {
		t.Errorf("Spark's addresses do not follow the driver's: %+v", c.Job)
	}
	if c.Kafka.SASLPassword != "hush" || c.Job.Kafka.SASLPassword != "" {
		t.Error("Kafka's password is for the driver alone: Spark has it from a file of its own")
	}
	if c.Job.CheckpointLocation != "file:///s/data/checkpoints" {
		t.Errorf("CheckpointLocation = %q", c.Job.CheckpointLocation)
	}
	if got := c.ActivityTopic.Name; got != c.Job.ActivityTopic || got != schema.ActivityTopic {
		t.Errorf("the activity goes to %q, of Spark to %q", got, c.Job.ActivityTopic)
	}
	s.ActivityTopic = "counts"
	s.SparkKafkaBootstrapServers, s.SparkCassandraHosts, s.SparkCassandraPort = "inner:2", []string{"inner"}, 3
	s.SparkKafkaCAFile = "/inner.pem"
	s.CheckpointLocation = "hdfs://n/c"
	if c, err = s.driverConfig(); err != nil {
		t.Fatal(err)
	}
	if c.Job.Kafka.BootstrapServers != "inner:2" || c.Job.Kafka.CAFile != "/inner.pem" || c.Kafka.CAFile != "/ca.pem" || c.Job.Cassandra.Hosts[0] != "inner" || c.Job.Cassandra.Port != 3 || c.Cassandra.Port != 9042 {
		t.Errorf("Spark's own addresses are not used: %+v", c)
	}
	if c.ActivityTopic.Name != "counts" || c.Job.ActivityTopic != "counts" {
		t.Errorf("the activity goes to %q, of Spark to %q", c.ActivityTopic.Name, c.Job.ActivityTopic)
	}
	if c.Job.CheckpointLocation != "hdfs://n/c" {
		t.Errorf("CheckpointLocation = %q", c.Job.CheckpointLocation)
	}
}
