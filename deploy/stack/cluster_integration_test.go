//go:build integration

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/gocql/gocql"

	"example.com/bookstore/deploy/stack/process"
	"example.com/bookstore/deploy/stack/service"
	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
)

// TestCluster takes three brokers and three nodes of Cassandra through the loss of one
// of each: the store goes on acknowledging, what it acknowledged is in Kafka, rows are
// written and read, and who comes back gets what it missed.
func TestCluster(t *testing.T) {
	// The compiler that does less is done sooner: six JVMs start on a machine's few cores.
	p := newProgram(t, "STACK_NODES=3", "JAVA_TOOL_OPTIONS=-XX:TieredStopAtLevel=1")
	began := time.Now()
	out := p.run(t, 0, "up", "--only", "store")
	for _, name := range []string{"kafka", "kafka-2", "kafka-3", "cassandra", "cassandra-2", "cassandra-3", "store"} {
		want(t, "up", out, name+` +ready after +\S+ s`)
	}
	t.Logf("up after %s", time.Since(began))
	admin := p.kafkaAdmin(t)
	p.wantTopic(t, admin)

	events, ctx := newSender(p.ports["STORE_PORT"]), t.Context()
	sent := inBackground(ctx, events.send)
	rows := newWriter(t, p)
	written := inBackground(ctx, rows.write)
	for _, name := range []string{"kafka", "cassandra-2"} {
		if err := syscall.Kill(p.pid(t, name), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitFor(t, name+"'s end", 10*time.Second, func() bool { return p.status(t, name).State == process.Dead })
	}
	began = time.Now()
	waitFor(t, "events and rows without them", time.Minute, func() bool {
		return len(events.acknowledged()) > 100 && rows.count() > 100 && time.Since(began) > 10*time.Second
	})
	// While the broker is away: what the store keeps in its spool comes here soon.
	p.wantEvents(t, events.acknowledged())

	p.run(t, 0, "up", "--only", "store")
	t.Logf("up again after %s", time.Since(began))
	if err := errors.Join(sent(), written()); err != nil {
		t.Error(err)
	}
	p.wantEvents(t, events.acknowledged())
	meta, err := admin.GetMetadata(nil, true, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range meta.Topics {
		for _, partition := range topic.Partitions {
			if len(partition.Isrs) != 3 {
				t.Errorf("after all came back, partition %d of %s is in sync on %v", partition.ID, topic.Topic, partition.Isrs)
			}
		}
	}
	for _, host := range []string{"127.0.0.1", "127.0.0.3"} {
		session := p.cql(t, host)
		waitFor(t, "the rows that "+host+" keeps for cassandra-2", time.Minute, func() bool {
			var files int
			err := session.Query("SELECT count(*) FROM system_views.pending_hints").Scan(&files)
			return err == nil && files == 0
		})
	}
	t.Logf("in sync after %s", time.Since(began))
}

// inBackground repeats a piece of work until the returned function is called, which
// returns the errors.
func inBackground(ctx context.Context, work func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	result := make(chan error, 1)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		var errs []error
		for {
			select {
			case <-ctx.Done():
				result <- errors.Join(errs...)
				return
			case <-tick.C:
				if err := work(ctx); err != nil && ctx.Err() == nil {
					errs = append(errs, err)
				}
			}
		}
	}()
	return func() error { cancel(); return <-result }
}

// sender sends events to the store, and knows which were acknowledged.
type sender struct {
	url string
	ids chan []string // holds the one list
}

func newSender(port int) *sender {
	s := &sender{url: fmt.Sprintf("http://127.0.0.1:%d/events", port), ids: make(chan []string, 1)}
	s.ids <- nil
	return s
}

func (s *sender) acknowledged() []string {
	ids := <-s.ids
	s.ids <- ids
	return slices.Clone(ids)
}

func (s *sender) send(ctx context.Context) error {
	id := schema.NewEventID()
	body := fmt.Sprintf(`{"event_id": %q, "event_type": "purchase", "book_id": "dracula"}`, id)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("the store answered %s", resp.Status)
	}
	s.ids <- append(<-s.ids, id)
	return nil
}

// writer writes rows and reads each, as the job and the store do.
type writer struct {
	session *gocql.Session
	done    chan int
}

func newWriter(t *testing.T, p *program) *writer {
	t.Helper()
	session, err := cassandra.Config{
		Hosts: service.Hosts(3), Port: p.ports["CASSANDRA_PORT"], Datacenter: "datacenter1",
		User: cassandra.JobUser, Password: "b", Keyspace: cassandra.Keyspace,
	}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	w := &writer{session: session, done: make(chan int, 1)}
	w.done <- 0
	return w
}

func (w *writer) count() int {
	n := <-w.done
	w.done <- n
	return n
}

func (w *writer) write(ctx context.Context) error {
	id := schema.NewEventID()
	insert := "INSERT INTO events (event_id, event_type, event_time, user_id, book_id) VALUES (?, 'purchase', toTimestamp(now()), 'u', 'b')"
	if err := w.session.Query(insert, id).WithContext(ctx).Exec(); err != nil {
		return fmt.Errorf("writing a row: %w", err)
	}
	found, err := cassandra.FindEvents(ctx, w.session, []string{id})
	if err != nil {
		return fmt.Errorf("reading a row: %w", err)
	}
	if len(found) != 1 {
		return fmt.Errorf("row %s was written and is not there", id)
	}
	w.done <- 1 + <-w.done
	return nil
}

func (p *program) bootstrap() string {
	var servers []string
	for _, host := range service.Hosts(3) {
		servers = append(servers, fmt.Sprintf("%s:%d", host, p.ports["KAFKA_PORT"]))
	}
	return strings.Join(servers, ",")
}

func (p *program) kafkaAdmin(t *testing.T) *kafka.AdminClient {
	t.Helper()
	admin, err := kafka.NewAdminClient(&kafka.ConfigMap{"bootstrap.servers": p.bootstrap(), "log_level": 0})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.Close)
	return admin
}

const eventsTopic = "bookstore_events"

// wantTopic wants three copies of each partition, two of which must have a record.
func (p *program) wantTopic(t *testing.T, admin *kafka.AdminClient) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	topics, err := admin.DescribeTopics(ctx, kafka.NewTopicCollectionOfTopicNames([]string{eventsTopic}))
	if err != nil {
		t.Fatal(err)
	}
	for _, partition := range topics.TopicDescriptions[0].Partitions {
		if len(partition.Replicas) != 3 {
			t.Errorf("partition %d has %d copies, want 3", partition.Partition, len(partition.Replicas))
		}
	}
	configs, err := admin.DescribeConfigs(ctx, []kafka.ConfigResource{{Type: kafka.ResourceTopic, Name: eventsTopic}})
	if err != nil {
		t.Fatal(err)
	}
	if got := configs[0].Config["min.insync.replicas"].Value; got != "2" {
		t.Errorf("min.insync.replicas of the topic is %s, want 2", got)
	}
}

// wantEvents reads the topic until each of the events was in it.
func (p *program) wantEvents(t *testing.T, ids []string) {
	t.Helper()
	consumer, err := kafka.NewConsumer(&kafka.ConfigMap{"bootstrap.servers": p.bootstrap(), "group.id": "unused", "log_level": 0})
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	var all []kafka.TopicPartition
	for partition := range 6 {
		topic := eventsTopic
		all = append(all, kafka.TopicPartition{Topic: &topic, Partition: int32(partition), Offset: kafka.OffsetBeginning})
	}
	if err := consumer.Assign(all); err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	for _, id := range ids {
		missing[id] = true
	}
	waitFor(t, strconv.Itoa(len(ids))+" acknowledged events in the topic", time.Minute, func() bool {
		// All that has come so far, since waitFor rests after each look; but no waiting for
		// more, which would have no end while the sender sends.
		for message, ok := consumer.Poll(0).(*kafka.Message); ok; message, ok = consumer.Poll(0).(*kafka.Message) {
			var event struct {
				ID string `json:"event_id"`
			}
			if err := json.Unmarshal(message.Value, &event); err != nil {
				t.Fatal(err)
			}
			delete(missing, event.ID)
		}
		return len(missing) == 0
	})
}

// cql is a session of the admin with one node alone.
func (p *program) cql(t *testing.T, host string) *gocql.Session {
	t.Helper()
	cluster := gocql.NewCluster(host)
	cluster.Port = p.ports["CASSANDRA_PORT"]
	cluster.DisableInitialHostLookup = true
	cluster.Authenticator = gocql.PasswordAuthenticator{Username: cassandra.AdminUser, Password: "a"}
	session, err := cluster.CreateSession()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	return session
}
