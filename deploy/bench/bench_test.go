package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bookstore/deploy/bench/figures"
	"example.com/bookstore/sparkjob/stream"
)

// asProgram, set, makes the test's binary the program bench.
const asProgram = "BENCH_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// Who begins changes, nobody is left out, and a contender with one round has the middle one.
func TestContendersTakeTurns(t *testing.T) {
	var got []string
	turn := func(_ context.Context, r *round) error {
		got = append(got, r.contender+strings.Repeat("'", r.number))
		return nil
	}
	contenders := []contender{{name: "a", round: turn, quick: true}, {name: "b", round: turn}, {name: "c", round: turn, rounds: 1}}
	b := &bench{measureCmd: measureCmd{Rounds: 3}, lines: io.Discard}
	if err := turns(t.Context(), b, contenders); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a'", "b'", "b''", "c''", "a''", "a'''", "b'''"}; !slices.Equal(got, want) {
		t.Errorf("turns are %v, want %v", got, want)
	}
	got, b.Rounds, b.Quick = nil, 1, true
	if err := turns(t.Context(), b, contenders); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a'"}; !slices.Equal(got, want) {
		t.Errorf("with --quick turns are %v, want %v", got, want)
	}
}

// A floor about a contender that nobody measures would never be judged.
func TestFloorsAreAboutContenders(t *testing.T) {
	for _, floor := range floors {
		for _, key := range []figures.Key{floor.Of, floor.Over} {
			if key == (figures.Key{}) {
				continue
			}
			g, ok := findGroup(key.Group)
			if !ok || !slices.ContainsFunc(g.contenders, func(c contender) bool { return c.name == key.Contender }) {
				t.Errorf("floor %q is about %+v, which no group has", floor.Name, key)
			}
		}
		if (floor.AtLeast > 0) == (floor.AtMost > 0) {
			t.Errorf("floor %q has no bound, or two", floor.Name)
		}
		if n := len([]rune(floor.Name)); n > 34 { // what the table has room for
			t.Errorf("floor %q has %d characters", floor.Name, n)
		}
	}
}

func TestByStack(t *testing.T) {
	var got [][]string
	for _, on := range byStack([]group{
		{name: "a", services: "kafka"}, {name: "b", services: "all"}, {name: "c", services: "all"},
		{name: "d"}, {name: "e"},
	}) {
		got = append(got, names(on))
	}
	want := [][]string{{"a"}, {"b", "c"}, {"d"}, {"e"}}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestReplaceIn(t *testing.T) {
	name := filepath.Join(t.TempDir(), "README.md")
	write := func(text string) {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("before\n" + tablesBegin + "old\n" + tablesEnd + "after\n")
	for range 2 {
		if err := replaceIn(name, "new\n"); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if want := "before\n" + tablesBegin + "new\n" + tablesEnd + "after\n"; err != nil || string(got) != want {
			t.Errorf("got %v\n%s\nwant\n%s", err, got, want)
		}
	}
	write("no marks\n")
	if err := replaceIn(name, "new\n"); err == nil || !strings.Contains(err.Error(), "bench: begin") {
		t.Errorf("without marks the error is %v, want one that names them", err)
	}
}

// The README has the place that --readme writes to.
func TestReadmeHasAPlaceForTheTables(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, mark := range []string{tablesBegin, tablesEnd} {
		if bytes.Count(text, []byte(mark)) != 1 {
			t.Errorf("README.md has %q %d times, want once", mark, bytes.Count(text, []byte(mark)))
		}
	}
}

// The handler without Kafka takes events as the store does, in a process that ends in
// good order, and the load measures it from another.
func TestBoundUnderLoad(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(asProgram, "1")
	b := &bench{self: self, folder: t.TempDir()}
	ctx := t.Context()
	s, err := b.serve(ctx, "bound", nil, self, "bound")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	result, err := b.load(ctx, loadCmd{URL: s.url, Connections: 2, Batch: 100, Duration: 300 * time.Millisecond, SampleEvery: 1},
		func(e sampled) { ids = append(ids, e.EventID) })
	if err != nil {
		t.Error(err)
	}
	if result.Events != 100*result.Requests || result.Busy <= 0 || len(ids) != int(result.Requests) {
		t.Errorf("%d events of %d requests, %d in the sample, busy %v", result.Events, result.Requests, len(ids), result.Busy)
	}
	for _, end := range b.cleanups {
		if err := end(); err != nil {
			t.Error(err)
		}
	}
	if err := s.Ended(); err == nil || !strings.Contains(err.Error(), "exit status 0") {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// Another value takes the place of the one in force only if it is better by more than two
// runs of the same differ.
func TestChoose(t *testing.T) {
	of := func(rates ...float64) []tried {
		return []tried{{2, rates[:2]}, {6, rates[2:4]}, {12, rates[4:]}}
	}
	for _, test := range []struct {
		inForce, want int
		values        []tried
	}{
		{6, 6, of(100, 100, 110, 110, 90, 90)},
		{6, 6, of(100, 100, 110, 110, 114, 114)},
		{6, 12, of(100, 100, 110, 110, 116, 118)},
		{6, 2, of(200, 220, 110, 110, 116, 118)},
		{7, 12, of(100, 100, 110, 110, 111, 111)},
	} {
		if got := choose(test.inForce, test.values); got != test.want {
			t.Errorf("of %v with %d in force the choice is %d, want %d", test.values, test.inForce, got, test.want)
		}
	}
}

// What a query took, from its reports: idle ones count for nothing, and what is warm
// begins where the first micro-batch ends.
func TestOfBatches(t *testing.T) {
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	batch := func(after, took time.Duration, rows int64) *stream.Progress {
		return &stream.Progress{
			Timestamp: began.Add(after), Sources: []stream.SourceProgress{{NumInputRows: rows}},
			Durations: map[string]time.Duration{"triggerExecution": took, "addBatch": took / 2},
		}
	}
	got, err := ofBatches(began, []*stream.Progress{
		batch(time.Second, 0, 0), batch(2*time.Second, 8*time.Second, 500), batch(10*time.Second, 4*time.Second, 500),
		batch(15*time.Second, 5*time.Second, 1000), batch(30*time.Second, time.Second, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := (catchUp{took: 20 * time.Second, first: 10 * time.Second, warm: 150}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, err := ofBatches(began, []*stream.Progress{batch(0, time.Second, 500)}); err == nil {
		t.Error("a single micro-batch tells of a warm one")
	}
}

// How late an event is counts from its acknowledgement, and none that is still missing is
// forgotten.
func TestWatchTakesWhatIsThere(t *testing.T) {
	now := time.Now()
	w := &watch{waiting: map[string]*waiting{}}
	w.add(sampled{"a", now.Add(-3 * time.Second)})
	w.add(sampled{"b", now.Add(-time.Second)})
	if ids, left, closed := w.due(now); len(ids) != 2 || left != 2 || !closed.IsZero() {
		t.Errorf("to look for: %v of %d, closed at %v; want both, and not closed", ids, left, closed)
	}
	w.take(map[string]time.Time{"a": now.Add(-2 * time.Second)}, now)
	if len(w.visible) != 1 || w.visible[0] != 3 || len(w.written) != 1 || w.written[0] != 1 {
		t.Errorf("seen after %v s, written after %v s; want 3 and 1", w.visible, w.written)
	}
	w.close()
	if ids, left, closed := w.due(now.Add(49 * time.Millisecond)); len(ids) != 0 || left != 1 || closed.IsZero() {
		t.Errorf("soon after: %v of %d, closed at %v; want to look for none yet, and closed", ids, left, closed)
	}
	if ids, _, _ := w.due(now.Add(51 * time.Millisecond)); !slices.Equal(ids, []string{"b"}) {
		t.Errorf("to look for: %v, want b", ids)
	}
}
