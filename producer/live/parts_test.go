package live

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bookstore/schema"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestRate(t *testing.T) {
	var r rate
	for i := range 40 { // four in each of ten seconds, the present one not complete
		r.add(noon.Add(-10 * time.Second).Add(time.Duration(i) * 250 * time.Millisecond))
	}
	r.add(noon.Add(-recently))                    // the first second that counts
	r.add(noon.Add(-recently).Add(-2 * recently)) // long past: must not take the place of a later one
	r.add(noon)
	got := r.sum(noon)
	if got.PerSecond != 4 || len(got.Seconds) != 300 || got.Seconds[299] != 4 || got.Seconds[290] != 4 || got.Seconds[289] != 0 || !got.Last.Equal(noon) {
		t.Errorf("rate = %+v", got)
	}
	if got.Seconds[0] != 1 {
		t.Errorf("five minutes ago: %d, want 1", got.Seconds[0])
	}
	if later := r.sum(noon.Add(recently + time.Second)); later.PerSecond != 0 || slices.Max(later.Seconds) != 0 {
		t.Errorf("five minutes later: %+v, want nothing", later)
	}
}

func TestCounts(t *testing.T) {
	var c counts
	minute := func(ago int) time.Time { return noon.Add(-time.Duration(ago) * time.Minute) }
	tell := func(ago int, book string, kind schema.EventType, events int64) {
		c.set(schema.Activity{WindowStart: minute(ago), BookID: book, EventType: kind, Events: events}, noon, noon)
	}
	tell(0, "jane-eyre", schema.Purchase, 1)
	tell(0, "jane-eyre", schema.Purchase, 3) // takes the place of the former
	tell(59, "jane-eyre", schema.Purchase, 2)
	tell(61, "jane-eyre", schema.Purchase, 50) // more than an hour ago
	tell(0, "jane-eyre", schema.DescriptionOpen, 7)
	tell(1, "dracula", schema.Purchase, 9)
	tell(1, "unknown", schema.Purchase, 5)
	tell(2, "middlemarch", schema.Purchase, 4)
	want := []BookCount{{"dracula", "Dracula", 9}, {"jane-eyre", "Jane Eyre", 5}, {"unknown", "unknown", 5}}
	if got := c.top(schema.Purchase, 3, noon); !reflect.DeepEqual(got, want) {
		t.Errorf("top = %+v, want %+v", got, want)
	}
	if got := c.top(schema.Purchase, 5, noon.Add(2*time.Hour)); len(got) != 0 {
		t.Errorf("two hours later: %+v, want nothing", got)
	}
	for i := range 2 * maxKeys {
		tell(3, fmt.Sprint("book-", i), schema.Purchase, 1)
	}
	if n := len(c.minutes[minute(3)]); n != maxKeys {
		t.Errorf("a minute keeps %d counts, want %d", n, maxKeys)
	}
	c.set(schema.Activity{WindowStart: noon.Add(2 * time.Hour), BookID: "jane-eyre", EventType: schema.Purchase, Events: 1}, noon, noon.Add(2*time.Hour))
	if len(c.minutes) != 1 {
		t.Errorf("%d minutes are kept, want the one of the last hour", len(c.minutes))
	}
}

func TestReading(t *testing.T) {
	var r reading
	do := func(user, book string, kind schema.EventType, ago time.Duration) {
		r.add(schema.Event{UserID: user, BookID: book, EventType: kind, EventTime: noon.Add(-ago)})
	}
	const open, shut = schema.DescriptionOpen, schema.DescriptionClose
	do("ann", "jane-eyre", open, 60*time.Second)
	do("ann", "dracula", open, 55*time.Second)   // beside the other; still open
	do("ann", "jane-eyre", shut, 40*time.Second) // 20 s
	do("ann", "jane-eyre", shut, 40*time.Second) // the same again: no reading
	do("bob", "jane-eyre", open, 50*time.Second)
	do("bob", "jane-eyre", open, 50*time.Second) // the same again
	do("bob", "jane-eyre", open, 30*time.Second) // the former was never closed
	do("bob", "jane-eyre", shut, 20*time.Second) // 10 s
	do("cid", "jane-eyre", shut, 20*time.Second) // without an opening
	do("dan", "jane-eyre", open, 20*time.Minute)
	do("dan", "jane-eyre", shut, 5*time.Minute) // too late to be the same reading
	do("eve", "jane-eyre", open, 90*time.Minute)
	do("eve", "jane-eyre", shut, 89*time.Minute) // more than an hour ago
	want := ReadingTime{Closed: 2, Median: 20, Unended: 3}
	if got := r.sum(noon); got != want {
		t.Errorf("reading = %+v, want %+v", got, want)
	}
	if got := r.sum(noon.Add(2 * time.Hour)); got != (ReadingTime{}) {
		t.Errorf("two hours later: %+v, want nothing", got)
	}
	for i := range maxOpen + 100 {
		do(fmt.Sprint(i), "jane-eyre", open, 2*time.Second)
	}
	for i := range maxReadings + 100 {
		do(fmt.Sprint(i), "jane-eyre", shut, time.Second)
	}
	if got := r.sum(noon); got.Closed != maxReadings || got.Unended != maxOpen-maxReadings-100 {
		t.Errorf("of very many readings %+v are kept", got)
	}
}

func TestQuantile(t *testing.T) {
	for _, test := range []struct {
		values []float64
		q      float64
		want   float64
	}{{nil, 0.5, 0}, {[]float64{1}, 0.95, 1}, {[]float64{1, 2, 3}, 0.5, 2}, {[]float64{1, 2, 3, 4}, 1, 4}} {
		if got := quantile(test.values, test.q); got != test.want {
			t.Errorf("quantile(%v, %v) = %v, want %v", test.values, test.q, got, test.want)
		}
	}
}

func arrived(id string, at time.Time) Arrived {
	return Arrived{Event: schema.Event{EventID: id, EventType: schema.Purchase, EventTime: at, UserID: "4b1d2c00-aaaa", BookID: "jane-eyre"}, Received: at}
}

func TestLanding(t *testing.T) {
	var l landing
	l.arrive(arrived("a", noon))
	if !l.arrive(arrived("b", noon.Add(time.Second))) || l.arrive(arrived("b", noon.Add(2*time.Second))) {
		t.Error("an event is new once")
	}
	l.arrive(arrived("c", noon.Add(2*time.Second)))
	if got := l.waiting(noon); !reflect.DeepEqual(got, []string{"a", "b", "c"}) {
		t.Fatalf("waiting = %v", got)
	}
	if !l.waitingSince.Equal(noon) {
		t.Errorf("waiting since %v, want %v", l.waitingSince, noon)
	}
	found := map[string]time.Time{"a": noon.Add(3 * time.Second), "b": noon.Add(2 * time.Second), "stranger": noon}
	if !l.land(found, noon.Add(4*time.Second)) {
		t.Error("nothing has landed")
	}
	if len(l.landed) != 2 || l.landed[0].Seconds() != 1 || l.landed[1].Seconds() != 3 || l.landed[0].Title != "Jane Eyre" || l.landed[0].Visitor != "4b1d2c…" {
		t.Errorf("landed = %+v", l.landed)
	}
	if !l.waitingSince.Equal(noon.Add(2 * time.Second)) {
		t.Errorf("waiting since %v, want the arrival of c", l.waitingSince)
	}
	// The row of an earlier copy tells nothing about this one.
	if l.land(map[string]time.Time{"c": noon.Add(-time.Minute)}, noon) || len(l.landed) != 2 || !l.waitingSince.IsZero() {
		t.Errorf("an earlier copy's row: landed %+v, waiting since %v", l.landed, l.waitingSince)
	}
	if got, want := l.sum(noon), (Latency{P50: 3, P95: 3, Samples: 2}); got != want {
		t.Errorf("latency = %+v, want %+v", got, want)
	}
	if got := l.sum(noon.Add(recently + 3*time.Second)); got.Samples != 1 {
		t.Errorf("later: %+v, want the one sample of the last minutes", got)
	}
}

// The longer an event waits the less often it is looked for.
func TestLandingLooksAgain(t *testing.T) {
	var l landing
	l.arrive(arrived("a", noon))
	for _, look := range []struct {
		after time.Duration
		want  int
	}{{10 * time.Second, 1}, {11 * time.Second, 0}, {12 * time.Second, 1}, {14 * time.Second, 0}} {
		if got := l.waiting(noon.Add(look.after)); len(got) != look.want {
			t.Errorf("after %v to look for are %v, want %d", look.after, got, look.want)
		}
	}
}

// However many events come, and however long none lands, little is kept and asked.
func TestLandingIsBounded(t *testing.T) {
	var l landing
	for i := range 1000 {
		l.arrive(arrived(fmt.Sprint("crowd-", i), noon))
	}
	if n := len(l.waiting(noon)); n != samplesPerSecond {
		t.Errorf("%d events of one second are followed, want %d", n, samplesPerSecond)
	}
	for i := range 2 * maxRecent {
		l.arrive(arrived(fmt.Sprint("long-", i), noon.Add(time.Duration(i)*time.Second)))
	}
	last := noon.Add(2 * maxRecent * time.Second)
	if n := len(l.order); n != maxFollowed || len(l.followed) != n || len(l.recent) != maxRecent || len(l.known) != maxRecent {
		t.Errorf("%d events are followed in order, %d by id, %d remembered", n, len(l.followed), len(l.recent))
	}
	if !l.waitingSince.Equal(noon) {
		t.Errorf("waiting since %v, want the first arrival", l.waitingSince)
	}
	if got := l.of("4b1d2c00-aaaa"); len(got) != maxRecent || got[0].EventID != fmt.Sprint("long-", maxRecent) || got[maxRecent-1].EventID != fmt.Sprint("long-", 2*maxRecent-1) {
		t.Errorf("remembered are %d arrivals, want the latest %d in order", len(got), maxRecent)
	}
	// Those that never land are given up.
	if got := l.waiting(last.Add(2 * longestFollowed)); len(got) != 0 || len(l.followed) != 0 || !l.waitingSince.IsZero() {
		t.Errorf("hours later %d are followed, since %v", len(got), l.waitingSince)
	}
	for round := range 2 * maxLatencies / samplesPerSecond {
		found := map[string]time.Time{}
		for i := range samplesPerSecond {
			id := fmt.Sprint(round, "-", i)
			l.arrive(arrived(id, noon.Add(time.Duration(round)*time.Second)))
			found[id] = noon.Add(time.Duration(round) * time.Second)
		}
		l.land(found, noon)
	}
	if len(l.landed) != maxLanded || len(l.latencies) != maxLatencies || len(l.followed) != 0 {
		t.Errorf("%d landed, %d latencies, %d followed", len(l.landed), len(l.latencies), len(l.followed))
	}
}

func TestShort(t *testing.T) {
	for user, want := range map[string]string{
		"4b1d2c00-1111-4222-8333-444455556666": "4b1d2c…", "anonymous-4b1d2c00-1111-4222-8333-444455556666": "4b1d2c…",
		"bob": "bob", "visitor": "vis…", "": "",
	} {
		if got := Short(user); got != want {
			t.Errorf("Short(%q) = %q, want %q", user, got, want)
		}
	}
	long := strings.Repeat("é", 64)
	if got := Short(long); got != "éééééé…" {
		t.Errorf("Short(%q) = %q", long, got)
	}
}
