package terminal

import (
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/sparkjob/checkpoint"
	"example.com/bookstore/sparkjob/records"
	"example.com/bookstore/sparkjob/trace"
)

func fits(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if width := ansi.StringWidth(strings.TrimRight(line, "\n")); width > columns {
			t.Errorf("a line of %d columns:\n%s", width, line)
		}
	}
}

// has looks for texts wherever lines are broken.
func has(t *testing.T, text string, wanted ...string) {
	t.Helper()
	flat := strings.Join(strings.Fields(text), " ")
	for _, want := range wanted {
		if !strings.Contains(flat, want) {
			t.Errorf("it lacks %q:\n%s", want, text)
		}
	}
}

var at = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

func after(d time.Duration) *trace.Millis { return (*trace.Millis)(&d) }

func TestStory(t *testing.T) {
	batch, planned, written := int64(123_456), at.Add(70*time.Millisecond), at.Add(220*time.Millisecond)
	yes, no := true, false
	event := schema.Event{
		EventID: schema.NewEventID(), EventType: schema.DescriptionClose, EventTime: at.Add(-60 * time.Millisecond),
		UserID: strings.Repeat("u", 64), BookID: "\x1b[31m" + strings.Repeat("b", 59),
	}
	steps := []trace.Step{
		{Query: "events", State: trace.Read, BatchID: &batch, PlannedAt: &planned, AfterReceipt: after(70 * time.Millisecond), WrittenAt: &written, AfterPlan: after(150 * time.Millisecond)},
		{Query: "activity_by_minute", State: trace.Read, BatchID: &batch, PlannedAt: &planned, AfterReceipt: after(99 * time.Hour)},
		{Query: "bookstore_activity", State: trace.Waiting}, {Query: "reads", State: trace.Forgotten}, {Query: "events_by_user", State: trace.Unknown, WrittenAt: &written},
	}
	text := Story(trace.Story{EventID: event.EventID, Event: &event, Row: true, Records: []trace.Record{
		{Topic: strings.Repeat("topic", 10), Partition: 11, Offset: 123_456_789, ReceivedAt: at, InKafka: true, TablesAsked: true, Event: &event, OnTime: &yes, AfterEvent: after(60 * time.Millisecond), Steps: steps},
		{Topic: "t", ReceivedAt: at, InKafka: true, Event: &event, OnTime: &no, AfterEvent: after(-61 * time.Second), Steps: steps[:1], Headers: map[string]string{"replayed_from": "t/1/2"}},
		{Topic: "t", ReceivedAt: at, Reason: "book_id is missing or empty; user_id is not a string", Steps: []trace.Step{{Query: "rejected_events", State: trace.Read, BatchID: &batch, PlannedAt: &planned, AfterReceipt: after(70 * time.Millisecond), WrittenAt: &written, AfterPlan: after(150 * time.Millisecond)}}},
	}})
	fits(t, text)
	if strings.Contains(text, "\x1b") {
		t.Errorf("what a visitor wrote reaches the terminal as it is: %q", text)
	}
	has(t, text, event.EventID, "description_close of", "3 records", "60 ms later", "partition 11, offset 123456789", "on time: it counts", "12:00:00.070 +70 ms", "12:00:00.220 +150 ms",
		"+4 d", "once its minute closes", "not read yet", "no longer kept", "not visible from here", "(its rows do not tell)", "from what happened to its row: 280 ms",
		"61.00 s earlier, by another clock", "late, or from a clock ahead", "replayed from t/1/2", "which Kafka does not keep any more", "rejected book_id is missing", "from receipt to its row: 220 ms")
	has(t, Story(trace.Story{EventID: event.EventID, Event: &event, Row: true, Scanned: 7}), "nothing was found among the 7")
}

func TestRejectedDetails(t *testing.T) {
	row := cassandra.RejectedEvent{
		Topic: "t", Partition: 11, Offset: 123_456_789, ReceivedAt: at, Payload: []byte(`{"note": "` + strings.Repeat("x", 200) + `"}`),
		Reason: strings.Repeat("event_time is not an RFC 3339 time such as 2026-01-31T12:00:00.000Z; ", 3),
	}
	list := RejectedList([]cassandra.RejectedEvent{row})
	fits(t, list)
	has(t, list, "11:123456789", "2026-01-31 12:00:00.000")
	reasons := RejectedReasons(cassandra.Rejections{Records: 5, Reasons: map[string]int64{row.Reason: 2, "often": 4}})
	fits(t, reasons)
	has(t, reasons, "4 often 2 event_time", "records rejected: 5")
	whole := RejectedRecord(row, at.Add(time.Second), &records.Record{Key: []byte("k\x07"), Headers: map[string]string{"schema_version": "1"}})
	fits(t, whole)
	has(t, whole, "record 11:123456789 of topic t", "1.00 s later", `key k\a`, "header schema_version = 1", "payload 212 bytes", `{ "note":`)
	has(t, RejectedRecord(row, at, nil), "key not known: Kafka does not keep")
	row.Payload = nil
	has(t, RejectedRecord(row, at, &records.Record{}), "key none", "payload none")
}

func TestPayload(t *testing.T) {
	for payload, want := range map[string]string{
		`{"a":1}`:                       "{\n  \"a\": 1\n}",
		"purchase;emma":                 "purchase;emma",
		"\x00\x01":                      "00000000  00 01                                             |..|",
		"\x1b[2Jgone":                   "00000000  1b 5b 32 4a 67 6f 6e 65                           |.[2Jgone|",
		strings.Repeat("x", 100):        strings.Repeat("x", 80) + "\n" + strings.Repeat("x", 20),
		strings.Repeat("y", 4096) + "z": "[1 more bytes; --raw has all of them]",
	} {
		got := Payload([]byte(payload))
		fits(t, got)
		if !strings.Contains(got, want) {
			t.Errorf("Payload(%.20q) = %q, want %q", payload, got, want)
		}
	}
}

func TestCheckpoints(t *testing.T) {
	offsets := checkpoint.Offsets{}
	for partition := range 12 {
		offsets[partition] = 123_456_789
	}
	c := &checkpoint.Checkpoint{Folder: "/" + strings.Repeat("folder/", 20), Topic: "t", Batches: []checkpoint.Batch{
		{ID: 123_455, PlannedAt: at, Committed: true, End: offsets},
		{ID: 123_456, PlannedAt: at, Start: offsets, End: offsets},
	}}
	text := Checkpoints([]Checkpoint{{"activity_by_minute", c}, {"reads", nil}})
	fits(t, text)
	has(t, text, "activity_by_minute 123455 01-31 12:00:00 1481481468 123455 none", "reads none")
	text = Batches(c.Batches)
	fits(t, text)
	has(t, text, "123455 2026-01-31 12:00:00.000 yes unknown 0:123456789", "11:123456789", "123456 2026-01-31 12:00:00.000 no 0")
	text = Rewind("reads", checkpoint.Rewind{Checkpoint: c, Keep: 123_455, Next: offsets, Dropped: 1, ReadAgain: 7, Backup: c.Folder})
	fits(t, text)
	has(t, text, "goes to the end of micro-batch 123455, planned 2026-01-31 12:00:00.000; 123456 is the next", "forgets 1 micro-batch, up to 123456", "reads 7 records again", "keeps /folder/")
	fits(t, Rewind("reads", checkpoint.Rewind{Checkpoint: c, Keep: 1, Next: offsets, Moved: true}))
	has(t, Rewind("reads", checkpoint.Rewind{Checkpoint: c, Keep: -1, ReadAgain: -1}), "goes to the beginning")
}

func TestWrap(t *testing.T) {
	id := schema.NewEventID()
	for _, test := range []struct{ text, want string }{
		{"short", "short"}, {"", ""}, {"a b\nc", "a b\nc"},
		{"the event " + id + " is nowhere", "the event\n" + id + " is\nnowhere"},
		{"  indented", "  indented"},
		{strings.Repeat("x", 90), strings.Repeat("x", 40) + "\n" + strings.Repeat("x", 40) + "\n" + strings.Repeat("x", 10)},
	} {
		if got := WrapTo(test.text, 40); got != test.want {
			t.Errorf("WrapTo(%q) = %q, want %q", test.text, got, test.want)
		}
	}
}
