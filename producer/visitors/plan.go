package visitors

import (
	"container/heap"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"time"

	"example.com/bookstore/producer/catalogue"
	"example.com/bookstore/producer/publisher"
	"example.com/bookstore/schema"
)

// PlanConfig says who comes and how they behave. Zero values take the defaults.
//
// A share is between 0 and 1. Since zero takes the default, None stands for none.
type PlanConfig struct {
	Books []string // ids, the most popular first; the whole catalogue by default

	// Seed makes the choices: the same seed, Start and settings make the same
	// plan, ids included.
	Seed  uint64
	Start time.Time // of the simulated clock, kept to the millisecond; now by default

	// The plan ends with the first of these that is reached; without any it does
	// not end. Steps and Duration cut off the visits that are under way.
	Visits   int           // people who come; bad clients are among them
	Steps    int           // steps of the plan
	Duration time.Duration // of the simulated clock

	Rate       float64       // visits that begin, a second (a Poisson process); 1 by default
	MinBooks   int           // least that a visitor looks at; 1 by default
	MaxBooks   int           // most; 7 by default, at least MinBooks
	Popularity float64       // exponent of the books' Zipf law, more than 1; 1.1 by default
	Reading    time.Duration // median that a description is read (log-normal); 20s by default, negative: none

	NeverClose  float64 // share of opened descriptions that are never closed; 0.15 by default
	Buying      float64 // share of opened books that are bought, at most 0.5, likelier the longer one has read; 0.1 by default
	LatePhones  float64 // share of visits whose events are sent together, 5 minutes to 6 hours after the last happened; 0.03 by default
	WrongClocks float64 // share of visits with a clock that is wrong, by about 30s and at most 4 minutes; 0.05 by default
	Duplicates  float64 // share of events that are sent again, though there was no need; 0.01 by default
	BadClients  float64 // share of visits by programs that send nothing but what no reader takes; 0.01 by default
}

// None is a share of none.
const None = -1

const (
	readingSpread   = 1.0 // standard deviation of the logarithm
	longestReading  = 100 // times the median
	browsing        = 0.25
	minLate         = 5 * time.Minute
	maxLate         = 6 * time.Hour
	wrongClock      = 30 * time.Second
	wrongestClock   = 4 * time.Minute // a store takes its own time for a clock that is 5 minutes ahead
	duplicateAfter  = 2 * time.Second // median
	duplicateSpread = 1.5
	maxBadPayloads  = 5 // of one client
)

func (c PlanConfig) withDefaults() (PlanConfig, error) {
	var errs []error
	report := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Books) == 0 {
		for _, b := range catalogue.Books() {
			c.Books = append(c.Books, b.ID)
		}
	}
	if c.Start.IsZero() {
		c.Start = time.Now()
	}
	c.Start = c.Start.UTC().Truncate(time.Millisecond)
	if c.Visits < 0 || c.Steps < 0 || c.Duration < 0 {
		report("visits, steps and duration cannot be negative")
	}
	if c.Rate == 0 {
		c.Rate = 1
	}
	if !(c.Rate > 0) || math.IsInf(c.Rate, 0) {
		report("a rate of %v visits a second is not positive", c.Rate)
	}
	if c.MinBooks == 0 {
		c.MinBooks = 1
	}
	if c.MaxBooks == 0 {
		c.MaxBooks = max(7, c.MinBooks)
	}
	if c.MinBooks < 1 || c.MaxBooks < c.MinBooks {
		report("a visitor cannot look at %d to %d books", c.MinBooks, c.MaxBooks)
	}
	if c.Popularity == 0 {
		c.Popularity = 1.1
	}
	if !(c.Popularity > 1) || math.IsInf(c.Popularity, 0) {
		report("the exponent of the books' popularity, %v, is not more than 1", c.Popularity)
	}
	switch {
	case c.Reading == 0:
		c.Reading = 20 * time.Second
	case c.Reading < 0:
		c.Reading = 0
	}
	for _, s := range []struct {
		name      string
		value     *float64
		byDefault float64
		most      float64
	}{
		{"descriptions that are never closed", &c.NeverClose, 0.15, 1},
		{"books that are bought", &c.Buying, 0.1, 0.5},
		{"late phones", &c.LatePhones, 0.03, 1},
		{"wrong clocks", &c.WrongClocks, 0.05, 1},
		{"duplicates", &c.Duplicates, 0.01, 1},
		{"bad clients", &c.BadClients, 0.01, 1},
	} {
		switch {
		case *s.value == 0:
			*s.value = s.byDefault
		case *s.value == None:
			*s.value = 0
		case !(*s.value > 0 && *s.value <= s.most):
			report("the share of %s, %v, is not between 0 and %v", s.name, *s.value, s.most)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return c, fmt.Errorf("planning visits: %w", err)
	}
	return c, nil
}

// Step is one thing that a visitor or a bad client sends.
type Step struct {
	At        time.Time    `json:"at"`                  // when it is sent, by the plan's clock
	Visitor   string       `json:"visitor"`             // who sends it; in an event its UserID
	Event     schema.Event `json:"event,omitzero"`      // zero if there is a Payload
	Payload   []byte       `json:"payload,omitempty"`   // what a bad client sends, in JSON as Base64; no reader takes it
	Late      bool         `json:"late,omitempty"`      // sent long after it happened, together with the visitor's other events
	Duplicate bool         `json:"duplicate,omitempty"` // the same event was sent before
	Last      bool         `json:"last,omitempty"`      // the visitor's last
}

// Bad reports whether s is a bad client's.
func (s Step) Bad() bool { return s.Payload != nil }

// Record returns s as the store would write it to the topic, had it come at the
// planned time. Of a bad client it is what the store never writes: the payload.
func (s Step) Record() (publisher.Record, error) {
	value := s.Payload
	if !s.Bad() {
		var err error
		if value, err = s.Event.MarshalJSON(); err != nil {
			return publisher.Record{}, fmt.Errorf("encoding event %s: %w", s.Event.EventID, err)
		}
	}
	return publisher.Record{Key: s.Visitor, Value: value, Time: s.At}, nil
}

// Plan is what visitors will do, on a clock of its own. It needs no store.
type Plan struct{ cfg PlanConfig }

// NewPlan checks the settings. Its error says everything that is wrong with them.
func NewPlan(cfg PlanConfig) (*Plan, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Plan{cfg}, nil
}

// Steps returns the steps in the order of their sending. Each time it begins
// anew, with the same steps. What it holds at any time is the visits that are
// under way, some 100 bytes a step.
func (p *Plan) Steps() iter.Seq[Step] {
	return func(yield func(Step) bool) {
		c, g := p.cfg, newGenerator(p.cfg)
		var pending visits
		arrived, arrival := 0, g.gap()
		for n := 0; c.Steps == 0 || n < c.Steps; n++ {
			// Whoever comes before the next step is there before it.
			for (c.Visits == 0 || arrived < c.Visits) && (len(pending) == 0 || arrival <= pending[0].next().at) {
				if c.Duration > 0 && arrival >= c.Duration {
					break
				}
				heap.Push(&pending, g.visit(arrived, arrival))
				arrived++
				arrival += g.gap()
			}
			if len(pending) == 0 {
				return
			}
			v := pending[0]
			if c.Duration > 0 && v.next().at >= c.Duration {
				return
			}
			if !yield(g.step(v)) {
				return
			}
			if v.done++; v.done < len(v.actions) {
				heap.Fix(&pending, 0)
			} else {
				heap.Pop(&pending)
			}
		}
	}
}

// Size is the number of steps, of a plan with more than 100,000 about the number,
// and of one without an end 0.
func (p *Plan) Size() int { return p.size(100_000, 10_000) }

// size counts the given number of steps, and visits if need be, and reckons the rest.
func (p *Plan) size(counted, sampled int) int {
	c, n := p.cfg, 0
	if c.Steps == 0 && c.Visits == 0 && c.Duration == 0 {
		return 0
	}
	for s := range p.Steps() {
		if n++; n < counted {
			continue
		}
		// As it has been so far it will go on.
		size := math.Inf(1)
		if c.Steps > 0 {
			size = float64(c.Steps)
		}
		if c.Duration > 0 {
			size = min(size, float64(n)*c.Duration.Seconds()/s.At.Sub(c.Start).Seconds())
		}
		if c.Visits > 0 { // those of the first have not all ended
			sample := c
			sample.Visits, sample.Steps, sample.Duration = min(c.Visits, sampled), 0, 0
			ofSample := 0
			for range (&Plan{sample}).Steps() {
				ofSample++
			}
			size = min(size, float64(ofSample)*float64(c.Visits)/float64(sample.Visits))
		}
		return int(size)
	}
	return n
}

// visits is a heap, first the one with the next action.
type visits []*visit

func (v visits) Len() int { return len(v) }
func (v visits) Less(i, j int) bool {
	if a, b := v[i].next().at, v[j].next().at; a != b {
		return a < b
	}
	return v[i].number < v[j].number
}
func (v visits) Swap(i, j int) { v[i], v[j] = v[j], v[i] }
func (v *visits) Push(x any)   { *v = append(*v, x.(*visit)) }
func (v *visits) Pop() any {
	last := len(*v) - 1
	x := (*v)[last]
	(*v)[last] = nil
	*v = (*v)[:last]
	return x
}

// generator makes the plan's choices, always in the same order.
type generator struct {
	PlanConfig
	random *rand.Rand
	rank   *rand.Zipf
}

func newGenerator(cfg PlanConfig) *generator {
	random := rand.New(rand.NewPCG(cfg.Seed, 0))
	return &generator{cfg, random, rand.NewZipf(random, cfg.Popularity, 1, uint64(len(cfg.Books)-1))}
}

// gap is the time until the next visit begins.
func (g *generator) gap() time.Duration {
	return time.Duration(g.random.ExpFloat64() / g.Rate * float64(time.Second))
}

func (g *generator) chance(share float64) bool { return g.random.Float64() < share }
