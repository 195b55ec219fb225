//go:build integration

package cassandra

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gocql/gocql"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/secret"
)

func configs(t *testing.T) SetupConfig {
	t.Helper()
	port, err := strconv.Atoi(os.Getenv("CASSANDRA_PORT"))
	if err != nil {
		t.Fatalf("CASSANDRA_PORT: %v; run these tests with `task test`", err)
	}
	return SetupConfig{
		Admin: Config{
			Hosts: []string{"127.0.0.1"}, Port: port, Datacenter: os.Getenv("CASSANDRA_DATACENTER"),
			User: AdminUser, Password: secret.String(os.Getenv("CASSANDRA_ADMIN_PASSWORD")),
		},
		ReplicationFactor: 1,
		JobPassword:       secret.String(os.Getenv("CASSANDRA_JOB_PASSWORD")),
		StorePassword:     secret.String(os.Getenv("CASSANDRA_STORE_PASSWORD")),
	}
}

func connectAs(t *testing.T, c SetupConfig, user string, password secret.String) *gocql.Session {
	t.Helper()
	c.Admin.User, c.Admin.Password, c.Admin.Keyspace = user, password, Keyspace
	// A node remembers a role's former password for some seconds.
	deadline := time.Now().Add(30 * time.Second)
	for {
		session, err := c.Admin.Connect(t.Context())
		if err == nil {
			t.Cleanup(session.Close)
			return session
		}
		if !errors.Is(err, ErrCredentials) || time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

var setUpOnce sync.Once

// setUp is for the tests that need a cluster as Setup leaves it.
func setUp(t *testing.T) SetupConfig {
	t.Helper()
	c := configs(t)
	setUpOnce.Do(func() {
		if err := Setup(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	})
	return c
}

func TestSetupAgain(t *testing.T) {
	c := configs(t)
	for range 2 {
		if err := Setup(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if needed, err := NeedsSetup(t.Context(), c.Admin); needed || err != nil {
		t.Errorf("NeedsSetup after Setup = %v, %v", needed, err)
	}
	session := connectAs(t, c, JobUser, c.JobPassword)
	if err := Check(t.Context(), session); err != nil {
		t.Errorf("Check after Setup: %v", err)
	}
}

// A setup that was killed half-way leaves a version marked dirty; the next repeats it.
func TestSetupAfterInterruption(t *testing.T) {
	c := setUp(t)
	admin := connectAs(t, c, AdminUser, c.Admin.Password)
	latest, err := latestMigration()
	if err != nil {
		t.Fatal(err)
	}
	for version := 1; version <= latest; version++ {
		for _, statement := range []string{"TRUNCATE schema_migrations", "INSERT INTO schema_migrations (version, dirty) VALUES (" + strconv.Itoa(version) + ", true)"} {
			if err := admin.Query(statement).Exec(); err != nil {
				t.Fatal(err)
			}
		}
		if err := Check(t.Context(), admin); !errors.Is(err, ErrNotSetUp) {
			t.Errorf("Check of a dirty version %d: %v, want ErrNotSetUp", version, err)
		}
		if err := Setup(t.Context(), c); err != nil {
			t.Fatalf("Setup after an interruption in version %d: %v", version, err)
		}
		if err := Check(t.Context(), admin); err != nil {
			t.Errorf("Check after Setup: %v", err)
		}
	}
}

func TestRolesMayDoOnlyTheirWork(t *testing.T) {
	c := setUp(t)
	job := connectAs(t, c, JobUser, c.JobPassword)
	store := connectAs(t, c, StoreUser, c.StorePassword)
	id := gocql.TimeUUID()
	insert := "INSERT INTO events (event_id, event_type, event_time, user_id, book_id) VALUES (?, 'purchase', toTimestamp(now()), 'u', 'b')"
	if err := job.Query(insert, id).Exec(); err != nil {
		t.Errorf("%s may not write: %v", JobUser, err)
	}
	if err := store.Query(insert, id).Exec(); err == nil {
		t.Errorf("%s may write", StoreUser)
	}
	for user, session := range map[string]*gocql.Session{JobUser: job, StoreUser: store} {
		found, err := FindEvents(t.Context(), session, []string{id.String()})
		if err != nil || len(found) != 1 {
			t.Errorf("%s reads %v, %v", user, found, err)
		}
		for _, statement := range []string{
			"CREATE TABLE more (a int PRIMARY KEY)", "DROP TABLE events", "CREATE ROLE more", "ALTER ROLE admin WITH PASSWORD = 'x'",
			"SELECT * FROM system_auth.roles",
		} {
			if err := session.Query(statement).Exec(); err == nil {
				t.Errorf("%s may do %q", user, statement)
			}
		}
	}
}

func TestDefaultSuperuserIsDisabled(t *testing.T) {
	c := setUp(t).Admin
	c.User, c.Password = "cassandra", "cassandra"
	if _, err := c.Connect(t.Context()); !errors.Is(err, ErrCredentials) {
		t.Errorf("connecting as the default superuser: %v, want ErrCredentials", err)
	}
}

func TestWrongPasswords(t *testing.T) {
	c := setUp(t)
	c.Admin.Password = "wrong"
	if err := Setup(t.Context(), c); !errors.Is(err, ErrCredentials) {
		t.Errorf("Setup with a wrong admin password: %v, want ErrCredentials", err)
	}
	if _, err := NeedsSetup(t.Context(), c.Admin); !errors.Is(err, ErrCredentials) {
		t.Errorf("NeedsSetup with a wrong admin password: %v, want ErrCredentials", err)
	}
}

// More copies of a keyspace are more than a statement.
func TestSetupRefusesMoreCopies(t *testing.T) {
	c := setUp(t)
	has := c.ReplicationFactor
	c.ReplicationFactor++
	want := fmt.Sprintf("has replication factor %d in %s, and CASSANDRA_REPLICATION_FACTOR is %d", has, c.Admin.Datacenter, has+1)
	if err := Setup(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error = %v, want %q in it", err, want)
	}
}

// Cassandra remembers statements; no password may be among them.
func TestPasswordsAreSentHashed(t *testing.T) {
	c := setUp(t)
	admin := connectAs(t, c, AdminUser, c.Admin.Password)
	rows := admin.Query("SELECT query_string FROM system.prepared_statements").Iter().Scanner()
	count := 0
	for rows.Next() {
		var statement string
		if err := rows.Scan(&statement); err != nil {
			t.Fatal(err)
		}
		count++
		for _, password := range []string{string(c.Admin.Password), string(c.JobPassword), string(c.StorePassword)} {
			if strings.Contains(statement, password) {
				t.Errorf("Cassandra remembers a password: %s", statement)
			}
		}
	}
	if err := rows.Err(); err != nil || count == 0 {
		t.Errorf("%d statements, %v", count, err)
	}
}

func TestPasswordsMayHoldAnything(t *testing.T) {
	c := setUp(t)
	odd := c
	odd.StorePassword = `it's "odd"; DROP KEYSPACE bookstore;` + "\n--"
	t.Cleanup(func() {
		if err := Setup(context.Background(), c); err != nil {
			t.Error(err)
		}
	})
	if err := Setup(t.Context(), odd); err != nil {
		t.Fatal(err)
	}
	connectAs(t, c, StoreUser, odd.StorePassword)
}

func TestConnectEndsWithItsContext(t *testing.T) {
	c := configs(t).Admin
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	if _, err := c.Connect(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Connect with a cancelled context: %v", err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestReading(t *testing.T) {
	c := setUp(t)
	session := connectAs(t, c, JobUser, c.JobPassword)
	at := time.Now().UTC().Truncate(time.Millisecond)
	want := schema.Event{EventID: schema.NewEventID(), EventType: schema.Purchase, EventTime: at.AddDate(100, 0, 0), UserID: "u", BookID: "b"}
	err := session.Query("INSERT INTO events (event_id, event_type, event_time, user_id, book_id) VALUES (?, ?, ?, ?, ?)",
		want.EventID, string(want.EventType), want.EventTime, want.UserID, want.BookID).Exec()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Query("DELETE FROM events WHERE event_id = ?", want.EventID).Exec() })
	latest, err := LatestEvents(t.Context(), session, 1, 1_000_000)
	if err != nil || len(latest) != 1 || latest[0] != want {
		t.Errorf("LatestEvents = %+v, %v; want %+v", latest, err, want)
	}
	found, err := FindEvents(t.Context(), session, []string{want.EventID, schema.NewEventID()})
	if err != nil || len(found) != 1 || found[want.EventID] != want {
		t.Errorf("FindEvents = %+v, %v; want %+v", found, err, want)
	}
	if _, err := FindEvents(t.Context(), session, []string{"x"}); err == nil {
		t.Error("FindEvents took an id that is no UUID")
	}

	topic := "read_test_" + want.EventID
	row := RejectedEvent{Topic: topic, Partition: 3, Offset: 7, Reason: "why", Payload: []byte("\xff\x00"), ReceivedAt: at}
	err = session.Query("INSERT INTO rejected_events (day, topic, partition, offset, reason, payload, received_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
		at.Truncate(24*time.Hour), row.Topic, row.Partition, row.Offset, row.Reason, row.Payload, row.ReceivedAt).Exec()
	if err != nil {
		t.Fatal(err)
	}
	rows, err := RejectedInPartition(t.Context(), session, at, topic, 3)
	if err != nil || !reflect.DeepEqual(rows, []RejectedEvent{row}) {
		t.Errorf("RejectedInPartition = %+v, %v; want %+v", rows, err, row)
	}
}
