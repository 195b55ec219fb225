package reconcile

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/ledger"
	"example.com/bookstore/sparkjob/records"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newEvent() schema.Event {
	return schema.Event{EventID: schema.NewEventID(), EventType: schema.Purchase, EventTime: noon, UserID: "u", BookID: "emma"}
}

func recordOf(t *testing.T, e schema.Event, partition int, offset int64) records.Record {
	t.Helper()
	value, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return records.Record{Partition: partition, Offset: offset, Timestamp: noon, Value: value}
}

// books makes an account of events that were acknowledged, each in Kafka at partition 1
// and its own offset, and in Cassandra.
func books(t *testing.T, n int) (*account, []schema.Event) {
	t.Helper()
	a := newAccount()
	events := make([]schema.Event, n)
	for i := range events {
		events[i] = newEvent()
		if err := a.enter(ledger.Entry{Outcome: ledger.Acknowledged, Event: events[i]}); err != nil {
			t.Fatal(err)
		}
	}
	for i, e := range events {
		a.record(recordOf(t, e, 1, int64(i)), true)
		a.row(uint32(i), e)
		a.userRow(e)
	}
	return a, events
}

var (
	starts = map[int]int64{0: 0, 1: 0}
	ends   = map[int]int64{0: 100, 1: 100}
)

// upTo is the progress of queries that have written what is before an offset.
func upTo(end int64) passed {
	return func(_ string, _ int, offset int64) (bool, bool) { return offset < end, true }
}

func notKnown(string, int, int64) (bool, bool) { return false, false }

func losses(r Report) (list []string) {
	for _, l := range r.Lost {
		at := "nowhere"
		if l.Partition != nil {
			at = fmt.Sprintf("%d:%d", *l.Partition, *l.Offset)
		}
		list = append(list, fmt.Sprint(l.EventID, " ", at, " ", l.Where))
	}
	return list
}

func TestAllIsWell(t *testing.T) {
	a, events := books(t, 5)
	// Case and zone of what was acknowledged are no difference, and neither are others' events.
	again := events[0]
	again.EventID = strings.ToUpper(again.EventID)
	again.EventTime = again.EventTime.In(time.FixedZone("", 3600))
	for _, e := range []ledger.Entry{
		{Outcome: ledger.Repeated, Event: again},
		{Outcome: ledger.Unknown, Event: newEvent()},
		{Outcome: ledger.Refused, Payload: []byte("x")},
		{Outcome: ledger.Unacknowledged, Event: newEvent()},
	} {
		if err := a.enter(e); err != nil {
			t.Fatal(err)
		}
	}
	a.record(recordOf(t, again, 1, 50), true)
	a.record(recordOf(t, newEvent(), 0, 3), true)
	a.record(records.Record{Partition: 0, Offset: 4, Timestamp: noon, Value: []byte("no event")}, true)
	a.record(records.Record{Partition: 0, Offset: 5, Timestamp: noon}, true)
	if a.settled() {
		t.Error("records that are no events may be missing in rejected_events")
	}
	a.rejected[rejectedPart{dayOf(noon), 0}] = []int64{4, 5}
	if !a.settled() {
		t.Errorf("not settled: open %v, unrejected %v", a.open(), a.unrejected())
	}
	got := a.report(starts, ends, notKnown)
	want := Report{
		Sent: 9, Acknowledged: 5, Unknown: 1, Refused: 2, InKafka: 5, Stored: 5, Rejected: 2,
		DuplicateDeliveries: 1, Lost: []Loss{},
	}
	if !reflect.DeepEqual(got, want) || got.Err() != nil {
		t.Errorf("report = %+v, %v\nwant %+v", got, got.Err(), want)
	}
}

func TestLostAndPending(t *testing.T) {
	a, events := books(t, 4)
	never := newEvent()
	if err := a.enter(ledger.Entry{Outcome: ledger.Acknowledged, Event: never}); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 2, 3} {
		a.events[i].state = noRow
	}
	a.record(records.Record{Partition: 0, Offset: 9, Timestamp: noon, Value: []byte("no event")}, true)
	a.record(records.Record{Partition: 0, Offset: 1, Timestamp: noon, Value: []byte("no event")}, true)
	a.record(records.Record{Partition: 0, Offset: 10, Timestamp: noon, Value: []byte("written since")}, false)
	a.rejected[rejectedPart{dayOf(noon), 1}] = []int64{3, 1000}                      // of an acknowledged event, and beyond what was read
	a.rejected[rejectedPart{dayOf(noon.Add(24 * time.Hour)), 0}] = []int64{1, 9, 10} // of another day
	if a.absent != 1 || a.settled() {
		t.Errorf("absent %d, settled %v", a.absent, a.settled())
	}

	id := func(i int) string { return events[i].EventID }
	passedOver := []string{id(0) + " 1:0 cassandra", id(3) + " 1:3 rejected", never.EventID + " nowhere kafka", " 0:1 rejected_events"}
	unknown := []string{id(0) + " 1:0 cassandra", id(2) + " 1:2 cassandra", id(3) + " 1:3 rejected", never.EventID + " nowhere kafka", " 0:1 rejected_events", " 0:9 rejected_events"}
	for name, test := range map[string]struct {
		has     passed
		lost    []string
		pending []string
	}{
		"as far as offset 2": {upTo(2), passedOver, []string{id(2), "record 0:9"}},
		"progress not known": {notKnown, unknown, nil},
		"all read":           {upTo(99), unknown, nil},
	} {
		r := a.report(starts, ends, test.has)
		if got := losses(r); !slices.Equal(got, test.lost) {
			t.Errorf("%s: lost\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(test.lost, "\n"))
		}
		if r.Pending != len(test.pending) || !slices.Equal(r.Waiting, test.pending) {
			t.Errorf("%s: %d pending: %v, want %v", name, r.Pending, r.Waiting, test.pending)
		}
		if r.Stored != 1 || r.InKafka != 4 || r.Acknowledged != 5 || r.Rejected != 4 || r.Err() == nil {
			t.Errorf("%s: %+v, %v", name, r, r.Err())
		}
	}
	if text := a.report(starts, ends, upTo(2)).Err().Error(); !strings.Contains(text, "3 acknowledged events are lost") ||
		!strings.Contains(text, "1 record that is no event has no row") || !strings.Contains(text, "2 are still pending") {
		t.Error(text)
	}
}

// What Kafka has deleted is no loss as long as its row is there.
func TestDeletedRecords(t *testing.T) {
	a := newAccount()
	e := newEvent()
	if err := a.enter(ledger.Entry{Outcome: ledger.Acknowledged, Event: e}); err != nil {
		t.Fatal(err)
	}
	a.row(0, e)
	r := a.report(map[int]int64{0: 7, 1: 3}, ends, notKnown)
	if !a.settled() || r.Err() != nil || r.Deleted != 10 || r.InKafka != 0 || r.Stored != 1 {
		t.Errorf("%+v, %v", r, r.Err())
	}
}

func TestDifferingRows(t *testing.T) {
	for name, change := range map[string]func(*schema.Event){
		"kind":    func(e *schema.Event) { e.EventType = schema.DescriptionOpen },
		"time":    func(e *schema.Event) { e.EventTime = e.EventTime.Add(time.Millisecond) },
		"visitor": func(e *schema.Event) { e.UserID = "v" },
		"book":    func(e *schema.Event) { e.BookID = "dune" },
	} {
		a, events := books(t, 2)
		other := events[1]
		change(&other)
		a.row(1, other)
		r := a.report(starts, ends, upTo(0))
		if a.settled() || r.Stored != 1 || r.Differing != 1 || len(r.Lost) != 0 || r.Pending != 0 || r.Err() == nil || !slices.Equal(r.Differs, Names{other.EventID}) {
			t.Errorf("another %s: %+v, %v", name, r, r.Err())
		}
		// Acknowledged in both ways, either is right.
		if err := a.enter(ledger.Entry{Outcome: ledger.Acknowledged, Event: other}); err != nil {
			t.Fatal(err)
		}
		a.row(1, other)
		if r := a.report(starts, ends, upTo(0)); r.Acknowledged != 2 || r.Stored != 2 || r.Err() != nil {
			t.Errorf("another %s, acknowledged: %+v, %v", name, r, r.Err())
		}
	}
}

// One id with two times has two rows in events_by_user, which are found by the record.
func TestDuplicateRows(t *testing.T) {
	a, events := books(t, 2)
	tomorrow := events[1]
	tomorrow.EventTime = tomorrow.EventTime.Add(24 * time.Hour)
	tomorrow.UserID = "v"
	a.record(recordOf(t, tomorrow, 0, 7), true)
	if _, ok := a.visits[visit{"v", dayOf(tomorrow.EventTime)}]; !ok || len(a.visits) != 2 {
		t.Errorf("looks into %v", a.visits)
	}
	a.userRow(tomorrow)
	a.userRow(newEvent()) // of another sender
	r := a.report(starts, ends, upTo(99))
	if r.DuplicateRows != 1 || r.DuplicateDeliveries != 1 || !slices.Equal(r.Twice, Names{tomorrow.EventID}) || r.Err() == nil {
		t.Errorf("%+v, %v", r, r.Err())
	}
}

func TestNoLedger(t *testing.T) {
	a := newAccount()
	for want, e := range map[string]ledger.Entry{
		"no outcome that a ledger has": {},
		"is not a UUID":                {Outcome: ledger.Acknowledged, Event: schema.Event{EventID: "x"}},
	} {
		if err := a.enter(e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v is taken in: %v", e, err)
		}
	}
	if err := a.enter(ledger.Entry{Outcome: ledger.Acknowledged, Payload: []byte("x")}); err != nil || a.unknown != 1 || len(a.events) != 0 {
		t.Errorf("a payload: %v, %+v", err, a)
	}
}

// The keys of the JSON are what programs read.
func TestReportAsJSON(t *testing.T) {
	partition, offset := 0, int64(0)
	r := Report{Lost: []Loss{{EventID: "a", Where: InKafka}, {EventID: "b", Partition: &partition, Offset: &offset, Where: InCassandra}}}
	got, err := json.Marshal(r)
	want := `{"sent":0,"acknowledged":0,"unknown":0,"refused":0,"in_kafka":0,"stored":0,"rejected":0,"differing":0,` +
		`"duplicate_deliveries":0,"duplicate_rows":0,"pending":0,"lost":[` +
		`{"event_id":"a","partition":null,"offset":null,"where":"kafka"},{"event_id":"b","partition":0,"offset":0,"where":"cassandra"}]}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v\nwant\n%s", got, err, want)
	}
}

func TestDayOf(t *testing.T) {
	for text, want := range map[string]int64{"1970-01-01T00:00:00Z": 0, "1969-12-31T23:59:59Z": -1, "1969-12-31T00:00:00Z": -1, "2026-03-01T23:59:59.999Z": 20513} {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		if got := dayOf(at); got != want || !at.UTC().Truncate(24*time.Hour).Equal(time.Unix(got*24*60*60, 0)) {
			t.Errorf("dayOf(%s) = %d, want %d", text, got, want)
		}
	}
}

// Millions of events have room: about a hundred bytes each.
func BenchmarkAcknowledge(b *testing.B) {
	b.ReportAllocs()
	a := newAccount()
	e := newEvent()
	for b.Loop() {
		e.EventID = uuid.NewString()
		if err := a.acknowledge(e); err != nil {
			b.Fatal(err)
		}
	}
}
