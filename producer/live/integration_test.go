//go:build integration

package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/gocql/gocql"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/kafkaclient"
	"example.com/bookstore/schema/secret"
	"example.com/bookstore/schema/topic"
)

func asRole(t *testing.T, user, password string) cassandra.Config {
	t.Helper()
	port, err := strconv.Atoi(os.Getenv("CASSANDRA_PORT"))
	if err != nil {
		t.Fatalf("CASSANDRA_PORT: %v; run these tests with `task test`", err)
	}
	return cassandra.Config{
		Hosts: []string{"127.0.0.1"}, Port: port, Datacenter: os.Getenv("CASSANDRA_DATACENTER"), Keyspace: cassandra.Keyspace,
		User: user, Password: secret.String(os.Getenv(password)),
	}
}

// jobSession writes to the tables as the streaming job does.
func jobSession(t *testing.T) *gocql.Session {
	t.Helper()
	setup := cassandra.SetupConfig{
		Admin: asRole(t, cassandra.AdminUser, "CASSANDRA_ADMIN_PASSWORD"), ReplicationFactor: 1,
		JobPassword: secret.String(os.Getenv("CASSANDRA_JOB_PASSWORD")), StorePassword: secret.String(os.Getenv("CASSANDRA_STORE_PASSWORD")),
	}
	if err := cassandra.Setup(t.Context(), setup); err != nil {
		t.Fatal(err)
	}
	var session *gocql.Session
	eventually(t, func() error { // a node remembers a role's former password for some seconds
		var err error
		session, err = asRole(t, cassandra.JobUser, "CASSANDRA_JOB_PASSWORD").Connect(t.Context())
		return err
	})
	t.Cleanup(session.Close)
	return session
}

func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func exec(t *testing.T, session *gocql.Session, statement string, values ...any) {
	t.Helper()
	if err := session.Query(statement, values...).Exec(); err != nil {
		t.Fatal(err)
	}
}

// What is in the topics and the tables is in the snapshot, whichever comes first.
func TestHubReadsTopicsAndTables(t *testing.T) {
	session := jobSession(t)
	servers := os.Getenv("KAFKA_BOOTSTRAP_SERVERS")
	name := "live_" + strings.ReplaceAll(schema.NewEventID(), "-", "")
	activity := schema.ActivityTopicOf(name)
	admin, err := topic.NewAdmin(kafkaclient.Config{BootstrapServers: servers}, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	makeTopic := func(name string) {
		t.Helper()
		if _, err := admin.Ensure(t.Context(), topic.Spec{Name: name, Partitions: 2, ReplicationFactor: 1}); err != nil {
			t.Fatal(err)
		}
	}
	makeTopic(name)
	producer, err := kafka.NewProducer(&kafka.ConfigMap{"bootstrap.servers": servers, "log_level": 0})
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	send := func(topic string, partition int32, at time.Time, value any) {
		t.Helper()
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		report := make(chan kafka.Event, 1)
		message := &kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: partition}, Value: text, Timestamp: at}
		if err := producer.Produce(message, report); err != nil {
			t.Fatal(err)
		}
		if m := (<-report).(*kafka.Message); m.TopicPartition.Error != nil {
			t.Fatal(m.TopicPartition.Error)
		}
	}

	user := "live-" + name
	sent := func(kind schema.EventType, at time.Time) schema.Event {
		e := schema.Event{EventID: schema.NewEventID(), EventType: kind, EventTime: at.UTC().Truncate(time.Millisecond), UserID: user, BookID: "jane-eyre"}
		send(name, 1, at, e)
		return e
	}
	// Before the store was started.
	sent(schema.Purchase, time.Now().Add(-20*time.Minute))
	sent(schema.DescriptionOpen, time.Now().Add(-2*time.Minute))
	sent(schema.DescriptionClose, time.Now().Add(-90*time.Second))

	hub := New(Config{
		Kafka: kafkaclient.Config{BootstrapServers: servers}, EventsTopic: name, ActivityTopic: activity, Job: name,
		Cassandra: asRole(t, cassandra.StoreUser, "CASSANDRA_STORE_PASSWORD"), Logger: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { hub.Run(ctx); close(ended) }()
	defer func() { cancel(); <-ended }()
	await := func(what string, holds func(*Snapshot) bool) {
		t.Helper()
		eventually(t, func() error {
			if s := hub.Snapshot(); !holds(s) {
				text, _ := json.Marshal(s)
				return fmt.Errorf("%s: %s", what, text)
			}
			return nil
		})
	}
	has := func(kinds ...string) func(*Snapshot) bool {
		return func(s *Snapshot) bool { return fmt.Sprint(kindsOf(s.Problems)) == fmt.Sprint(kinds) }
	}

	await("the last minutes", func(s *Snapshot) bool { return s.Reading.Now.Closed == 1 && s.Latency.Waiting == 2 })
	await("neither job nor counts", has(JobNotStarted, CountsUnreachable))

	// An event lands.
	began := time.Now()
	e := sent(schema.Purchase, began)
	await("the event waits", func(s *Snapshot) bool { return s.Latency.Waiting == 3 })
	if timeline, err := hub.Timeline(t.Context(), user, 2); err != nil || len(timeline.Waiting) != 3 || timeline.Waiting[0].EventID != e.EventID {
		t.Errorf("Timeline = %+v, %v; want that three are on their way", timeline, err)
	}
	exec(t, session, "INSERT INTO events (event_id, event_type, event_time, user_id, book_id) VALUES (?, ?, ?, ?, ?)",
		e.EventID, string(e.EventType), e.EventTime, e.UserID, e.BookID)
	exec(t, session, "INSERT INTO events_by_user (user_id, day, event_time, event_id, event_type, book_id) VALUES (?, ?, ?, ?, ?, ?)",
		user, e.EventTime.Truncate(24*time.Hour), e.EventTime, e.EventID, string(e.EventType), e.BookID)
	await("the event has landed", func(s *Snapshot) bool {
		return len(s.Landed) == 1 && s.Landed[0].Title == "Jane Eyre" && s.Latency.Samples == 1 && s.Landed[0].Seconds() < time.Since(began).Seconds()
	})
	if timeline, err := hub.Timeline(t.Context(), user, 2); err != nil || len(timeline.Waiting) != 2 || len(timeline.Stored) != 1 || timeline.Stored[0] != e {
		t.Errorf("Timeline = %+v, %v; want one stored", timeline, err)
	}

	// The counts, of a topic that comes later.
	makeTopic(activity)
	minute := time.Now().UTC().Truncate(time.Minute)
	for _, n := range []int64{3, 8} {
		send(activity, 0, time.Now(), schema.Activity{WindowStart: minute, BookID: "dracula", EventType: schema.Purchase, Events: n})
	}
	send(activity, 1, time.Now(), schema.Activity{WindowStart: minute.Add(-30 * time.Minute), BookID: "dracula", EventType: schema.Purchase, Events: 5})
	await("the live counts", func(s *Snapshot) bool {
		return len(s.Bought) == 1 && s.Bought[0] == BookCount{"dracula", "Dracula", 13}
	})

	// The job's own word.
	report := func(state cassandra.QueryState, at time.Time) {
		t.Helper()
		err := cassandra.WriteStreamingQuery(t.Context(), session, cassandra.StreamingQuery{
			Job: name, Query: "events", State: state, Topic: name, EndOffsets: map[int]int64{0: 0, 1: 3}, ReportedAt: at,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	report(cassandra.QueryRunning, time.Now())
	await("the job runs", func(s *Snapshot) bool {
		return len(s.Problems) == 0 && len(s.Queries) == 1 && s.Queries[0].Lag != nil && *s.Queries[0].Lag == 1
	})
	report(cassandra.QueryRunning, time.Now().Add(-goneAfter-time.Second))
	await("the job is gone", has(JobGone))
	report(cassandra.QueryStopped, time.Now())
	await("the job is stopped", has(JobStopped))

	// What is counted in the tables: others may write there, too.
	day := time.Now().UTC().Truncate(24 * time.Hour)
	await("the tables have been read", func(s *Snapshot) bool { return !s.Funnel.At.IsZero() })
	before := hub.Snapshot()
	for stage, users := range map[string]int{"opened": 3, "read": 2, "bought": 1} {
		for i := range users {
			exec(t, session, "INSERT INTO funnel (book_id, day, stage, user_id) VALUES ('jane-eyre', ?, ?, ?)", day, stage, fmt.Sprint(user, i))
		}
	}
	at := time.Now().UTC().Truncate(time.Millisecond)
	exec(t, session, "INSERT INTO reads (book_id, day, opened_at, user_id, closed_at, seconds) VALUES ('jane-eyre', ?, ?, ?, ?, 12.5)", day, at, user, at.Add(12500*time.Millisecond))
	exec(t, session, "INSERT INTO reads (book_id, day, opened_at, user_id) VALUES ('jane-eyre', ?, ?, ?)", day, at.Add(time.Millisecond), user)
	for offset := range 3 {
		exec(t, session, "INSERT INTO rejected_events (day, topic, partition, offset, reason, received_at) VALUES (?, ?, 1, ?, 'book_id is missing or empty; user_id is not a string', ?)",
			day, name, offset, at)
	}
	await("the tables", func(s *Snapshot) bool {
		return s.Funnel.Opened >= before.Funnel.Opened+3 && s.Funnel.Read >= before.Funnel.Read+2 && s.Funnel.Bought > before.Funnel.Bought &&
			s.Reading.Finished.Closed > before.Reading.Finished.Closed && s.Reading.Finished.Unended > before.Reading.Finished.Unended &&
			s.Rejected.Today == 3 && len(s.Rejected.Reasons) == 2 && s.Rejected.Reasons[1] == ReasonCount{"user_id is not a string", 3} &&
			len(s.Rejected.Latest) == 3 && s.Rejected.Latest[0].Offset == 2 && s.Rejected.Latest[0].Partition == 1
	})
}

func TestWrongPassword(t *testing.T) {
	jobSession(t) // for the keyspace
	c := asRole(t, cassandra.StoreUser, "CASSANDRA_STORE_PASSWORD")
	c.Password = "wrong"
	if _, err := openTables(t.Context(), c); !errors.Is(err, cassandra.ErrCredentials) {
		t.Errorf("openTables = %v, want ErrCredentials", err)
	}
}
