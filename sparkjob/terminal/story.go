package terminal

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"example.com/bookstore/sparkjob/trace"
)

// columns that everything fits into.
const columns = 80

// Story shows all that is known of an event, times in UTC.
func Story(s trace.Story) string {
	var b strings.Builder
	fmt.Fprintf(&b, "event %s\n", s.EventID)
	if e := s.Event; e != nil {
		line(&b, "", fmt.Sprintf("%s of %s by visitor %s", e.EventType, oneLine(e.BookID), oneLine(e.UserID)))
	}
	switch {
	case len(s.Records) > 1:
		fmt.Fprintf(&b, "%d records of the topic have this id\n", len(s.Records))
	case len(s.Records) == 0:
		line(&b, "", fmt.Sprintf("it is in the table events; of its record nothing was found among the %d that were looked through", s.Scanned))
	}
	for _, r := range s.Records {
		b.WriteString("\n" + storyRecord(r))
	}
	return strings.TrimRight(b.String(), "\n")
}

func storyRecord(r trace.Record) string {
	var b strings.Builder
	where := fmt.Sprintf("in %s, partition %d, offset %d", r.Topic, r.Partition, r.Offset)
	if !r.InKafka {
		where += ", which Kafka does not keep any more"
	}
	if r.Event != nil {
		line(&b, "happened", formatTime(r.Event.EventTime))
		later := span(time.Duration(*r.AfterEvent)) + " later"
		if *r.AfterEvent < 0 {
			later = span(-time.Duration(*r.AfterEvent)) + " earlier, by another clock"
		}
		line(&b, "received", fmt.Sprintf("%s, %s, %s", formatTime(r.ReceivedAt), later, where))
		verdict := "on time: it counts in the windows"
		if !*r.OnTime {
			verdict = "late, or from a clock ahead: it is in late_events and not in the windows"
		}
		line(&b, "", verdict)
	} else {
		line(&b, "received", formatTime(r.ReceivedAt)+", "+where)
		line(&b, "rejected", r.Reason)
	}
	if from := r.Headers["replayed_from"]; from != "" {
		line(&b, "replayed", "from "+oneLine(from))
	}
	b.WriteString("\n")
	t := NewTable("QUERY", "BATCH", "PLANNED, SINCE RECEIPT", "WRITTEN, SINCE PLANNED")
	for _, step := range r.Steps {
		row := table.Row{step.Query, "", "", ""}
		switch step.State {
		case trace.Read:
			row[1] = strconv.FormatInt(*step.BatchID, 10)
			row[2] = clock(*step.PlannedAt) + " " + signed(time.Duration(*step.AfterReceipt))
		case trace.Waiting:
			row[2] = "not read yet"
		case trace.Forgotten:
			row[2] = "no longer kept"
		default:
			row[2] = "not visible from here"
		}
		switch {
		case step.WrittenAt != nil && step.AfterPlan != nil:
			row[3] = clock(*step.WrittenAt) + " " + signed(time.Duration(*step.AfterPlan))
		case step.WrittenAt != nil:
			row[3] = clock(*step.WrittenAt)
		case untold[step.Query]:
			row[3] = "(its rows do not tell)"
		case !r.TablesAsked:
			row[3] = "not known"
		case step.Query == "activity_by_minute":
			row[3] = "once its minute closes"
		default:
			row[3] = "not yet"
		}
		t.AppendRow(row)
	}
	b.WriteString(t.Render() + "\n")
	for _, step := range r.Steps {
		if (step.Query == "events" || step.Query == "rejected_events") && step.WrittenAt != nil {
			if r.Event != nil {
				line(&b, "", fmt.Sprintf("from what happened to its row: %s", span(step.WrittenAt.Sub(r.Event.EventTime))))
			} else {
				line(&b, "", fmt.Sprintf("from receipt to its row: %s", span(step.WrittenAt.Sub(r.ReceivedAt))))
			}
		}
	}
	return b.String()
}

// untold are the queries that write nothing from which an event's own time of writing
// could be read.
var untold = map[string]bool{"reads": true, "funnel": true, "bookstore_activity": true}

// line writes a fact behind its label, wrapped to the columns.
func line(b *strings.Builder, label, fact string) {
	const indent = 10
	width := columns
	if label != "" {
		width -= indent
	}
	for i, text := range strings.Split(WrapTo(fact, width), "\n") {
		switch {
		case label != "" && i == 0:
			fmt.Fprintf(b, "%-*s%s\n", indent, label, text)
		case label != "":
			fmt.Fprintf(b, "%*s%s\n", indent, "", text)
		default:
			b.WriteString(text + "\n")
		}
	}
}

func clock(at time.Time) string { return at.UTC().Format("15:04:05.000") }

// span shows how long something took.
func span(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	switch {
	case d < time.Second:
		return fmt.Sprintf("%s%d ms", sign, d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%s%.2f s", sign, d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%s%.0f min", sign, d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%s%.0f h", sign, d.Hours())
	}
	return fmt.Sprintf("%s%.0f d", sign, d.Hours()/24)
}

func signed(d time.Duration) string {
	if d < 0 {
		return span(d)
	}
	return "+" + span(d)
}

// oneLine shows a text that anybody may have written, with nothing in it that a terminal
// would obey.
func oneLine(s string) string {
	quoted := strconv.Quote(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}
