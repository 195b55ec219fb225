//go:build integration

package trace_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gocql/gocql"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/kafkaclient"
	"example.com/bookstore/schema/secret"
	"example.com/bookstore/schema/topic"
	"example.com/bookstore/sparkjob/driver"
	"example.com/bookstore/sparkjob/job"
	"example.com/bookstore/sparkjob/records"
	"example.com/bookstore/sparkjob/rejected"
	"example.com/bookstore/sparkjob/trace"
)

// setUp makes a topic of the test's own and the tables, as the job's role sees them.
func setUp(t *testing.T) (driver.Config, *gocql.Session) {
	t.Helper()
	port, err := strconv.Atoi(os.Getenv("CASSANDRA_PORT"))
	if err != nil {
		t.Fatalf("CASSANDRA_PORT: %v; run these tests with `task test`", err)
	}
	name := "trace_test_" + schema.NewEventID()
	spec := func(name string) topic.Spec {
		return topic.Spec{Name: name, Partitions: 3, ReplicationFactor: 1, Retention: time.Hour}
	}
	c := driver.Config{
		Kafka: kafkaclient.Config{BootstrapServers: os.Getenv("KAFKA_BOOTSTRAP_SERVERS")}, Topic: spec(name), ActivityTopic: spec(name + "_activity"),
		Cassandra: cassandra.Config{
			Hosts: []string{"127.0.0.1"}, Port: port, Datacenter: os.Getenv("CASSANDRA_DATACENTER"),
			User: cassandra.JobUser, Password: secret.String(os.Getenv("CASSANDRA_JOB_PASSWORD")), Keyspace: cassandra.Keyspace,
		},
		AdminUser: cassandra.AdminUser, AdminPassword: secret.String(os.Getenv("CASSANDRA_ADMIN_PASSWORD")),
		StorePassword: secret.String(os.Getenv("CASSANDRA_STORE_PASSWORD")), ReplicationFactor: 1,
		Job: job.Config{Topic: name, CheckpointLocation: "file://" + t.TempDir()},
	}
	if err := driver.Setup(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	session, err := c.Cassandra.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	return c, session
}

func send(t *testing.T, c driver.Config, key string, value []byte, headers map[string]string) records.Record {
	t.Helper()
	sent, err := records.Write(t.Context(), c.Kafka, records.Record{Topic: c.Topic.Name, Key: []byte(key), Value: value, Headers: headers})
	if err != nil {
		t.Fatal(err)
	}
	return sent
}

// reject writes the row that the job would have written.
func reject(t *testing.T, session *gocql.Session, r records.Record, reason string, at time.Time) {
	t.Helper()
	err := session.Query("INSERT INTO rejected_events (day, topic, partition, offset, reason, payload, received_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
		at.UTC().Truncate(24*time.Hour), r.Topic, r.Partition, r.Offset, reason, r.Value, at).Exec()
	if err != nil {
		t.Fatal(err)
	}
}

func TestEvent(t *testing.T) {
	c, session := setUp(t)
	event := schema.Event{EventID: schema.NewEventID(), EventType: schema.Purchase, EventTime: time.Now().UTC().Truncate(time.Millisecond), UserID: "visitor-7", BookID: "dracula"}
	value, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		send(t, c, fmt.Sprint("other-", i), []byte(`{}`), nil)
	}
	first := send(t, c, event.UserID, value, nil)
	options := trace.Options{Scan: 1000}

	// Kafka has it, and no query has read it.
	story, err := trace.Event(t.Context(), c, event.EventID, options)
	if err != nil || len(story.Records) != 1 || story.Row || len(story.Missing) > 0 || story.Event == nil || *story.Event != event {
		t.Fatalf("Event = %+v, %v", story, err)
	}
	r := story.Records[0]
	if r.Partition != first.Partition || r.Offset != first.Offset || r.OnTime == nil || !*r.OnTime || len(r.Steps) < 4 || r.Steps[0].State != trace.Waiting || r.Steps[0].WrittenAt != nil {
		t.Errorf("the record: %+v", r)
	}

	// With its row only the visitor's partition is looked through, unless it is told.
	err = session.Query("INSERT INTO events (event_id, event_type, event_time, user_id, book_id) VALUES (?, ?, ?, ?, ?)",
		event.EventID, string(event.EventType), event.EventTime, event.UserID, event.BookID).Exec()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := "x"
	for i := 0; records.Partition(elsewhere, 3) == first.Partition; i++ {
		elsewhere = fmt.Sprint("key-", i)
	}
	send(t, c, elsewhere, value, map[string]string{rejected.ReplayHeader: "t/1/2"})
	story, err = trace.Event(t.Context(), c, strings.ToUpper(event.EventID), options)
	if err != nil || len(story.Records) != 1 || !story.Row || story.Records[0].Steps[0].WrittenAt == nil {
		t.Errorf("Event with its row = %+v, %v", story, err)
	}
	options.AllPartitions = true
	story, err = trace.Event(t.Context(), c, event.EventID, options)
	if err != nil || len(story.Records) != 2 || story.Records[1].Headers[rejected.ReplayHeader] != "t/1/2" {
		t.Errorf("Event in all partitions = %+v, %v", story, err)
	}

	// One that was rejected, in Kafka and when Kafka has forgotten it.
	bad := schema.NewEventID()
	payload := []byte(`{"event_id": "` + bad + `"}`)
	at := send(t, c, "k", payload, nil)
	story, err = trace.Event(t.Context(), c, bad, options)
	if err != nil || len(story.Records) != 1 || !strings.Contains(story.Records[0].Reason, "user_id is missing") || !story.Records[0].InKafka {
		t.Errorf("Event of a bad record = %+v, %v", story, err)
	}
	gone := schema.NewEventID()
	at.Offset, at.Value = 999, []byte("gone;"+gone)
	reject(t, session, at, "the payload is not a JSON object", time.Now())
	story, err = trace.Event(t.Context(), c, gone, options)
	if err != nil || len(story.Records) != 1 || story.Records[0].InKafka || story.Records[0].Offset != 999 || story.Records[0].Steps[0].WrittenAt == nil {
		t.Errorf("Event of a record that is gone = %+v, %v", story, err)
	}

	// Ids that say nothing of their time are looked for from the beginning.
	old := event
	old.EventID = "58cf1ee5-a738-4d8b-8674-" + schema.NewEventID()[24:]
	value, _ = json.Marshal(old)
	send(t, c, old.UserID, value, nil)
	if story, err = trace.Event(t.Context(), c, old.EventID, options); err != nil || len(story.Records) != 1 {
		t.Errorf("Event of a random id = %+v, %v", story, err)
	}
	_, err = trace.Event(t.Context(), c, schema.NewEventID(), options)
	if !errors.Is(err, trace.ErrNotFound) || !strings.Contains(err.Error(), "of topic "+c.Topic.Name) {
		t.Errorf("Event that is nowhere: %v", err)
	}
	options.Scan = 3
	if _, err = trace.Event(t.Context(), c, schema.NewEventID(), options); err == nil || !strings.Contains(err.Error(), "--scan") {
		t.Errorf("Event with a scan that is cut short: %v", err)
	}
}

func TestRejected(t *testing.T) {
	c, session := setUp(t)
	now := time.Now().UTC().Truncate(time.Millisecond)
	for i, row := range []struct {
		age    time.Duration
		reason string
	}{{0, "a; b"}, {time.Second, "b"}, {49 * time.Hour, "c"}} {
		reject(t, session, records.Record{Topic: c.Topic.Name, Partition: i % 2, Offset: int64(i), Value: []byte("x")}, row.reason, now.Add(-row.age))
	}
	offsets := func(f rejected.Filter, limit int) string {
		t.Helper()
		f.Topic = c.Topic.Name
		rows, err := rejected.List(t.Context(), session, f, limit)
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, row := range rows {
			list = append(list, fmt.Sprint(row.Offset))
		}
		return strings.Join(list, " ")
	}
	for _, test := range []struct {
		filter rejected.Filter
		limit  int
		want   string
	}{
		{rejected.Filter{}, 10, "0 1 2"}, {rejected.Filter{}, 2, "0 1"}, {rejected.Filter{Reason: "B"}, 10, "0 1"}, {rejected.Filter{Reason: "c"}, 1, "2"},
		{rejected.Filter{Since: now.Add(-time.Hour)}, 10, "0 1"}, {rejected.Filter{Since: now}, 10, "0"},
	} {
		if got := offsets(test.filter, test.limit); got != test.want {
			t.Errorf("List(%+v, %d) = %q, want %q", test.filter, test.limit, got, test.want)
		}
	}
	for _, test := range []struct {
		since time.Time
		want  string
	}{{time.Time{}, "3 map[a:1 b:2 c:1]"}, {now.Add(-500 * time.Millisecond), "1 map[a:1 b:1]"}} {
		counted, err := rejected.Count(t.Context(), session, rejected.Filter{Topic: c.Topic.Name, Since: test.since})
		if got := fmt.Sprint(counted.Records, " ", counted.Reasons); err != nil || got != test.want {
			t.Errorf("Count since %v = %s, %v; want %s", test.since, got, err, test.want)
		}
	}
	row, written, err := rejected.Find(t.Context(), session, c.Topic.Name, rejected.Position{Partition: 0, Offset: 2})
	if err != nil || row.Reason != "c" || time.Since(written) > time.Minute {
		t.Errorf("Find = %+v, %v, %v", row, written, err)
	}
	if _, _, err := rejected.Find(t.Context(), session, c.Topic.Name, rejected.Position{Partition: 0, Offset: 3}); !errors.Is(err, rejected.ErrNotFound) {
		t.Errorf("Find of no record: %v", err)
	}
}
