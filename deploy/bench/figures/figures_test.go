package figures

import (
	"strings"
	"testing"
)

func figure(contender, metric string, round int, value float64) Figure {
	return Figure{Key: Key{"ingest", contender, metric}, Unit: "/s", Round: round, Value: value}
}

func TestSummarize(t *testing.T) {
	list := []Figure{
		figure("store", "events", 1, 30), figure("tutorial", "events", 1, 2),
		figure("store", "events", 2, 10), figure("tutorial", "events", 2, 1),
		figure("store", "events", 3, 20),
	}
	got := Summarize(list)
	want := []Summary{
		{Key{"ingest", "store", "events"}, "/s", 3, 20, 10, 30},
		{Key{"ingest", "tutorial", "events"}, "/s", 2, 1.5, 1, 2},
	}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestJudge(t *testing.T) {
	list := []Figure{
		figure("store", "events", 1, 30), figure("store", "events", 2, 40), figure("store", "events", 3, 90),
		figure("tutorial", "events", 1, 10), figure("tutorial", "events", 2, 10), figure("once", "events", 1, 80),
	}
	store, tutorial, once := Key{"ingest", "store", "events"}, Key{"ingest", "tutorial", "events"}, Key{"ingest", "once", "events"}
	for _, c := range []struct {
		name    string
		floor   Floor
		rounds  int
		median  float64
		reached bool
	}{
		{"a ratio takes the rounds that have both", Floor{Of: store, Over: tutorial, AtLeast: 3.5}, 2, 3.5, true},
		{"a ratio below", Floor{Of: store, Over: tutorial, AtLeast: 3.6}, 2, 3.5, false},
		{"a single round, against the median", Floor{Of: once, Over: store, AtLeast: 2}, 1, 2, true},
		{"each round, against a single one", Floor{Of: store, Over: once, AtLeast: 0.5}, 3, 0.5, true},
		{"at least", Floor{Of: store, AtLeast: 40}, 3, 40, true},
		{"at most", Floor{Of: store, AtMost: 40}, 3, 40, true},
		{"above the most", Floor{Of: store, AtMost: 39.9}, 3, 40, false},
		{"not measured", Floor{Of: Key{Group: "stream"}, AtMost: 1}, 0, 0, false},
		{"nothing to divide by", Floor{Of: store, Over: Key{Group: "stream"}, AtLeast: 1}, 0, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := c.floor.Judge(list)
			if v.Rounds != c.rounds || v.Median != c.median || v.Reached != c.reached {
				t.Errorf("got %d rounds, median %v, reached %v; want %d, %v, %v", v.Rounds, v.Median, v.Reached, c.rounds, c.median, c.reached)
			}
		})
	}
}

func TestReadReturnsWhatWasWritten(t *testing.T) {
	list := []Figure{figure("store", "events", 1, 30.25), figure("tutorial", "p99", 2, 0.5)}
	var out strings.Builder
	out.WriteString(`{"cpu":"some machine"}` + "\n")
	if err := Write(&out, list...); err != nil {
		t.Fatal(err)
	}
	got, err := Read(strings.NewReader(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0] != list[0] || got[1] != list[1] {
		t.Errorf("got %+v, want %+v", got, list)
	}
	if _, err := Read(strings.NewReader("{}\nno JSON\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a line that is no JSON: error %v, want one that names line 2", err)
	}
}

func TestNumber(t *testing.T) {
	for value, want := range map[float64]string{
		0: "0", 0.1234: "0.123", 1.5: "1.50", 12.34: "12.3", 534: "534", 19700.4: "19,700", 1234567: "1,234,567", -1500: "-1,500",
		999.9: "1,000",
	} {
		if got := Number(value); got != want {
			t.Errorf("Number(%v) = %q, want %q", value, got, want)
		}
	}
}

var (
	someSummaries = []Summary{
		{Key{"ingest", "store, one event a request", "acknowledged, 256 connections"}, "/s", 3, 17_800, 17_000, 19_700},
		{Key{"ingest", "store, one event a request", "p99, 256 connections"}, "ms", 1, 8.4, 8.4, 8.4},
	}
	someVerdicts = []Verdict{
		{Floor: Floor{Name: "one a request / tutorial's", AtLeast: 30}, Summary: Summary{Rounds: 3, Median: 33.3, Min: 31, Max: 36}, Reached: true},
		{Floor: Floor{Name: "p99 at half the top rate", AtMost: 15, Unit: "ms"}, Summary: Summary{Rounds: 3, Median: 33.3, Min: 31, Max: 36}},
		{Floor: Floor{Name: "stream, 300,000 in all / tutorial's", AtLeast: 2}},
	}
)

func TestMarkdown(t *testing.T) {
	got := Markdown(someSummaries, someVerdicts)
	want := `| floor | asked | median | spread | verdict |
| --- | ---:| ---:| ---:| --- |
| one a request / tutorial's | ≥ 30 | 33.3 | 31.0–36.0 | reached |
| p99 at half the top rate | ≤ 15 ms | 33.3 | 31.0–36.0 | NOT reached |
| stream, 300,000 in all / tutorial's | ≥ 2 |  |  | not measured |

<details><summary>All figures</summary>

| ingest | figure | median | spread |
| --- | --- | ---:| ---:|
| store, one event a request | acknowledged, 256 connections | 17,800 /s | 17,000–19,700 |
|  | p99, 256 connections | 8.40 ms | 1 round |

</details>`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTerminalFits80Columns(t *testing.T) {
	got := Terminal(someSummaries, someVerdicts)
	for line := range strings.Lines(got) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	for _, want := range []string{"17,800 /s", "NOT reached", "not measured"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	t.Logf("\n%s", got)
}
