//go:build integration

package e2e

import (
	"strings"
	"testing"
)

// Spark practises on made-up events that come through a topic and the queries' own views to
// their own table, and no other; and it does so where Cassandra is not there.
func TestWarmUp(t *testing.T) {
	const rows = 50_000
	p := newPipeline(t)
	session := openCassandra(t)
	if err := session.Query("TRUNCATE warm_up").Exec(); err != nil {
		t.Fatal(err)
	}
	if out, errOut, code := run(t, p.env, "sparkjob", "warm-up"); code != 0 || out != "" {
		t.Fatalf("sparkjob warm-up: exit code %d\n%s%s", code, out, errOut)
	}
	var n int
	if err := session.Query("SELECT count(*) FROM warm_up").Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n < rows { // more if others have practised not long ago
		t.Errorf("the table warm_up has %d rows, want %d", n, rows)
	}
	var id string
	if err := session.Query("SELECT event_id FROM warm_up LIMIT 1").Scan(&id); err != nil {
		t.Fatal(err)
	}
	if err := session.Query("SELECT count(*) FROM events WHERE event_id = ?", id).Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n != 0 {
		t.Errorf("event %s, which was made up, is in the table events", id)
	}

	out, errOut, code := run(t, p.with("CASSANDRA_PORT=9"), "sparkjob", "warm-up")
	if code != 0 || !strings.HasPrefix(out, "Spark practises without Kafka and Cassandra: ") {
		t.Errorf("sparkjob warm-up without Cassandra: exit code %d\n%s%s", code, out, errOut)
	}
}
