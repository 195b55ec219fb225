package terminal

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"example.com/bookstore/sparkjob/reconcile"
)

func TestReconciled(t *testing.T) {
	r := reconcile.Report{Sent: 1e7, Acknowledged: 1e7, Stored: 1e7 - 25, Deleted: 3, Differing: 1, Differs: reconcile.Names{"0199a1f2-5c1e-7cc3-9d4e-8f6b2a7d1e90"}}
	partition := 12
	for i := range 25 {
		offset := int64(1e10) + int64(i)
		r.Lost = append(r.Lost, reconcile.Loss{
			EventID: fmt.Sprintf("0199a1f2-5c1e-7cc3-9d4e-%012d", i), Partition: &partition, Offset: &offset,
			Where: []string{reconcile.InCassandra, reconcile.AsRejected, reconcile.InRejectedEvents}[i%3],
		})
	}
	r.Lost[2].EventID = ""
	r.Lost[3].Partition, r.Lost[3].Offset, r.Lost[3].Where = nil, nil, reconcile.InKafka
	shown := Reconciled(r, "")
	for line := range strings.Lines(shown) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > columns {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	for _, want := range []string{
		"lost                        25  not there\n", "Kafka has deleted 3 records", "0199a1f2-5c1e-7cc3-9d4e-000000000000         12  10000000000  cassandra\n",
		"(no event)", "0199a1f2-5c1e-7cc3-9d4e-000000000003                          kafka\n", "and 5 more; --lost-to FILE writes all",
		"stored with another content\n  0199a1f2-5c1e-7cc3-9d4e-8f6b2a7d1e90",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if strings.Contains(Reconciled(r, "lost.jsonl"), "--lost-to") || strings.Contains(shown, "000000000020") {
		t.Error("shows more than the first, or tells of what is done")
	}
	if t.Failed() {
		t.Log("\n" + shown)
	}
}
