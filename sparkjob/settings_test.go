package main

import (
	"slices"
	"strings"
	"testing"

	"example.com/bookstore/schema"
)

func TestSettingsHideSecrets(t *testing.T) {
	s := settings{cassandraSettings: cassandraSettings{CassandraJobPassword: "s3cret", CassandraHosts: []string{"a", "b"}}}
	text := s.String()
	if strings.Contains(text, "s3cret") {
		t.Errorf("a password shows:\n%s", text)
	}
	for _, want := range []string{"CASSANDRA_JOB_PASSWORD=(hidden)\n", "CASSANDRA_ADMIN_PASSWORD=\n", "CASSANDRA_HOSTS=a,b\n"} {
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
		kafkaSettings:     kafkaSettings{KafkaBootstrapServers: "k:1", Topic: schema.Topic},
		cassandraSettings: cassandraSettings{CassandraHosts: []string{"c"}, CassandraPort: 9042},
	}
	t.Setenv("STACK_DIR", "/s")
	c, err := s.driverConfig()
	if err != nil {
		t.Fatal(err)
	}
	if c.Job.KafkaBootstrapServers != "k:1" || c.Job.Cassandra.Hosts[0] != "c" || c.Job.Cassandra.Port != 9042 {
		t.Errorf("Spark's addresses do not follow the driver's: %+v", c.Job)
	}
	if c.Job.CheckpointLocation != "file:///s/data/checkpoints" {
		t.Errorf("CheckpointLocation = %q", c.Job.CheckpointLocation)
	}
	if got := c.ActivityTopic.Name; got != c.Job.ActivityTopic || got != schema.ActivityTopic {
		t.Errorf("the activity goes to %q, of Spark to %q", got, c.Job.ActivityTopic)
	}
	s.ActivityTopic = "counts"
	s.SparkKafkaBootstrapServers, s.SparkCassandraHosts, s.SparkCassandraPort = "inner:2", []string{"inner"}, 3
	s.CheckpointLocation = "hdfs://n/c"
	if c, err = s.driverConfig(); err != nil {
		t.Fatal(err)
	}
	if c.Job.KafkaBootstrapServers != "inner:2" || c.Job.Cassandra.Hosts[0] != "inner" || c.Job.Cassandra.Port != 3 || c.Cassandra.Port != 9042 {
		t.Errorf("Spark's own addresses are not used: %+v", c)
	}
	if c.ActivityTopic.Name != "counts" || c.Job.ActivityTopic != "counts" {
		t.Errorf("the activity goes to %q, of Spark to %q", c.ActivityTopic.Name, c.Job.ActivityTopic)
	}
	if c.Job.CheckpointLocation != "hdfs://n/c" {
		t.Errorf("CheckpointLocation = %q", c.Job.CheckpointLocation)
	}
}
