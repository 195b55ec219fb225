package terminal

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/sparkjob/records"
	"example.com/bookstore/sparkjob/rejected"
)

// RejectedList shows rows of rejected_events by their positions, times in UTC.
func RejectedList(rows []cassandra.RejectedEvent) string {
	t := NewTable("RECEIVED_AT (UTC)", "RECORD", "REASON AND PAYLOAD")
	const before = 23 + 12 + 3*2 // the columns before the last, and all padding
	for _, r := range rows {
		reason := text.WrapSoft(r.Reason, columns-before)
		t.AppendRow(table.Row{formatTime(r.ReceivedAt), rejected.Position{Partition: r.Partition, Offset: r.Offset}, reason + "\n" + printable(r.Payload, columns-before)})
	}
	return t.Render()
}

// RejectedReasons shows how often each reason was given, the most frequent first.
func RejectedReasons(r cassandra.Rejections) string {
	t := NewTable("RECORDS", "REASON")
	reasons := slices.SortedFunc(maps.Keys(r.Reasons), func(a, b string) int {
		return cmp.Or(cmp.Compare(r.Reasons[b], r.Reasons[a]), cmp.Compare(a, b))
	})
	for _, reason := range reasons {
		t.AppendRow(table.Row{r.Reasons[reason], text.WrapSoft(reason, columns-9-2*2)})
	}
	return t.Render() + fmt.Sprintf("\nrecords rejected: %d; one with several reasons counts under each", r.Records)
}

// RejectedRecord shows all of one row of rejected_events, times in UTC, and of its record,
// unless Kafka does not keep it any more.
func RejectedRecord(row cassandra.RejectedEvent, written time.Time, record *records.Record) string {
	var b strings.Builder
	line(&b, "record", fmt.Sprintf("%d:%d of topic %s", row.Partition, row.Offset, row.Topic))
	line(&b, "received", formatTime(row.ReceivedAt))
	line(&b, "rejected", fmt.Sprintf("%s, %s later", formatTime(written), span(written.Sub(row.ReceivedAt))))
	line(&b, "reason", row.Reason)
	switch {
	case record == nil:
		line(&b, "key", "not known: Kafka does not keep the record any more")
	case record.Key == nil:
		line(&b, "key", "none")
	default:
		line(&b, "key", oneLine(string(record.Key)))
	}
	if record != nil {
		for _, name := range slices.Sorted(maps.Keys(record.Headers)) {
			line(&b, "header", oneLine(name)+" = "+oneLine(record.Headers[name]))
		}
	}
	if row.Payload == nil {
		line(&b, "payload", "none")
		return strings.TrimRight(b.String(), "\n")
	}
	line(&b, "payload", fmt.Sprintf("%d bytes", len(row.Payload)))
	b.WriteString("\n" + Payload(row.Payload))
	return b.String()
}

// mostPayload is how much of a payload is shown, in bytes.
const mostPayload = 4 << 10

// Payload shows the value of a record: JSON set out, other text as it is, and anything
// else in hexadecimal.
func Payload(payload []byte) string {
	more := ""
	if len(payload) > mostPayload {
		more = fmt.Sprintf("\n[%d more bytes; --raw has all of them]", len(payload)-mostPayload)
	}
	if !legible(payload) {
		return strings.TrimRight(hex.Dump(payload[:min(len(payload), mostPayload)]), "\n") + more
	}
	shown := string(rejected.Indent(payload))
	if len(shown) > mostPayload {
		shown = strings.ToValidUTF8(shown[:mostPayload], "")
	}
	return strings.TrimRight(ansi.Hardwrap(strings.ReplaceAll(shown, "\t", "    "), columns, true), "\n") + more
}

// legible tells whether a payload is text that a terminal only shows.
func legible(payload []byte) bool {
	if !utf8.Valid(payload) {
		return false
	}
	for _, r := range string(payload) {
		if !unicode.IsPrint(r) && r != '\n' && r != '\t' && r != '\r' {
			return false
		}
	}
	return !strings.Contains(string(payload), "\r") || strings.Count(string(payload), "\r\n") == strings.Count(string(payload), "\r")
}
