// Package terminal shows a person, as tables of text, what is at the end of the
// data's path and what the queries that fill it are doing.
package terminal

import (
	"fmt"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/sparkjob/driver"
	"example.com/bookstore/sparkjob/lease"
)

// roomy is the width at which a row of events fits whole.
const roomy = 150

// Events shows rows of the table events, times in UTC. A terminal too narrow for
// all of them gets the ends of the event ids and no user ids.
func Events(rows []schema.Event) string { return events(rows, stdoutWidth()) }

func events(rows []schema.Event, width int) string {
	narrow := width > 0 && width < roomy
	t := NewTable("EVENT_TIME (UTC)", "EVENT_TYPE", "BOOK_ID", "EVENT_ID")
	if !narrow {
		t.ResetHeaders()
		t.AppendHeader(table.Row{"EVENT_TIME (UTC)", "EVENT_TYPE", "BOOK_ID", "USER_ID", "EVENT_ID"})
	}
	for _, e := range rows {
		at := formatTime(e.EventTime)
		if narrow {
			t.AppendRow(table.Row{at, e.EventType, text.Snip(e.BookID, 19, "…"), "…" + e.EventID[strings.LastIndex(e.EventID, "-")+1:]})
		} else {
			t.AppendRow(table.Row{at, e.EventType, e.BookID, e.UserID, e.EventID})
		}
	}
	return t.Render()
}

// Rejected shows rows of rejected_events, times in UTC.
func Rejected(rows []cassandra.RejectedEvent) string { return rejectedEvents(rows, stdoutWidth()) }

func rejectedEvents(rows []cassandra.RejectedEvent, width int) string {
	if width == 0 {
		width = roomy
	}
	t := NewTable("RECEIVED_AT (UTC)", "PARTITION", "OFFSET", "REASON AND PAYLOAD")
	const before = 23 + 9 + 9 + 4*2 // the columns before the last, and their padding
	for _, r := range rows {
		reason := text.WrapSoft(r.Reason, width-before)
		t.AppendRow(table.Row{formatTime(r.ReceivedAt), r.Partition, r.Offset, reason + "\n" + printable(r.Payload, width-before)})
	}
	return t.Render()
}

// Status shows the job's queries.
func Status(states []driver.QueryState) string {
	t := NewTable("QUERY", "STATE", "BATCH", "RECORDS", "TIME", "SPARK SAYS")
	for _, state := range states {
		row := table.Row{state.Name, "stopped", "", "", "", text.Snip(state.Message, 23, "…")}
		if state.Running {
			row[1] = "running"
		}
		if state.Stalled {
			row[1] = "stalled"
		}
		if p := state.Last; p != nil {
			row[2], row[3], row[4] = p.BatchID, p.NumInputRows(), fmt.Sprintf("%.2f s", p.BatchDuration.Seconds())
		}
		t.AppendRow(row)
	}
	return t.Render()
}

// Driver tells which driver looks after the queries.
func Driver(held *cassandra.JobLease) string {
	if held == nil {
		return "driver: none; `sparkjob submit` is one"
	}
	return Wrap("driver: " + lease.Describe(*held))
}

func formatTime(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05.000") }

// printable shows a payload in a cell: short, and with nothing in it that a
// terminal would obey.
func printable(payload []byte, most int) string {
	if payload == nil {
		return "(null)"
	}
	s := string(payload[:min(len(payload), 4*most)])
	quoted := fmt.Sprintf("%q", s)
	s = strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most-1]) + "…"
	}
	return s
}

// NewTable is a plain table, with as little around its cells as a terminal of 80
// columns can spare.
func NewTable(header ...any) table.Writer {
	t := table.NewWriter()
	style := table.StyleLight
	style.Options = table.Options{SeparateHeader: true}
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	t.AppendHeader(header)
	return t
}

// stdoutWidth is the number of columns of the terminal that this program prints
// to, or 0 if it does not print to one.
func stdoutWidth() int {
	width, _, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		return 0
	}
	return width
}
