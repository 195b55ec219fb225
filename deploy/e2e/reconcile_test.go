//go:build integration

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/ledger"
)

// reconciled is what `sparkjob reconcile --json` prints.
type reconciled struct {
	Sent                int     `json:"sent"`
	Acknowledged        int     `json:"acknowledged"`
	Unknown             int     `json:"unknown"`
	Refused             int     `json:"refused"`
	InKafka             int     `json:"in_kafka"`
	Stored              int     `json:"stored"`
	Rejected            int     `json:"rejected"`
	DuplicateDeliveries int     `json:"duplicate_deliveries"`
	DuplicateRows       int     `json:"duplicate_rows"`
	Differing           int     `json:"differing"`
	Pending             int     `json:"pending"`
	Lost                []found `json:"lost"`
}

type found struct {
	EventID   string `json:"event_id"`
	Partition *int   `json:"partition"`
	Offset    *int64 `json:"offset"`
	Where     string `json:"where"`
}

func (f found) String() string {
	if f.Partition == nil || f.Offset == nil {
		return fmt.Sprintf("%s nowhere %s", f.EventID, f.Where)
	}
	return fmt.Sprintf("%s %d:%d %s", f.EventID, *f.Partition, *f.Offset, f.Where)
}

// testReconcile has losses of each kind found. It is given a pipeline whose driver runs,
// and the ledger of visits, besides which the topic has two records that are no events.
func testReconcile(t *testing.T, p pipeline, driver *process, visits string) {
	compare := func(want int, wait string, ledgers ...string) (r reconciled, lost []string) {
		t.Helper()
		out, errOut, code := run(t, p.env, "sparkjob", append([]string{"reconcile", "--json", "--wait", wait}, ledgers...)...)
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != want || (code == 0) != (errOut == "") {
			t.Fatalf("reconcile: %v, exit code %d, want %d\n%s%s", err, code, want, out, errOut)
		}
		for _, f := range r.Lost {
			lost = append(lost, f.String())
		}
		return r, lost
	}
	entries, err := ledger.ReadAll(visits)
	if err != nil {
		t.Fatal(err)
	}
	want := reconciled{Sent: len(entries), Rejected: 2}
	for _, e := range entries {
		switch e.Outcome {
		case ledger.Acknowledged:
			want.Acknowledged++
		case ledger.Repeated:
			want.DuplicateDeliveries++
		default:
			want.Refused++
		}
	}
	want.InKafka, want.Stored = want.Acknowledged, want.Acknowledged
	expect := func(r reconciled, lost []string, expected ...string) {
		t.Helper()
		if strings.Join(lost, ", ") != strings.Join(expected, ", ") {
			t.Errorf("lost is %v, want %v", lost, expected)
		}
		r.Lost = nil
		if fmt.Sprintf("%+v", r) != fmt.Sprintf("%+v", want) {
			t.Errorf("reconcile says\n%+v, want\n%+v", r, want)
		}
	}
	r, lost := compare(0, "60s", visits)
	expect(r, lost)
	if want.DuplicateDeliveries == 0 || want.Refused == 0 {
		t.Errorf("the visits have nothing twice, or nothing that is refused: %+v", want)
	}

	// A second sender writes to the topic itself, so that the places are known.
	second := filepath.Join(t.TempDir(), "second.jsonl")
	file, err := ledger.Create(second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	acknowledge := func(e schema.Event) {
		t.Helper()
		if err := file.Record(ledger.Entry{Outcome: ledger.Acknowledged, Event: e}); err != nil {
			t.Fatal(err)
		}
		want.Sent, want.Acknowledged = want.Sent+1, want.Acknowledged+1
	}
	send := func(events ...schema.Event) []input {
		t.Helper()
		var inputs []input
		for _, e := range events {
			value, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			inputs = append(inputs, input{key: []byte(e.UserID), value: value})
		}
		write(t, p.topic, inputs)
		return inputs
	}
	event := func() schema.Event {
		return schema.Event{EventID: schema.NewEventID(), EventType: schema.Purchase, EventTime: time.Now().UTC().Truncate(time.Millisecond), UserID: "second", BookID: "emma"}
	}
	deleted, changed, never := event(), event(), event()
	at := send(deleted, deleted, changed)
	bad := []input{{key: []byte("x"), value: []byte("no event"), received: time.Now()}}
	write(t, p.topic, bad)
	acknowledge(deleted)
	acknowledge(changed)
	want.InKafka, want.Stored, want.DuplicateDeliveries, want.Rejected = want.InKafka+2, want.Stored+2, want.DuplicateDeliveries+1, want.Rejected+1
	r, lost = compare(0, "60s", visits, second)
	expect(r, lost)

	session := openCassandra(t)
	for _, statement := range []struct {
		cql  string
		args []any
	}{
		{"DELETE FROM events WHERE event_id = ?", []any{deleted.EventID}},
		{"UPDATE events SET book_id = 'dune' WHERE event_id = ?", []any{changed.EventID}},
		{"DELETE FROM rejected_events WHERE day = ? AND topic = ? AND partition = ? AND offset = ?", []any{day(bad[0].received), p.topic, bad[0].partition, bad[0].offset}},
		{"INSERT INTO events_by_user (user_id, day, event_time, event_id, event_type, book_id) VALUES ('second', ?, ?, ?, 'purchase', 'emma')", []any{day(changed.EventTime), changed.EventTime, changed.EventID}},
		{"INSERT INTO events_by_user (user_id, day, event_time, event_id, event_type, book_id) VALUES ('second', ?, ?, ?, 'purchase', 'emma')", []any{day(changed.EventTime), changed.EventTime.Truncate(time.Hour).Add(time.Millisecond), changed.EventID}},
	} {
		if err := session.Query(statement.cql, statement.args...).Exec(); err != nil {
			t.Fatalf("%s: %v", statement.cql, err)
		}
	}
	acknowledge(never)
	want.Stored, want.Differing, want.DuplicateRows, want.Rejected = want.Stored-2, 1, 1, want.Rejected-1
	losses := []string{
		fmt.Sprintf("%s %d:%d cassandra", deleted.EventID, at[0].partition, at[0].offset),
		never.EventID + " nowhere kafka",
		fmt.Sprintf(" %d:%d rejected_events", bad[0].partition, bad[0].offset),
	}
	r, lost = compare(1, "2s", visits, second)
	expect(r, lost, losses...)

	// As a person reads it.
	file2 := filepath.Join(t.TempDir(), "lost.jsonl")
	out, errOut, code := run(t, p.env, "sparkjob", "reconcile", visits, second, "--wait", "0s", "--lost-to", file2)
	fits(t, "reconcile", out)
	transcript(t, "reconcile", "$ sparkjob reconcile visits.jsonl second.jsonl --wait 0s", strings.TrimRight(out+errOut, "\n"))
	written, err := os.ReadFile(file2)
	if err != nil || strings.Count(string(written), "\n") != 3 || !strings.Contains(string(written), deleted.EventID) {
		t.Errorf("--lost-to writes %q, %v", written, err)
	}
	for _, text := range []string{never.EventID, changed.EventID, "rejected_events", "lost "} {
		if !strings.Contains(out, text) {
			t.Errorf("the output lacks %q", text)
		}
	}
	if code != 1 || !strings.Contains(errOut, "sparkjob: 2 acknowledged events are lost\n1 record that is no event") {
		t.Errorf("exit code %d", code)
	}
	if t.Failed() {
		t.Logf("reconcile:\n%s%s", out, errOut)
	}

	// Without the job, what it has not read is pending; and what Kafka has deleted is no
	// loss as long as its row is there.
	if code := driver.end(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("sparkjob submit ends with %d", code)
	}
	late := event()
	send(late)
	acknowledge(late)
	admin, err := kafka.NewAdminClient(&kafka.ConfigMap{"bootstrap.servers": os.Getenv("KAFKA_BOOTSTRAP_SERVERS")})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if _, err := admin.DeleteRecords(t.Context(), []kafka.TopicPartition{{Topic: &p.topic, Partition: int32(at[2].partition), Offset: kafka.Offset(at[2].offset + 1)}}); err != nil {
		t.Fatal(err)
	}
	r, lost = compare(1, "0s", visits, second)
	if r.Pending != 1 || r.Stored != want.Stored || r.InKafka >= want.InKafka || len(lost) != 3 || lost[0] != deleted.EventID+" nowhere kafka" {
		t.Errorf("with a part of the topic deleted: %+v, lost %v", r, lost)
	}

	for want, test := range map[string]struct {
		env  string
		path string
	}{
		"no/such/ledger: no such file": {"", "/no/such/ledger"},
		"correct KAFKA_TOPIC":          {"KAFKA_TOPIC=e2e_missing", second},
		"Cassandra at 127.0.0.1:1":     {"CASSANDRA_PORT=1", second},
		"127.0.0.1:1: no broker answered; start Kafka with `task up` or": {"KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1", second},
	} {
		out, errOut, code := run(t, p.with(test.env), "sparkjob", "reconcile", test.path)
		if code != 1 || out != "" || !strings.Contains(errOut, want) {
			t.Errorf("with %s: exit code %d\n%s%s", test.env, code, out, errOut)
		}
	}
}
