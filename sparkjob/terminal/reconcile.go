package terminal

import (
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"example.com/bookstore/sparkjob/reconcile"
)

// mostLost is how much of what is lost is shown.
const mostLost = 20

// Reconciled shows a comparison of ledgers with Kafka and Cassandra, and where what is
// lost should be. The whole list is in the file lostTo, if it has a name.
func Reconciled(r reconcile.Report, lostTo string) string {
	t := NewTable("", "COUNT", "WHAT IT IS")
	for _, line := range []struct {
		name string
		n    int
		what string
	}{
		{"sent", r.Sent, "entries of the ledger"},
		{"acknowledged", r.Acknowledged, "events that the store answered with 202"},
		{"unknown", r.Unknown, "sent without an answer: there or not"},
		{"refused", r.Refused, "not taken, as the sender knows"},
		{"in kafka", r.InKafka, "acknowledged events with a record"},
		{"duplicate deliveries", r.DuplicateDeliveries, "further records of those events: no fault"},
		{"stored", r.Stored, "acknowledged events with an equal row"},
		{"rejected", r.Rejected, "records with a row in rejected_events"},
		{"differing", r.Differing, "acknowledged events with another row"},
		{"duplicate rows", r.DuplicateRows, "rows too many in events_by_user"},
		{"pending", r.Pending, "not there, and not yet read by the job"},
		{"lost", len(r.Lost), "not there"},
	} {
		t.AppendRow(table.Row{line.name, line.n, line.what})
	}
	var b strings.Builder
	b.WriteString(t.Render() + "\n")
	if r.Deleted > 0 {
		b.WriteString("\n" + Wrap(fmt.Sprintf("Kafka has deleted %d records of the topic: of their events only the rows can be told.", r.Deleted)) + "\n")
	}
	if len(r.Lost) > 0 {
		lost := NewTable("EVENT_ID", "PARTITION", "OFFSET", "MISSING IN")
		lost.SetColumnConfigs([]table.ColumnConfig{{Number: 2, Align: text.AlignRight}, {Number: 3, Align: text.AlignRight}})
		for _, l := range r.Lost[:min(len(r.Lost), mostLost)] {
			row := table.Row{l.EventID, "", "", missingIn(l.Where)}
			if l.EventID == "" {
				row[0] = "(no event)"
			}
			if l.Partition != nil {
				row[1], row[2] = *l.Partition, *l.Offset
			}
			lost.AppendRow(row)
		}
		b.WriteString("\n" + lost.Render() + "\n")
		if more := len(r.Lost) - mostLost; more > 0 && lostTo == "" {
			fmt.Fprintf(&b, "and %d more; --lost-to FILE writes all\n", more)
		} else if more > 0 {
			fmt.Fprintf(&b, "and %d more\n", more)
		}
	}
	for _, some := range []struct {
		what  string
		n     int
		names reconcile.Names
	}{
		{"stored with another content", r.Differing, r.Differs},
		{"more than once in events_by_user", r.DuplicateRows, r.Twice},
		{"pending", r.Pending, r.Waiting},
	} {
		if some.n > 0 {
			fmt.Fprintf(&b, "\n%s\n  %s\n", some.what, strings.Join(some.names, "\n  "))
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

// missingIn names what lacks the thing, in words that fit the column.
func missingIn(where string) string {
	if where == reconcile.AsRejected {
		return "events: rejected"
	}
	return where
}
