package visitors

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"example.com/bookstore/schema"
)

// visit is what one visitor will do, from coming to going.
type visit struct {
	number  int
	visitor uuid.UUID
	actions []action // by at
	done    int
}

// action is a Step to be. Times count from the plan's start.
type action struct {
	at, happened time.Duration
	id           uuid.UUID
	kind         schema.EventType
	book         int // index into the catalogue
	bad          int // index into badPayloads, or -1
	late         bool
	duplicate    bool
}

func (v *visit) next() *action { return &v.actions[v.done] }

// visit lets somebody come.
func (g *generator) visit(number int, arrival time.Duration) *visit {
	v := &visit{number: number, visitor: g.uuid(4)}
	arrival = arrival.Truncate(time.Millisecond)
	if g.chance(g.BadClients) {
		g.beBad(v, arrival)
	} else {
		g.look(v, arrival)
		if g.chance(g.LatePhones) {
			g.beLate(v, arrival)
		}
		if g.chance(g.WrongClocks) {
			by := g.random.NormFloat64() * float64(wrongClock)
			by = min(max(by, -float64(wrongestClock)), float64(wrongestClock))
			for i := range v.actions {
				v.actions[i].happened += time.Duration(by).Truncate(time.Millisecond)
			}
		}
	}
	for i := range v.actions {
		v.actions[i].id = g.uuid(7)
		// As the visitor's browser has it, the first 48 bits are the time.
		ms := uint64(g.Start.Add(v.actions[i].happened).UnixMilli())
		binary.BigEndian.PutUint16(v.actions[i].id[0:], uint16(ms>>32))
		binary.BigEndian.PutUint32(v.actions[i].id[2:], uint32(ms))
	}
	for _, a := range v.actions {
		if a.bad < 0 && g.chance(g.Duplicates) {
			a.duplicate = true
			if !a.late {
				a.at += g.logNormal(duplicateAfter, duplicateSpread)
			}
			v.actions = append(v.actions, a)
		}
	}
	slices.SortStableFunc(v.actions, func(a, b action) int { return cmp.Compare(a.at, b.at) })
	return v
}

// look lets a visitor look at some books, one after the other.
func (g *generator) look(v *visit, at time.Duration) {
	add := func(kind schema.EventType, book int) {
		v.actions = append(v.actions, action{at: at, happened: at, kind: kind, book: book, bad: -1})
	}
	pause := func() { at += g.logNormal(time.Duration(browsing*float64(g.Reading)), readingSpread) }
	for i := range g.MinBooks + g.random.IntN(g.MaxBooks-g.MinBooks+1) {
		if i > 0 {
			pause()
		}
		book := int(g.rank.Uint64())
		add(schema.DescriptionOpen, book)
		deviation := g.random.NormFloat64()
		at += logNormal(g.Reading, readingSpread, deviation)
		if !g.chance(g.NeverClose) {
			add(schema.DescriptionClose, book)
		}
		// The normal distribution's function is uniform over the readers, so that
		// on the whole the share is as set.
		longerThan := math.Erfc(-deviation/math.Sqrt2) / 2
		if g.chance(2 * g.Buying * longerThan) {
			pause()
			add(schema.Purchase, book)
		}
	}
}

// beLate makes all of a visit known at its arrival, and lets it happen long before.
func (g *generator) beLate(v *visit, arrival time.Duration) {
	// Uniform in the logarithm: minutes are as likely as hours.
	late := float64(minLate) * math.Pow(float64(maxLate)/float64(minLate), g.random.Float64())
	last := v.actions[len(v.actions)-1].happened
	for i := range v.actions {
		a := &v.actions[i]
		a.at, a.late = arrival, true
		a.happened += arrival - last - time.Duration(late).Truncate(time.Millisecond)
	}
}

// beBad makes the visitor a program that sends what is no event.
func (g *generator) beBad(v *visit, at time.Duration) {
	for range 1 + g.random.IntN(maxBadPayloads) {
		v.actions = append(v.actions, action{
			at: at, happened: at, kind: schema.Purchase, book: int(g.rank.Uint64()), bad: g.random.IntN(len(badPayloads)),
		})
		at += g.logNormal(time.Second, readingSpread)
	}
}

// step makes the next action of v a Step.
func (g *generator) step(v *visit) Step {
	a := v.next()
	s := Step{
		At: g.Start.Add(a.at), Visitor: v.visitor.String(),
		Event: schema.Event{
			EventID: a.id.String(), EventType: a.kind, EventTime: g.Start.Add(a.happened),
			UserID: v.visitor.String(), BookID: g.Books[a.book],
		},
		Late: a.late, Duplicate: a.duplicate, Last: v.done == len(v.actions)-1,
	}
	if a.bad >= 0 {
		s.Payload, s.Event = badPayloads[a.bad](s.Event), schema.Event{}
	}
	return s
}

// uuid returns a random UUID of a version.
func (g *generator) uuid(version byte) (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[0:], g.random.Uint64())
	binary.BigEndian.PutUint64(id[8:], g.random.Uint64())
	id[6] = id[6]&0x0f | version<<4
	id[8] = id[8]&0x3f | 0x80
	return id
}

func (g *generator) logNormal(median time.Duration, spread float64) time.Duration {
	return logNormal(median, spread, g.random.NormFloat64())
}

// logNormal is a whole number of milliseconds, at least one, so that what happens
// later is later in the events as well.
func logNormal(median time.Duration, spread, deviation float64) time.Duration {
	factor := min(math.Exp(spread*deviation), longestReading)
	return max(time.Duration(factor*float64(median)).Truncate(time.Millisecond), time.Millisecond)
}

// badPayloads make of an event what the store refuses and no reader of the topic
// takes for an event.
var badPayloads = []func(schema.Event) []byte{
	func(e schema.Event) []byte { // another format
		return fmt.Appendf(nil, "%s;%s;%s", e.EventType, e.BookID, e.EventTime.Format(time.DateOnly))
	},
	func(schema.Event) []byte { return []byte(`{"event":"page_view","page":"/"}`) }, // another schema
	func(schema.Event) []byte { return []byte(`[]`) },
	func(e schema.Event) []byte { // cut off
		whole := without(e, "")
		return whole[:len(whole)/2]
	},
	func(e schema.Event) []byte { return with(e, "event_id", "42") },
	func(e schema.Event) []byte { return with(e, "event_type", "hover") },
	func(e schema.Event) []byte { return with(e, "event_time", "yesterday") },
	func(e schema.Event) []byte { return with(e, "user_id", 7) },
	func(e schema.Event) []byte { return with(e, "book_id", strings.Repeat("x", schema.MaxIDLength+1)) },
	func(e schema.Event) []byte { return without(e, "book_id") },
	func(e schema.Event) []byte { // Latin-1, not UTF-8
		return []byte(strings.Replace(string(with(e, "shop", "é")), "é", "\xe9", 1))
	},
}

// with returns an event's JSON in which one field has another value.
func with(e schema.Event, name string, value any) []byte {
	fields := map[string]any{
		"event_id": e.EventID, "event_type": e.EventType, "event_time": e.EventTime.Format(schema.TimeLayout),
		"user_id": e.UserID, "book_id": e.BookID,
	}
	fields[name] = value
	if value == nil {
		delete(fields, name)
	}
	text, err := json.Marshal(fields)
	if err != nil {
		panic(err) // nothing in it cannot be encoded
	}
	return text
}

func without(e schema.Event, name string) []byte { return with(e, name, nil) }
