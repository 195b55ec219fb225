package live

import (
	"slices"
	"strings"
	"time"

	"example.com/bookstore/schema"
)

const (
	// samplesPerSecond of the events that arrive are followed until they land, so
	// that what the page asks of Cassandra does not grow with the traffic.
	samplesPerSecond = 10
	maxFollowed      = 400
	longestFollowed  = time.Hour
	// lookAgain is for how much of the time that an event has waited so far it is not
	// looked for again: where events wait long because Cassandra is slow, to look for
	// them as often as for others would make it slower.
	lookAgain = 0.2

	maxLatencies = 2000
	maxLanded    = 25
	// maxRecent is how many arrivals are remembered for the visitors' own pages.
	maxRecent = 10_000

	// clockSkew is how much earlier than its receipt a row may seem to be written
	// before it must be that of an earlier copy of the event.
	clockSkew = time.Second
)

// Arrived is an event that is in Kafka.
type Arrived struct {
	schema.Event
	Received time.Time // Kafka's timestamp
}

// followed is an event that has no row yet, as far as is known.
type followed struct {
	Arrived
	look time.Time // when to look for it next
}

// landing follows events from their arrival in Kafka to their row in Cassandra.
type landing struct {
	followed map[string]*followed // by event id
	order    []string             // of their arrival
	second   int64                // of the latest arrivals, Unix time
	taken    int                  // in that second

	latencies []latency
	landed    []Landed // the latest last
	recent    []Arrived
	next      int             // place in recent, once it is full
	known     map[string]bool // ids of recent

	waitingSince time.Time // receipt of the first event that waits; zero if none does
	landedAt     time.Time // when the latest row was found, by our clock
}

type latency struct {
	written time.Time
	seconds float64
}

// arrive takes an event and reports whether it is new, and no copy of a recent one.
func (l *landing) arrive(a Arrived) bool {
	if l.known[a.EventID] {
		return false
	}
	if l.known == nil {
		l.known = map[string]bool{}
		l.followed = map[string]*followed{}
	}
	l.known[a.EventID] = true
	if len(l.recent) < maxRecent {
		l.recent = append(l.recent, a)
	} else {
		delete(l.known, l.recent[l.next].EventID)
		l.recent[l.next] = a
		l.next = (l.next + 1) % maxRecent
	}
	l.follow(a)
	return true
}

// follow has an event looked for, unless there are too many in its second.
func (l *landing) follow(a Arrived) {
	if second := a.Received.Unix(); second != l.second {
		l.second, l.taken = second, 0
	}
	if l.taken++; l.taken > samplesPerSecond {
		return
	}
	if _, again := l.followed[a.EventID]; again {
		return
	}
	l.followed[a.EventID] = &followed{Arrived: a}
	l.order = append(l.order, a.EventID)
	if l.waitingSince.IsZero() {
		l.waitingSince = a.Received
	}
	if len(l.order) > maxFollowed { // the newest tell more about the present
		delete(l.followed, l.order[0])
		l.order = l.order[1:]
	}
}

// waiting is the ids to look for now.
func (l *landing) waiting(now time.Time) []string {
	for len(l.order) > 0 && now.Sub(l.followed[l.order[0]].Received) > longestFollowed {
		delete(l.followed, l.order[0])
		l.order = l.order[1:]
	}
	if len(l.order) == 0 {
		l.waitingSince = time.Time{}
	}
	var ids []string
	for _, id := range l.order {
		if a := l.followed[id]; !now.Before(a.look) {
			ids = append(ids, id)
			a.look = now.Add(time.Duration(lookAgain * float64(now.Sub(a.Received))))
		}
	}
	return ids
}

// land takes the events that were found, by id with the time at which they were
// written, and reports whether there is one.
func (l *landing) land(written map[string]time.Time, now time.Time) bool {
	var arrived []Landed
	for id, at := range written {
		a, ok := l.followed[id]
		if !ok {
			continue
		}
		delete(l.followed, id)
		if at.Before(a.Received.Add(-clockSkew)) {
			continue // this copy of the event changes nothing
		}
		at = latest(at, a.Received)
		arrived = append(arrived, Landed{
			EventType: a.EventType, EventTime: a.EventTime, BookID: a.BookID, Title: title(a.BookID),
			Visitor: Short(a.UserID), Received: a.Received, Written: at,
		})
		l.latencies = append(l.latencies, latency{at, at.Sub(a.Received).Seconds()})
	}
	l.order = slices.DeleteFunc(l.order, func(id string) bool { _, ok := l.followed[id]; return !ok })
	if len(written) > 0 {
		l.landedAt = now
		l.waitingSince = time.Time{}
		if len(l.order) > 0 {
			l.waitingSince = l.followed[l.order[0]].Received
		}
	}
	slices.SortFunc(arrived, func(a, b Landed) int { return a.Written.Compare(b.Written) })
	l.landed = append(l.landed, arrived...)
	l.landed = slices.Clone(l.landed[max(0, len(l.landed)-maxLanded):])
	l.latencies = slices.Clone(l.latencies[max(0, len(l.latencies)-maxLatencies):])
	return len(arrived) > 0
}

func (l *landing) sum(now time.Time) Latency {
	var seconds []float64
	for _, s := range l.latencies {
		if now.Sub(s.written) <= recently {
			seconds = append(seconds, s.seconds)
		}
	}
	slices.Sort(seconds)
	return Latency{P50: quantile(seconds, 0.5), P95: quantile(seconds, 0.95), Samples: len(seconds), Waiting: len(l.order)}
}

// of is a visitor's arrivals that are remembered, in the order of their time.
func (l *landing) of(user string) []Arrived {
	var found []Arrived
	for _, a := range l.recent {
		if a.UserID == user {
			found = append(found, a)
		}
	}
	slices.SortStableFunc(found, func(a, b Arrived) int { return a.EventTime.Compare(b.EventTime) })
	return found
}

// Short is the beginning of a visitor's id, enough to tell visitors apart on a page
// and too little to pass for one.
func Short(user string) string {
	user = strings.TrimPrefix(user, "anonymous-")
	const shown = 6
	if runes := []rune(user); len(runes) > shown {
		return string(runes[:min(shown, len(runes)/2)]) + "…"
	}
	return user
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
