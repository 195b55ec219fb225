//go:build integration

package e2e

import (
	"fmt"
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
	// The checkpoint is new, so its ids count from 0. Others, who may have practised on the
	// same topic not long ago, have theirs.
	end := fmt.Sprintf("00000000-0000-4000-8000-%012x", rows)
	var n int
	var id string
	ids := session.Query("SELECT event_id FROM warm_up").Iter()
	for ids.Scan(&id) {
		if id < end {
			n++
		}
	}
	if err := ids.Close(); err != nil {
		t.Fatal(err)
	}
	if n != rows {
		t.Errorf("the table warm_up has %d rows, want %d", n, rows)
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
