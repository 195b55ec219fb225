package reconcile

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/ledger"
	"example.com/bookstore/sparkjob/records"
)

// account holds, of each acknowledged event, what is known of it in Kafka and in
// Cassandra: some eighty bytes, so that millions of them have room.
type account struct {
	sent, unknown, refused int

	events []event
	index  map[uuid.UUID]uint32
	// others are further contents under which an id was acknowledged.
	others map[uint32][]uint64
	// visits are where rows of events_by_user of these events may be.
	visits map[visit]struct{}

	absent   int // acknowledged events without a record
	bad      []place
	rejected map[rejectedPart][]int64 // offsets that have a row, the lowest first
}

// event is one that was acknowledged.
type event struct {
	id        uuid.UUID
	content   uint64 // its fingerprint, as it was acknowledged
	partition int32  // of its first record
	records   uint32
	offset    int64 // of its first record
	state     rowState
	userRows  uint8 // rows of events_by_user
}

// rowState is what the table events has of an event.
type rowState uint8

const (
	noRow rowState = iota
	stored
	differs
)

// place of a record that is no event.
type place struct {
	partition int32
	offset    int64
	day       int64 // of its receipt, in days since 1970
}

// visit is a partition of events_by_user.
type visit struct {
	user string
	day  int64
}

// rejectedPart is a partition of rejected_events, of one topic.
type rejectedPart struct {
	day       int64
	partition int32
}

func newAccount() *account {
	return &account{
		index: map[uuid.UUID]uint32{}, others: map[uint32][]uint64{}, visits: map[visit]struct{}{},
		rejected: map[rejectedPart][]int64{},
	}
}

// seed makes fingerprints of this process.
var seed = maphash.MakeSeed()

// fingerprint stands for what an event says, apart from its id.
func fingerprint(e schema.Event) uint64 {
	return maphash.Comparable(seed, struct {
		kind       schema.EventType
		user, book string
		millis     int64
	}{e.EventType, e.UserID, e.BookID, e.EventTime.UnixMilli()})
}

// dayOf counts the days (UTC) up to a time, also before 1970.
func dayOf(at time.Time) int64 { return int64(math.Floor(float64(at.Unix()) / (24 * 60 * 60))) }

// enter takes in an entry of a ledger.
func (a *account) enter(e ledger.Entry) error {
	a.sent++
	switch e.Outcome {
	case ledger.Acknowledged, ledger.Repeated:
		if e.Payload != nil { // nothing tells under which id it would be
			a.unknown++
			return nil
		}
		return a.acknowledge(e.Event)
	case ledger.Unknown:
		a.unknown++
	case ledger.Refused, ledger.Unacknowledged:
		a.refused++
	default:
		return fmt.Errorf("it has no outcome that a ledger has, but %q", e.Outcome)
	}
	return nil
}

func (a *account) acknowledge(e schema.Event) error {
	id, err := uuid.Parse(e.EventID)
	if err != nil || !schema.ValidEventID(e.EventID) {
		return fmt.Errorf("its event_id %q is not a UUID", e.EventID)
	}
	content := fingerprint(e)
	a.visits[visit{e.UserID, dayOf(e.EventTime)}] = struct{}{}
	i, ok := a.index[id]
	switch {
	case !ok:
		if len(a.events) == math.MaxUint32 {
			return fmt.Errorf("it has more than %d events", math.MaxUint32)
		}
		a.index[id] = uint32(len(a.events))
		a.events = append(a.events, event{id: id, content: content})
		a.absent++
	case !a.acknowledgedAs(i, content):
		a.others[i] = append(a.others[i], content)
	}
	return nil
}

func (a *account) acknowledgedAs(i uint32, content uint64) bool {
	return a.events[i].content == content || slices.Contains(a.others[i], content)
}

// record takes in a record of the topic. One that is no event must be in
// rejected_events if answered says so.
func (a *account) record(r records.Record, answered bool) {
	e, err := schema.Decode(r.Value)
	if err != nil {
		if answered {
			a.bad = append(a.bad, place{int32(r.Partition), r.Offset, dayOf(r.Timestamp)})
		}
		return
	}
	i, ok := a.index[uuid.MustParse(e.EventID)]
	if !ok {
		return
	}
	known := &a.events[i]
	if known.records == 0 {
		known.partition, known.offset = int32(r.Partition), r.Offset
		a.absent--
	}
	known.records++
	if !a.acknowledgedAs(i, fingerprint(e)) {
		a.visits[visit{e.UserID, dayOf(e.EventTime)}] = struct{}{}
	}
}

// row takes in what the table events has under an acknowledged id.
func (a *account) row(i uint32, e schema.Event) {
	a.events[i].state = differs
	if a.acknowledgedAs(i, fingerprint(e)) {
		a.events[i].state = stored
	}
}

// userRow takes in a row of events_by_user.
func (a *account) userRow(e schema.Event) {
	id, err := uuid.Parse(e.EventID)
	if err != nil {
		return
	}
	if i, ok := a.index[id]; ok && a.events[i].userRows < math.MaxUint8 {
		a.events[i].userRows++
	}
}

// open lists the acknowledged events whose rows are not there as they should be.
func (a *account) open() []uint32 {
	var list []uint32
	for i := range a.events {
		if a.events[i].state != stored {
			list = append(list, uint32(i))
		}
	}
	return list
}

// unrejected lists the records that are no events and have no row in rejected_events.
func (a *account) unrejected() []place {
	var list []place
	for _, at := range a.bad {
		if _, ok := slices.BinarySearch(a.rejected[rejectedPart{at.day, at.partition}], at.offset); !ok {
			list = append(list, at)
		}
	}
	return list
}

// settled tells whether all is where it should be.
func (a *account) settled() bool { return len(a.open()) == 0 && len(a.unrejected()) == 0 }

// passed tells whether a query has written all that it writes of a record, and whether
// that is known.
type passed func(query string, partition int, offset int64) (yes, known bool)

// report says what is where. Starts and ends are between which offsets the topic was
// read, by partition.
func (a *account) report(starts, ends map[int]int64, has passed) Report {
	r := Report{Sent: a.sent, Acknowledged: len(a.events), Unknown: a.unknown, Refused: a.refused, Lost: []Loss{}}
	wasRejected := map[int32]map[int64]bool{}
	for part, offsets := range a.rejected {
		for _, offset := range offsets {
			if offset < starts[int(part.partition)] || offset >= ends[int(part.partition)] {
				continue
			}
			if wasRejected[part.partition] == nil {
				wasRejected[part.partition] = map[int64]bool{}
			}
			wasRejected[part.partition][offset] = true
		}
	}
	for _, offsets := range wasRejected {
		r.Rejected += len(offsets)
	}
	for _, start := range starts {
		r.Deleted += start
	}
	for i := range a.events {
		e := &a.events[i]
		if e.records > 0 {
			r.InKafka++
			r.DuplicateDeliveries += int(e.records) - 1
		}
		if e.userRows > 1 {
			r.DuplicateRows += int(e.userRows) - 1
			r.Twice = r.Twice.with(e.id.String())
		}
		partition, offset := int(e.partition), e.offset
		switch {
		case e.state == stored:
			r.Stored++
		case e.state == differs:
			r.Differing++
			r.Differs = r.Differs.with(e.id.String())
		case e.records == 0:
			r.Lost = append(r.Lost, Loss{EventID: e.id.String(), Where: InKafka})
		case wasRejected[e.partition][e.offset]:
			r.Lost = append(r.Lost, Loss{e.id.String(), &partition, &offset, AsRejected})
		default:
			if yes, known := has("events", partition, offset); known && !yes {
				r.Pending++
				r.Waiting = r.Waiting.with(e.id.String())
			} else {
				r.Lost = append(r.Lost, Loss{e.id.String(), &partition, &offset, InCassandra})
			}
		}
	}
	missing := a.unrejected()
	slices.SortFunc(missing, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset))
	})
	for _, at := range missing {
		partition, offset := int(at.partition), at.offset
		if yes, known := has("rejected_events", partition, offset); known && !yes {
			r.Pending++
			r.Waiting = r.Waiting.with(fmt.Sprintf("record %d:%d", partition, offset))
		} else {
			r.Lost = append(r.Lost, Loss{Partition: &partition, Offset: &offset, Where: InRejectedEvents})
		}
	}
	return r
}
