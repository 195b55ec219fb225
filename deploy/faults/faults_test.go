package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"example.com/bookstore/deploy/docs"
	"example.com/bookstore/schema"
	"example.com/bookstore/schema/ledger"
)

func TestFaultsCanBeListed(t *testing.T) {
	for _, faults := range [][]Fault{OneNode, ThreeNodes} {
		seen := map[string]bool{}
		for _, f := range faults {
			if f.Name == "" || f.Does == "" || seen[f.Name] || len(f.Name) > 18 || strings.ContainsAny(f.Name, " ,") {
				t.Errorf("fault %q, %q: needs a short name of its own, for --only, and words that say what is done", f.Name, f.Does)
			}
			seen[f.Name] = true
			if (f.End == nil) != (f.Undone == "" || f.Name == "executor-killed") {
				t.Errorf("fault %s says that it is undone by %q and is not, or the other way round", f.Name, f.Undone)
			}
		}
		text := list(faults)
		for name := range seen {
			if !strings.Contains(text, "\n"+name+" ") {
				t.Errorf("the list lacks %s:\n%s", name, text)
			}
		}
		fitsATerminal(t, text)
	}
}

func fitsATerminal(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("a line has %d columns:\n%s", n, line)
		}
	}
}

func TestChosen(t *testing.T) {
	chosen, err := (&command{Only: []string{"disk-full", "store-killed"}}).chosen()
	if err != nil || len(chosen) != 2 || chosen[0].Name != "store-killed" {
		t.Errorf("chosen = %v, %v; want two, in the order of the list", chosen, err)
	}
	if all, err := (&command{Cluster: true}).chosen(); err != nil || len(all) != len(ThreeNodes) {
		t.Errorf("without --only there are %d, %v", len(all), err)
	}
	for want, c := range map[string]command{
		`no fault "flood", only nothing, `: {Only: []string{"flood"}, Rate: 1, Runs: 1},
		"--rate is -1":                     {Rate: -1, Runs: 1},
		"--runs is 0":                      {Rate: 1},
		"without --only":                   {Only: []string{"nothing"}, Readme: true, Rate: 1, Runs: 1},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("err = %v, want %q", err, want)
		}
	}
}

// A worker and an executor, as far as processes go: two of one group.
func TestVictims(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	// Start returns once the program runs under its own name, so that nothing is to be waited for.
	begin := func(name string, group int) int {
		t.Helper()
		program := &exec.Cmd{Path: sleep, Args: []string{name, "60"}, SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pgid: group}}
		if err := program.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			program.Process.Kill()
			program.Wait()
		})
		return program.Process.Pid
	}
	worker := begin("worker of a "+executorClass, 0)
	executor := begin(executorClass, worker)
	begin("another", worker)
	begin(executorClass, 0)
	found, err := executors(worker)
	if err != nil || !slices.Equal(found, []int{executor}) {
		t.Errorf("executors = %v, %v; want %d", found, err, executor)
	}
	if found, err := executors(os.Getpid()); err != nil || len(found) != 0 {
		t.Errorf("executors of what is no worker = %v, %v", found, err)
	}
	s := &stand{where: where{StackDir: t.TempDir()}}
	if _, err := s.pid("kafka"); err == nil || !strings.Contains(err.Error(), "kafka is stopped") {
		t.Errorf("the pid of nothing: %v", err)
	}
}

// What has been frozen goes on when the program is told to end.
func TestCloseThaws(t *testing.T) {
	frozen := exec.Command("sleep", "60")
	if err := frozen.Start(); err != nil {
		t.Fatal(err)
	}
	if err := frozen.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s := &stand{frozen: map[string]int{"kafka": frozen.Process.Pid}}
	if err := s.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A stopped process does not end on SIGTERM.
	if err := frozen.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- frozen.Wait() }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		frozen.Process.Kill()
		t.Error("close has left a process frozen")
	}
}

func rows() []Row {
	return []Row{
		{Run: 1, Fault: "store-killed", Acknowledged: 1000, Seconds: 3.26, NotAccepted: 40, Spooled: 2},
		{Run: 1, Fault: "one-broker-killed", Acknowledged: 123456, Seconds: 61.2, NotAccepted: 12345, Spooled: 99999},
		{Run: 1, Fault: "disk-full", Skipped: "skipped: mounting a small disk: not permitted"},
		{Run: 1, Fault: "broker-killed", Error: "starting kafka: no answer"},
		{Run: 2, Fault: "store-killed", Acknowledged: 900, Seconds: 2.04, Lost: 3, Pending: 1, Error: "no"},
	}
}

func TestTables(t *testing.T) {
	text := forTerminal(rows())
	fitsATerminal(t, text)
	for _, want := range []string{
		"\nstore-killed         1900  2.0–3.3 s       40        2     3      0  lost,\n",
		" whole", "\ndisk-full ", " skipped", "\nbroker-killed           0                   0        0     0      0  failed",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the table lacks %q:\n%s", want, text)
		}
	}
	markdown := forReaders(OneNode, rows())
	for _, want := range []string{"| kill -9 the store | 1900 | 2.0–3.3 | 40 | 2 | 3 | 0 | lost, pending, failed |\n", "| what happens | "} {
		if !strings.Contains(markdown, want) {
			t.Errorf("the table lacks %q:\n%s", want, markdown)
		}
	}
}

func TestVerdict(t *testing.T) {
	for want, r := range map[string]Row{
		"whole":   {Acknowledged: 1, NotAccepted: 10, Unknown: 2, DuplicateDeliveries: 4},
		"skipped": {Skipped: "why"},
	} {
		if !r.Well() || r.Verdict() != want {
			t.Errorf("%+v is %q, want %q", r, r.Verdict(), want)
		}
	}
	for want, r := range map[string]Row{
		"lost": {Lost: 1}, "twice": {DuplicateRows: 2}, "differ": {Differing: 3}, "pending": {Pending: 4}, "failed": {Error: "why"},
	} {
		if r.Well() || r.Verdict() != want {
			t.Errorf("%+v is %q, want %q", r, r.Verdict(), want)
		}
	}
}

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "faults.md")
	if err := write(path, OneNode, rows()); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile(path)
	if err != nil || !bytes.HasPrefix(table, []byte("| what happens |")) {
		t.Errorf("the table: %s, %v", table, err)
	}
	lines, err := os.ReadFile(strings.TrimSuffix(path, ".md") + ".jsonl")
	if err != nil || bytes.Count(lines, []byte("\n")) != 5 || !bytes.Contains(lines, []byte(`{"run":1,"fault":"store-killed","acknowledged":1000,"seconds":3.26,"not_202":40,`)) {
		t.Errorf("the lines: %s, %v", lines, err)
	}
}

func TestInsert(t *testing.T) {
	text, err := os.ReadFile("../../" + readme)
	if err != nil {
		t.Fatal(err)
	}
	for _, cluster := range []bool{false, true} {
		begin, end := markers(cluster)
		other, otherEnd := markers(!cluster)
		document := other + "\n" + otherEnd + "\n" + begin + "\nold\n" + end + "\nb\n"
		got, err := docs.Insert([]byte(document), begin, end, "\nnew\n")
		if want := strings.ReplaceAll(document, "old", "new"); err != nil || string(got) != want {
			t.Errorf("Insert = %q, %v; want %q", got, err, want)
		}
		for _, document := range []string{"", begin, end + begin, begin + otherEnd} {
			if _, err := docs.Insert([]byte(document), begin, end, "\nnew\n"); err == nil {
				t.Errorf("%q has a place for a table", document)
			}
		}
		if _, err := docs.Insert(text, begin, end, "\nnew\n"); err != nil {
			t.Errorf("%s: %v", readme, err)
		}
	}
}

func TestProbe(t *testing.T) {
	fault := time.Now()
	at := func(seconds float64) time.Time { return fault.Add(time.Duration(seconds * float64(time.Second))) }
	p := &probe{sent: []*sample{
		{first: at(-9), acked: at(-9), row: at(-1)}, // slow, and before
		{first: at(-2), acked: at(-2), row: at(5)},  // without a row when it began
		{first: at(1), acked: at(3), row: at(8)},
		{first: at(6), acked: at(6)},
	}}
	if got := p.longest(fault); got != 7*time.Second {
		t.Errorf("longest = %v, want 7s", got)
	}
	if err := p.flowing(at(2)); err == nil || !strings.Contains(err.Error(), "has no row") {
		t.Errorf("flowing with an event that has no row: %v", err)
	}
	if err := p.flowing(at(0)); err != nil {
		t.Errorf("an event of later has its row, and all before it: %v", err)
	}
	if got := p.waiting(asked); len(got) != 1 || got[0] != p.sent[3] {
		t.Errorf("waiting = %v, want the last", got)
	}
	p.sent[3].row = at(7)
	if err := p.flowing(at(6)); err == nil {
		t.Error("it flows, though nothing was sent since then")
	}
}

func TestSpooledIsCountedOverARestart(t *testing.T) {
	p := &probe{lastRead: 5}
	for _, n := range []float64{5, 9, -1, 2, 3} { // 4, away, a new store with 3
		p.spool = func(context.Context) (float64, error) {
			if n < 0 {
				return 0, errors.New("away")
			}
			return n, nil
		}
		p.countSpooled(t.Context())
	}
	if got := p.spooledSoFar(); got != 7 {
		t.Errorf("spooled = %d, want 7", got)
	}
}

func TestCount(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	file, err := ledger.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	event := schema.Event{EventID: schema.NewEventID(), EventType: schema.Purchase, EventTime: time.Now(), UserID: "u", BookID: "emma"}
	for outcome, attempts := range map[ledger.Outcome]int{
		ledger.Acknowledged: 4, ledger.Repeated: 1, ledger.Unknown: 2, ledger.Refused: 1,
	} {
		if err := file.Record(ledger.Entry{Outcome: outcome, Event: event, Attempts: attempts}); err != nil {
			t.Fatal(err)
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	var r Row
	if err := r.count([]string{path}); err != nil || r.Acknowledged != 1 || r.Unknown != 1 || r.NotAccepted != 3+0+2+1 {
		t.Errorf("count = %+v, %v", r, err)
	}
	if err := (&Row{}).count(nil); err == nil {
		t.Error("a fault under no load is well")
	}
}

// What sparkjob reconcile says, and how it ends, decides about a row.
func TestReconcile(t *testing.T) {
	for _, test := range []struct {
		prints  string
		code    int
		verdict string
		err     string
	}{
		{prints: `{"acknowledged":7,"lost":[]}`, verdict: "whole"},
		{prints: `{"acknowledged":7,"duplicate_rows":1,"differing":2,"pending":3,"lost":[{"event_id":"a","partition":null}]}`, code: 1, verdict: "lost, twice, differ, pending"},
		{prints: `{"acknowledged":6,"lost":[]}`, err: "has read 6 acknowledged events and not 7"},
		{prints: `{"acknowledged":7,"lost":[]}`, code: 1, err: "exit status 1"},
		{prints: `oops`, code: 1, err: "exit status 1"},
		{prints: `oops`, err: "prints no object"},
	} {
		binaries := t.TempDir()
		script := fmt.Sprintf("#!/bin/sh\necho '%s'\ntest \"$*\" = 'reconcile --wait 2s --json a b' || exit 3\nexit %d\n", test.prints, test.code)
		if err := os.WriteFile(filepath.Join(binaries, "sparkjob"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		row := Row{Acknowledged: 7}
		err := (&stand{binaries: binaries, patience: 2 * time.Second}).reconcile(t.Context(), &row, []string{"a", "b"})
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s, %d: err = %v, want %q", test.prints, test.code, err, test.err)
			}
		} else if err != nil || row.Verdict() != test.verdict {
			t.Errorf("%s, %d: verdict %q, %v; want %q", test.prints, test.code, row.Verdict(), err, test.verdict)
		}
	}
}

func TestPoisonsAreNoEvents(t *testing.T) {
	if value, ok := poisons["tombstone"]; !ok || value != nil {
		t.Error("no poison is a tombstone")
	}
	for name, value := range poisons {
		if _, err := schema.Decode(value); err == nil {
			t.Errorf("%s is an event", name)
		}
	}
}
