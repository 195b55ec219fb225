package visitors

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bookstore/producer/catalogue"
	"example.com/bookstore/producer/web"
	"example.com/bookstore/schema"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func bookIDs() (ids []string) {
	for _, b := range catalogue.Books() {
		ids = append(ids, b.ID)
	}
	return ids
}

func steps(t testing.TB, cfg PlanConfig) []Step {
	t.Helper()
	if cfg.Start.IsZero() {
		cfg.Start = start
	}
	plan, err := NewPlan(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(plan.Steps())
}

func TestPlanIsMadeByItsSeed(t *testing.T) {
	first := steps(t, PlanConfig{Seed: 7, Steps: 2000})
	if again := steps(t, PlanConfig{Seed: 7, Steps: 2000}); !reflect.DeepEqual(first, again) {
		t.Error("the same seed makes another plan")
	}
	other := steps(t, PlanConfig{Seed: 8, Steps: 2000})
	same := 0
	for i := range other {
		if other[i].Visitor == first[i].Visitor {
			same++
		}
	}
	if same > 0 {
		t.Errorf("%d of %d steps of another seed have the same visitors", same, len(other))
	}
	// Two runs of one seed are still different events.
	for i, s := range steps(t, PlanConfig{Seed: 7, Steps: 2000, Start: start.Add(time.Minute)}) {
		if !s.Bad() && s.Event.EventID == first[i].Event.EventID {
			t.Fatalf("step %d has the id %s a minute later, too", i, s.Event.EventID)
		}
	}
	plan, err := NewPlan(PlanConfig{Steps: 100})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(slices.Collect(plan.Steps()), slices.Collect(plan.Steps())) {
		t.Error("a plan is another one the second time")
	}
}

// Everything that a plan promises of each step and each visit.
func TestPlanIsWellFormed(t *testing.T) {
	cfg := PlanConfig{Seed: 1, Steps: 15_000, Rate: 20}
	type visit struct {
		sent   map[string]schema.Event
		at     time.Time
		last   bool
		opened map[string]bool
	}
	visits := map[string]*visit{}
	at := start
	for i, s := range steps(t, cfg) {
		if s.At.Before(at) || s.At != s.At.Truncate(time.Millisecond) {
			t.Fatalf("step %d is at %v, after one at %v", i, s.At, at)
		}
		at = s.At
		v := visits[s.Visitor]
		if v == nil {
			v = &visit{sent: map[string]schema.Event{}, opened: map[string]bool{}}
			visits[s.Visitor] = v
		}
		if v.last {
			t.Fatalf("step %d comes after its visitor's last", i)
		}
		v.last, v.at = s.Last, s.At
		if s.Bad() {
			if (s.Event != schema.Event{}) || s.Duplicate || s.Late {
				t.Fatalf("step %d is bad and more: %+v", i, s)
			}
			continue
		}
		e := s.Event
		if err := e.Validate(); err != nil || e.UserID != s.Visitor {
			t.Fatalf("step %d of %s: %v: %+v", i, s.Visitor, err, e)
		}
		if ms := fmt.Sprintf("%012x", e.EventTime.UnixMilli()); strings.ReplaceAll(e.EventID, "-", "")[:12] != ms || e.EventID[14] != '7' {
			t.Fatalf("step %d: %s is no UUIDv7 of %v", i, e.EventID, e.EventTime)
		}
		known, ok := v.sent[e.EventID]
		if ok != s.Duplicate || (ok && known != e) {
			t.Fatalf("step %d: duplicate=%v of %+v, sent before: %+v", i, s.Duplicate, e, known)
		}
		v.sent[e.EventID] = e
		if !s.Duplicate {
			if e.EventType != schema.DescriptionOpen && !v.opened[e.BookID] {
				t.Fatalf("step %d: %s of a book that was not opened", i, e.EventType)
			}
			v.opened[e.BookID] = true
		}
		switch lag := s.At.Sub(e.EventTime); {
		case s.Late && (lag < minLate-wrongestClock || lag > 24*time.Hour):
			t.Fatalf("step %d is late by %v", i, lag)
		case !s.Late && !s.Duplicate && lag.Abs() > wrongestClock:
			t.Fatalf("step %d is of a clock that is wrong by %v", i, lag)
		}
	}
}

func TestPlanSendsTogetherWhatIsLate(t *testing.T) {
	byVisitor := map[string][]Step{}
	for _, s := range steps(t, PlanConfig{Visits: 50, Rate: 50, LatePhones: 1, Duplicates: 0.2, BadClients: None}) {
		byVisitor[s.Visitor] = append(byVisitor[s.Visitor], s)
	}
	if len(byVisitor) != 50 {
		t.Errorf("%d visitors came, want 50", len(byVisitor))
	}
	for visitor, sent := range byVisitor {
		for i, s := range sent {
			if !s.Late || s.At != sent[0].At {
				t.Errorf("%s sends at %v and at %v", visitor, sent[0].At, s.At)
			}
			if i > 0 && !s.Duplicate && !s.Event.EventTime.After(sent[i-1].Event.EventTime) {
				t.Errorf("%s: %v happens after %v", visitor, s.Event, sent[i-1].Event)
			}
		}
	}
}

// Within four standard deviations; the plan is always the same.
func TestPlanKeepsItsShares(t *testing.T) {
	cfg := PlanConfig{
		Seed: 3, Visits: 8000, Rate: 10, NeverClose: 0.2, Buying: 0.3, LatePhones: 0.1, WrongClocks: 0.15, Duplicates: 0.05, BadClients: 0.05,
	}
	visitors, late, wrong, bad := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	var events, duplicates, opened, closed, bought int
	books := map[string]int{}
	var readings []time.Duration
	type pair struct{ user, book string }
	open := map[pair]time.Time{}
	var last time.Time
	for _, s := range steps(t, cfg) {
		visitors[s.Visitor] = true
		switch {
		case s.Bad():
			bad[s.Visitor] = true
			continue
		case s.Duplicate:
			duplicates++
			continue
		case s.Late:
			late[s.Visitor] = true
		case s.Event.EventTime != s.At:
			wrong[s.Visitor] = true
		}
		events++
		key := pair{s.Visitor, s.Event.BookID}
		switch s.Event.EventType {
		case schema.DescriptionOpen:
			opened++
			books[s.Event.BookID]++
			open[key] = s.Event.EventTime
		case schema.DescriptionClose:
			closed++
			readings = append(readings, s.Event.EventTime.Sub(open[key]))
		case schema.Purchase:
			bought++
		}
		last = s.At
	}
	share := func(name string, n, of int, want float64) {
		t.Helper()
		got := float64(n) / float64(of)
		if tolerance := 4 * math.Sqrt(want*(1-want)/float64(of)); math.Abs(got-want) > tolerance {
			t.Errorf("%s: %d of %d, a share of %.4f, want %.4f ± %.4f", name, n, of, got, want, tolerance)
		}
	}
	share("bad clients", len(bad), len(visitors), 0.05)
	good := len(visitors) - len(bad)
	share("late phones", len(late), good, 0.1)
	share("wrong clocks, of those not late", len(wrong), good-len(late), 0.15)
	share("duplicates", duplicates, events, 0.05)
	share("never closed", opened-closed, opened, 0.2)
	share("bought", bought, opened, 0.3)
	if perVisit := float64(opened) / float64(good); math.Abs(perVisit-4) > 0.09 {
		t.Errorf("%.3f books a visit, want 4", perVisit)
	}
	slices.Sort(readings)
	if median := readings[len(readings)/2]; median < 19*time.Second || median > 21*time.Second {
		t.Errorf("half of the descriptions are read for less than %v, want 20s", median)
	}
	// 8000 arrivals take 800 s, give or take 9 s, and the last visitors their time.
	if took := last.Sub(start); took < 764*time.Second || took > 2800*time.Second {
		t.Errorf("the plan takes %v", took)
	}

	total := 0.0
	for k := range bookIDs() {
		total += math.Pow(float64(k+1), -1.1)
	}
	for k, id := range bookIDs()[:5] {
		share("opening "+id, books[id], opened, math.Pow(float64(k+1), -1.1)/total)
	}
}

func TestWhoReadsLongerBuysMore(t *testing.T) {
	var bought [2]int // after less than the median, and after more
	open := map[string]time.Time{}
	read := map[string]time.Duration{}
	for _, s := range steps(t, PlanConfig{Visits: 5000, MaxBooks: 1, Buying: 0.3, NeverClose: None, LatePhones: None, WrongClocks: None, Duplicates: None, BadClients: None}) {
		switch s.Event.EventType {
		case schema.DescriptionOpen:
			open[s.Visitor] = s.At
		case schema.DescriptionClose:
			read[s.Visitor] = s.At.Sub(open[s.Visitor])
		case schema.Purchase:
			if read[s.Visitor] < 20*time.Second {
				bought[0]++
			} else {
				bought[1]++
			}
		}
	}
	// By the uniform law a quarter of the purchases and three quarters.
	if ratio := float64(bought[1]) / float64(bought[0]); ratio < 2.4 || ratio > 3.7 {
		t.Errorf("%d bought after little reading, %d after much, want three times as many", bought[0], bought[1])
	}
}

func TestPlanEnds(t *testing.T) {
	if n := len(steps(t, PlanConfig{Steps: 1234})); n != 1234 {
		t.Errorf("%d steps, want 1234", n)
	}
	short := steps(t, PlanConfig{Duration: time.Minute, Rate: 5})
	if last := short[len(short)-1].At.Sub(start); last >= time.Minute || last < 50*time.Second {
		t.Errorf("the last step is at %v, want just before 1m", last)
	}
	whole := steps(t, PlanConfig{Visits: 9, Rate: 1000, MinBooks: 3, MaxBooks: 3, Reading: None,
		NeverClose: None, Buying: None, LatePhones: None, WrongClocks: None, Duplicates: None, BadClients: None})
	ended := 0
	for _, s := range whole {
		if s.Last {
			ended++
		}
	}
	if len(whole) != 9*3*2 || ended != 9 {
		t.Errorf("%d steps, of which %d are a visitor's last, want 54 and 9", len(whole), ended)
	}
	if took := whole[len(whole)-1].At.Sub(start); took > 100*time.Millisecond {
		t.Errorf("nine who do not read take %v", took)
	}
	if one := steps(t, PlanConfig{Books: []string{"emma"}, Visits: 3, BadClients: None}); one[0].Event.BookID != "emma" {
		t.Errorf("of one book they open %s", one[0].Event.BookID)
	}
	plan, err := NewPlan(PlanConfig{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for range plan.Steps() { // has no end of its own
		if n++; n == 10_000 {
			break
		}
	}
}

func TestPlanKnowsItsSize(t *testing.T) {
	for _, cfg := range []PlanConfig{
		{Steps: 15_000, Rate: 100}, {Steps: 123}, {Visits: 2000, Rate: 1000}, {Visits: 40},
		{Duration: 20 * time.Minute, Rate: 2}, {Duration: time.Minute},
	} {
		plan, err := NewPlan(cfg)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for range plan.Steps() {
			n++
		}
		got := plan.size(10_000, 1000)
		if n <= 10_000 && got != n || math.Abs(float64(got-n)) > 0.1*float64(n) {
			t.Errorf("%+v: size %d, want %d", cfg, got, n)
		}
	}
	endless, err := NewPlan(PlanConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if n := endless.Size(); n != 0 {
		t.Errorf("a plan without an end has %d steps", n)
	}
}

func TestPlanConfigIsChecked(t *testing.T) {
	for want, cfg := range map[string]PlanConfig{
		"cannot be negative":                                {Steps: -1},
		"a rate of -1 visits a second":                      {Rate: -1},
		"a rate of NaN visits a second":                     {Rate: math.NaN()},
		"cannot look at 5 to 2 books":                       {MinBooks: 5, MaxBooks: 2},
		"popularity, 1, is not more than 1":                 {Popularity: 1},
		"share of late phones, 1.5, is not between 0 and 1": {LatePhones: 1.5},
		"books that are bought, 0.6":                        {Buying: 0.6},
		"share of duplicates, -0.5":                         {Duplicates: -0.5},
	} {
		if _, err := NewPlan(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("err = %v, want %q", err, want)
		}
	}
}

// What a bad client sends is refused at the store and rejected after Kafka.
func TestBadPayloadsAreTakenByNobody(t *testing.T) {
	k := &topic{events: map[string]schema.Event{}, t: t}
	store, err := web.New(web.Config{Publisher: k, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, s := range steps(t, PlanConfig{Visits: 200, BadClients: 1}) {
		r, err := s.Record()
		if err != nil {
			t.Fatal(err)
		}
		_, err = schema.Decode(r.Value)
		if err == nil {
			t.Errorf("a reader takes %q", r.Value)
			continue
		}
		kinds[err.Error()] = true
		request := httptest.NewRequest(http.MethodPost, "/events", bytes.NewReader(r.Value))
		request.Header.Set("Content-Type", "application/json")
		answer := httptest.NewRecorder()
		store.ServeHTTP(answer, request)
		if answer.Code < 400 || answer.Code > 499 {
			t.Errorf("the store answers %d to %q", answer.Code, r.Value)
		}
	}
	if len(kinds) < 9 {
		t.Errorf("only %d reasons to reject: %v", len(kinds), kinds)
	}
}

func TestStepAsRecord(t *testing.T) {
	for _, s := range steps(t, PlanConfig{Steps: 300, BadClients: 0.3}) {
		r, err := s.Record()
		if err != nil {
			t.Fatal(err)
		}
		if r.Key != s.Visitor || !r.Time.Equal(s.At) {
			t.Fatalf("record %+v of %+v", r, s)
		}
		if e, err := schema.Decode(r.Value); s.Bad() != (err != nil) || (err == nil && e != s.Event) {
			t.Fatalf("record %s (%v) of %+v", r.Value, err, s)
		}
		text, err := json.Marshal(s)
		if err != nil || s.Bad() == bytes.Contains(text, []byte(`"event":`)) {
			t.Fatalf("as JSON: %s, %v", text, err)
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	plan, err := NewPlan(PlanConfig{Rate: 100})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	n := 0
	for range plan.Steps() {
		if n++; n >= b.N {
			return
		}
	}
}
