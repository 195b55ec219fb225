package terminal

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/sparkjob/driver"
	"example.com/bookstore/sparkjob/stream"
)

// On a terminal of 80 columns no table is wider; elsewhere nothing is left out.
func TestWidth(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 15, 30, 123e6, time.FixedZone("", 3600))
	event := schema.Event{
		EventID: schema.NewEventID(), EventType: schema.DescriptionClose, EventTime: at,
		UserID: strings.Repeat("u", 64), BookID: strings.Repeat("b", 64),
	}
	rejected := cassandra.RejectedEvent{
		Topic: "t", Partition: 11, Offset: 123_456_789, ReceivedAt: at, Payload: []byte(strings.Repeat("x", 500)),
		Reason: strings.Repeat("event_time is not an RFC 3339 time such as 2026-01-31T12:00:00.000Z; ", 3),
	}
	state := driver.QueryState{
		Name: "activity_by_minute", Running: true, Message: "Getting offsets from KafkaV2[Subscribe[bookstore_events]]",
		Last: &stream.Progress{BatchID: 123_456, BatchDuration: 12345 * time.Millisecond, Sources: []stream.SourceProgress{{NumInputRows: 50_000}}},
	}
	for name, show := range map[string]func(width int) string{
		"events":   func(width int) string { return events([]schema.Event{event}, width) },
		"rejected": func(width int) string { return rejectedEvents([]cassandra.RejectedEvent{rejected}, width) },
		"status":   func(int) string { return Status([]driver.QueryState{state}) },
	} {
		for line := range strings.Lines(show(80)) {
			if width := utf8.RuneCountInString(strings.TrimRight(line, " \n")); width > 80 {
				t.Errorf("%s: a line of %d columns on a terminal of 80:\n%s", name, width, line)
			}
		}
	}
	for _, want := range []string{"2026-03-01 09:15:30.123", event.EventID, event.UserID, event.BookID, "description_close"} {
		if text := events([]schema.Event{event}, 0); !strings.Contains(text, want) {
			t.Errorf("events lacks %q:\n%s", want, text)
		}
	}
}

func TestPrintable(t *testing.T) {
	for payload, want := range map[string]string{
		`{"a": "b"}`:             `{"a": "b"}`,
		"\x1b[31mred\n":          `\x1b[31mred\n`,
		"\xff":                   `\xff`,
		strings.Repeat("é", 100): strings.Repeat("é", 59) + "…",
	} {
		if got := printable([]byte(payload), 60); got != want {
			t.Errorf("printable(%q) = %q, want %q", payload, got, want)
		}
	}
	if got := printable(nil, 60); got != "(null)" {
		t.Errorf("printable(nil, 60) = %q", got)
	}
}
