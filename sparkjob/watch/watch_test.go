package watch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"

	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/sparkjob/driver"
	"example.com/bookstore/sparkjob/stream"
)

var now = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// names of the eight queries.
var names = []string{"events", "rejected_events", "events_by_user", "late_events", "activity_by_minute", "reads", "funnel", "bookstore_activity"}

func progress(t *testing.T, text string) *stream.Progress {
	t.Helper()
	var p stream.Progress
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

// busy is what is known of eight queries at work, with numbers as large as they get.
func busy(t *testing.T) *known {
	k := &known{
		address: "spark-connect.example.internal:15002", version: "3.5.7",
		states: map[string]driver.QueryState{}, batches: map[string]*stream.Progress{}, dropped: map[string]int64{},
		ends: map[int]int64{}, reports: map[string]cassandra.StreamingQuery{},
		rejected: &Rejected{Records: 1234, Reasons: map[string]int64{
			"event_time is not an RFC 3339 time such as 2026-01-31T12:00:00.000Z": 1000, "the payload is not a JSON object": 200,
			"event_type is not description_open, description_close or purchase": 30, "book_id is missing or empty": 4, "user_id is not a string": 2,
		}},
	}
	var offsets []string
	for partition := range 6 {
		k.ends[partition] = 2_000_000_000
		offsets = append(offsets, fmt.Sprintf(`"%d": 1999%d00000`, partition, partition))
	}
	for i, name := range names {
		p := progress(t, fmt.Sprintf(`{"runId": "r%d", "name": %q, "timestamp": "2026-01-31T11:59:58.123Z", "batchId": 123456, "batchDuration": 43210,
			"durationMs": {"addBatch": 41000, "getBatch": 0, "latestOffset": 123, "queryPlanning": 1234, "walCommit": 345, "commitOffsets": 456, "triggerExecution": 43210},
			"eventTime": {"watermark": "2026-01-31T11:54:59.000Z"},
			"stateOperators": [{"numRowsTotal": 1234567, "memoryUsedBytes": 987654321, "numRowsDroppedByWatermark": 7}],
			"sources": [{"endOffset": {"books": {%s}}, "numInputRows": 50000, "inputRowsPerSecond": 123456.7, "processedRowsPerSecond": 98765.4}]}`,
			i, name, strings.Join(offsets, ", ")))
		k.states[name] = driver.QueryState{Name: name, Running: true, Message: "Processing new data", Last: p}
		k.batches[name] = p
		k.reports[name] = cassandra.StreamingQuery{Query: name, State: "running", ReportedAt: now.Add(-time.Second), RowsDroppedByWatermark: 12, Restarts: 3}
	}
	return k
}

// A screen is never larger than its terminal, and one of 80 by 24 has it all.
func TestScreenFits(t *testing.T) {
	k := busy(t)
	for _, problem := range []error{nil, errors.New(strings.Repeat("asking Spark at spark-connect.example.internal:15002 went wrong; ", 4))} {
		k.sparkErr = problem
		s := screen{snapshot: k.snapshot("bookstore", names, now), query: 4, every: 2 * time.Second}
		for width := 1; width < 160; width += 8 {
			for height := 1; height < 40; height += 3 {
				for _, s.help = range []bool{false, true} {
					drawn := strings.Split(s.render(width, height), "\n")
					if len(drawn) > height {
						t.Fatalf("%d lines on a screen of %d by %d", len(drawn), width, height)
					}
					for _, line := range drawn {
						if n := ansi.StringWidth(line); n > width {
							t.Fatalf("a line of %d columns on a screen of %d by %d:\n%s", n, width, height, line)
						}
					}
				}
			}
		}
	}
	k.sparkErr = nil
	s := screen{snapshot: k.snapshot("bookstore", names, now), query: 4, every: 2 * time.Second}
	drawn := s.render(80, 24)
	for _, want := range append([]string{
		"job bookstore", "Spark 3.5.7 at spark-connect", "every 2s", "12:00:00Z",
		"IN/S", "123k", "98.8k", "43.21 s", "11:54:59", "4.5M", "restarts 3", "running", ">activity_by_minute running",
		"123456 at 11:59:58.123Z, 50000 rows in 43.21 s", "addBatch 41.00 s", "queryPlanning 1.23 s", "latestOffset 123 ms", "walCommit", "commitOffsets", "getBatch",
		"0: 1.0M", "5: 500000", "watermark 2026-01-31 11:54:59Z", "1234567 rows", "941 MiB", "12 dropped", "rejected today (UTC)  1234", "1000  event_time is not an RFC 3339 time",
		"q  quit",
	}, names...) {
		if !strings.Contains(drawn, want) {
			t.Errorf("the screen lacks %q", want)
		}
	}
	if t.Failed() || testing.Verbose() {
		t.Log("\n" + drawn + "\n" + s.render(140, 30))
	}
}

func TestStates(t *testing.T) {
	gone := errors.New("Spark at a:1 cannot be reached")
	for name, test := range map[string]struct {
		change  func(*known)
		want    string
		problem string
	}{
		"running":         {func(*known) {}, "running", ""},
		"no driver":       {func(k *known) { k.reports = map[string]cassandra.StreamingQuery{} }, "running", "No driver"},
		"old report":      {func(k *known) { report(k, "stalled", time.Minute) }, "running", "No driver"},
		"stalled":         {func(k *known) { report(k, "stalled", 0) }, "stalled", ""},
		"stopped":         {func(k *known) { stop(k) }, "stopped", ""},
		"failed":          {func(k *known) { stop(k); report(k, "failed", 0) }, "failed", ""},
		"restarting":      {func(k *known) { stop(k); report(k, "restarting", 0) }, "restarting", ""},
		"failed long ago": {func(k *known) { stop(k); report(k, "failed", time.Hour) }, "stopped", ""},
		"Spark gone":      {func(k *known) { k.sparkErr = gone; k.reports = nil }, "unknown", gone.Error()},
		"driver knows":    {func(k *known) { k.sparkErr = gone; report(k, "restarting", 0) }, "restarting", gone.Error()},
		"Spark is silent": {func(k *known) { k.sparkAsked = now.Add(-5 * time.Second) }, "running", "has not answered for 5s"},
		"never asked":     {func(k *known) { k.states, k.reports = nil, nil }, "unknown", ""},
	} {
		k := busy(t)
		test.change(k)
		s := k.snapshot("bookstore", []string{"events"}, now)
		problems := strings.Join(s.Problems(), " ")
		if s.Queries[0].State != test.want || !strings.Contains(problems, test.problem) || (test.problem == "") != (problems == "") {
			t.Errorf("%s: state %q, want %q; problems %q, want %q", name, s.Queries[0].State, test.want, problems, test.problem)
		}
	}
}

func report(k *known, state string, age time.Duration) {
	for name, r := range k.reports {
		r.State, r.ReportedAt = cassandra.QueryState(state), now.Add(-age)
		k.reports[name] = r
	}
}

func stop(k *known) {
	for name, state := range k.states {
		state.Running = false
		k.states[name] = state
	}
}

func TestLag(t *testing.T) {
	got := lag(map[int]int64{0: 10, 1: 5, 2: 7}, map[int]int64{0: 4, 1: 6})
	if want := map[int]int64{0: 6, 1: 0, 2: 7}; !maps.Equal(got, want) {
		t.Errorf("lag = %v, want %v", got, want)
	}
	if got := lag(nil, map[int]int64{0: 1}); got != nil {
		t.Errorf("lag without an answer of Kafka = %v", got)
	}
}

func TestLinesFit(t *testing.T) {
	var out bytes.Buffer
	k := busy(t)
	s := k.snapshot("bookstore", append(names, "not_started"), now)
	if err := WriteLines(&out, s); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if n := ansi.StringWidth(strings.TrimRight(line, "\n")); n > 80 {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
	if want := "12:00:00Z events             running    #123456 in  123k out 98.8k lag 4.5M\n"; !strings.HasPrefix(out.String(), want) {
		t.Errorf("WriteLines wrote\n%s, want\n%s", out.String(), want)
	}
	out.Reset()
	if err := WriteJSON(&out, s); err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(&out)
	for range s.Queries {
		var q Query
		if err := decoder.Decode(&q); err != nil {
			t.Fatal(err)
		}
		if (q.Rejected != nil) != (q.Query == "rejected_events") {
			t.Errorf("query %s has rejected records: %+v", q.Query, q.Rejected)
		}
		if q.Query == "events" && (q.TotalLag() != 4_500_000 || q.PhasesMs["addBatch"] != 41_000 || q.StateRows != 1_234_567 || q.DroppedRows != 12) {
			t.Errorf("query events: %+v", q)
		}
	}
}

type fixed struct{ snapshot Snapshot }

func (f fixed) Snapshot() Snapshot { return f.snapshot }

func TestKeys(t *testing.T) {
	k := busy(t)
	var m tea.Model = model{watcher: fixed{k.snapshot("bookstore", names, now)}}
	press := func(keys ...string) string {
		for _, key := range keys {
			message := tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(key)}
			switch key {
			case "tab":
				message = tea.KeyMsg{Type: tea.KeyTab}
			case "up":
				message = tea.KeyMsg{Type: tea.KeyUp}
			case "down":
				message = tea.KeyMsg{Type: tea.KeyDown}
			}
			m, _ = m.Update(message)
		}
		return m.View()
	}
	if m.View() != "" {
		t.Error("it draws before it knows the size")
	}
	m, _ = m.Update(tea.WindowSizeMsg{Width: 80, Height: 24})
	m, _ = m.Update(tick{})
	if view := press("tab", "down"); !strings.Contains(view, ">events_by_user") {
		t.Errorf("tab and down lead to\n%s", view)
	}
	if view := press("up", "up", "up"); !strings.Contains(view, ">bookstore_activity") {
		t.Errorf("up from the first leads to\n%s", view)
	}
	if view := press("?"); !strings.Contains(view, "WATERMARK    event time") || strings.Contains(view, ">") {
		t.Errorf("? shows\n%s", view)
	}
	if view := press("?"); !strings.Contains(view, ">bookstore_activity") {
		t.Errorf("? again shows\n%s", view)
	}
	if view := press("??"); !strings.Contains(view, ">bookstore_activity") {
		t.Errorf("two keys at once show\n%s", view)
	}
	if _, command := m.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("?q")}); command == nil || command() != tea.Quit() {
		t.Error("q does not quit")
	}
}

func TestTellEachProblemOnce(t *testing.T) {
	var out bytes.Buffer
	told := map[string]bool{}
	for _, problems := range [][]string{{"a"}, {"a", "b"}, {"b"}, {"a"}} {
		tell(&out, problems, told)
	}
	if want := "sparkjob: a\nsparkjob: b\nsparkjob: a\n"; out.String() != want {
		t.Errorf("told %q, want %q", out.String(), want)
	}
}
