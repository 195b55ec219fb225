package ledger

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/bookstore/schema"
)

// entriesOf makes entries of each kind.
func entriesOf(n int) (entries []Entry) {
	planned := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range n {
		at := planned.Add(time.Duration(i) * time.Second)
		e := Entry{Outcome: Refused, Payload: []byte("purchase;\xe9"), PlannedAt: at, Attempts: 1, Status: 400, Detail: "the store answered 400: no"}
		if i%4 > 0 {
			e = Entry{
				Outcome: []Outcome{Acknowledged, Repeated, Unknown}[i%3],
				Event: schema.Event{
					EventID: schema.NewEventID(), EventType: schema.Purchase, EventTime: at, UserID: fmt.Sprint("u", i), BookID: "emma",
				},
				PlannedAt: at, AcknowledgedAt: at.Add(3 * time.Millisecond),
				Attempts: 2, LatencyMS: 3.25, Status: 202, Late: i%2 == 0, Duplicate: i%3 == 1,
			}
		}
		entries = append(entries, e)
	}
	return entries
}

func TestReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	l, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	want := entriesOf(100)
	for _, e := range want {
		if err := l.Record(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Record(want[0]); err == nil {
		t.Error("a closed ledger takes entries")
	}
	if got, err := ReadAll(path); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %v, %v, want %v", got, err, want)
	}
	if _, err := Create(path); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("the ledger is overwritten: %v", err)
	}
	if _, err := ReadAll(path + "x"); err == nil {
		t.Error("a ledger that is not there was read")
	}
}

// Wherever the last line is cut off, the ones before are read.
func TestMayBeCutOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	l, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	want := entriesOf(3)
	for _, e := range want {
		if err := l.Record(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(content) {
		if err := os.WriteFile(path, content[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		whole := bytes.Count(content[:n], []byte("\n"))
		if content[n] == '\n' { // all of a line but its end
			whole++
		}
		got, err := ReadAll(path)
		if err != nil || len(got) != whole || (whole > 0 && !reflect.DeepEqual(got, want[:whole])) {
			t.Fatalf("of the first %d bytes: %d entries, %v, want %d", n, len(got), err, whole)
		}
	}
	broken := bytes.Replace(content, []byte(`{"outcome"`), []byte(`{"outco`), 1)
	if err := os.WriteFile(path, broken, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadAll(path); err == nil || !strings.Contains(err.Error(), "line 1 of") {
		t.Errorf("err = %v, want that line 1 is broken", err)
	}
}

// A program that is killed leaves every entry that it has recorded.
func TestOutlivesItsProgram(t *testing.T) {
	const variable = "TEST_LEDGER"
	if path := os.Getenv(variable); path != "" {
		l, err := Create(path)
		if err != nil {
			t.Fatal(err)
		}
		entries := entriesOf(500)
		for n := 0; ; n++ {
			if err := l.Record(entries[n%len(entries)]); err != nil {
				t.Fatal(err)
			}
			fmt.Printf("recorded %d\n", n+1)
		}
	}
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	program := exec.Command(os.Args[0], "-test.run=^TestOutlivesItsProgram$")
	program.Env = append(os.Environ(), variable+"="+path)
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	recorded := 0
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, err := fmt.Sscanf(lines.Text(), "recorded %d", &recorded); err == nil && recorded == 1000 {
			if err := program.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := program.Wait(); err == nil || recorded < 1000 {
		t.Fatalf("the program has ended by itself: %v, after %d entries", err, recorded)
	}
	entries, err := ReadAll(path)
	if err != nil || len(entries) < recorded {
		t.Errorf("%d entries are left of %d: %v", len(entries), recorded, err)
	}
}
