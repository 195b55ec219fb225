package trace

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bookstore/schema"
	"example.com/bookstore/sparkjob/checkpoint"
	"example.com/bookstore/sparkjob/driver"
	"example.com/bookstore/sparkjob/records"
)

func TestMatch(t *testing.T) {
	event := schema.Event{EventID: schema.NewEventID(), EventType: schema.Purchase, EventTime: time.Now(), UserID: "v", BookID: "b"}
	value, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	other := event
	other.EventID = schema.NewEventID()
	mention, _ := json.Marshal(other)
	mention = append(mention[:len(mention)-1], `, "retry_of": "`+event.EventID+`"}`...)
	upper := strings.ReplaceAll(string(value), event.EventID, strings.ToUpper(event.EventID))
	for name, test := range map[string]struct {
		value  string
		found  bool
		reason string
	}{
		"the event":                {string(value), true, ""},
		"in capitals":              {upper, true, ""},
		"another":                  {`{"event_id": "` + schema.NewEventID() + `"}`, false, ""},
		"another that mentions":    {string(mention), false, ""},
		"rejected":                 {`{"event_id": "` + event.EventID + `", "event_type": "purchase"}`, true, "event_time is missing or empty; user_id is missing or empty; book_id is missing or empty"},
		"not even JSON":            {"purchase;" + event.EventID, true, "the payload is not a JSON object"},
		"a record without a value": {"", false, ""},
	} {
		got, ok := match(records.Record{Value: []byte(test.value)}, event.EventID)
		if ok != test.found || got.Reason != test.reason || (got.Event != nil) != (test.found && test.reason == "") {
			t.Errorf("%s: match = %+v, %v; want %v and the reason %q", name, got, ok, test.found, test.reason)
		}
		if got.Event != nil && got.Event.EventID != event.EventID {
			t.Errorf("%s: the id is %s", name, got.Event.EventID)
		}
	}
}

func TestSinceFollowsFromTheIDAndTheRow(t *testing.T) {
	now := time.Now()
	old := schema.Event{EventTime: now.Add(-24 * time.Hour)}
	for name, test := range map[string]struct {
		id    string
		event *schema.Event
		want  time.Time
	}{
		"a new id":                  {schema.NewEventID(), nil, now.Add(-margin)},
		"an old event":              {schema.NewEventID(), &old, old.EventTime.Add(-margin)},
		"an id that says nothing":   {"58cf1ee5-a738-4d8b-8674-f3f769b32c6d", nil, time.Time{}},
		"an id of years to come":    {"ffffffff-0000-7000-8000-000000000000", nil, time.Time{}},
		"only the row says a thing": {"58cf1ee5-a738-4d8b-8674-f3f769b32c6d", &old, old.EventTime.Add(-margin)},
	} {
		tr := tracer{story: Story{EventID: test.id, Event: test.event}}
		if got := tr.since(now); got.Sub(test.want).Abs() > 5*time.Second {
			t.Errorf("%s: since %v, want %v", name, got, test.want)
		}
	}
}

func TestOnTime(t *testing.T) {
	received := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for offset, want := range map[time.Duration]bool{
		0: true, -lateAfter: true, aheadUntil: true, -lateAfter - time.Millisecond: false, aheadUntil + time.Millisecond: false,
	} {
		if got := onTime(schema.Event{EventTime: received.Add(offset)}, received); got != want {
			t.Errorf("an event of %v after its receipt: on time = %v, want %v", offset, got, want)
		}
	}
}

func TestWriters(t *testing.T) {
	for name, test := range map[string]struct {
		kind   schema.EventType
		timely bool
		has    []string
		lacks  []string
	}{
		"purchase":   {schema.Purchase, true, []string{"events", "events_by_user", "activity_by_minute", "bookstore_activity", "funnel"}, []string{"reads", "late_events"}},
		"open":       {schema.DescriptionOpen, true, []string{"reads", "funnel"}, []string{"late_events"}},
		"late close": {schema.DescriptionClose, false, []string{"events", "late_events"}, []string{"funnel", "reads", "activity_by_minute"}},
		"late open":  {schema.DescriptionOpen, false, []string{"late_events", "funnel"}, []string{"reads", "bookstore_activity"}},
	} {
		got := writers(test.kind, test.timely)
		for _, query := range test.has {
			if !slices.Contains(got, query) {
				t.Errorf("%s is not written by %s: %v", name, query, got)
			}
		}
		for _, query := range test.lacks {
			if slices.Contains(got, query) {
				t.Errorf("%s is written by %s: %v", name, query, got)
			}
		}
	}
}

func TestPlace(t *testing.T) {
	received := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	c := &checkpoint.Checkpoint{Batches: []checkpoint.Batch{
		{ID: 4, End: checkpoint.Offsets{0: 10}},
		{ID: 5, Start: checkpoint.Offsets{0: 10}, End: checkpoint.Offsets{0: 20}, PlannedAt: received.Add(70 * time.Millisecond)},
	}}
	for offset, want := range map[int64]string{3: Forgotten, 10: Read, 19: Read, 20: Waiting} {
		var step Step
		if got := place(c, Record{Offset: offset, ReceivedAt: received}, &step); got != want || (step.BatchID != nil) != (want == Read) {
			t.Errorf("the record at offset %d is %s in %+v, want %s", offset, got, step, want)
		}
		if step.BatchID != nil && (*step.BatchID != 5 || time.Duration(*step.AfterReceipt) != 70*time.Millisecond) {
			t.Errorf("the record at offset %d: %+v", offset, step)
		}
	}
}

func TestEventRefusesWhatIsNoID(t *testing.T) {
	if _, err := Event(t.Context(), driver.Config{}, "emma", Options{}); err == nil || !strings.Contains(err.Error(), `"emma" is no event id`) {
		t.Errorf("Event of no id: %v", err)
	}
}
