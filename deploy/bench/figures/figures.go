// Package figures is what a benchmark finds out: numbers of several rounds, their
// medians and spread, and whether they reach what they should. It stands beside the
// data's path and knows nothing of it.
package figures

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/montanaflynn/stats"
)

// Key says what is measured.
type Key struct {
	Group     string `json:"group"`     // such as ingest
	Contender string `json:"contender"` // who is measured
	Metric    string `json:"metric"`    // what of it, such as events/s
}

// Figure is one number of one round.
type Figure struct {
	Key
	Unit  string  `json:"unit"`
	Round int     `json:"round"` // from 1
	Value float64 `json:"value"`
}

// Summary is what several rounds say of one thing.
type Summary struct {
	Key
	Unit             string
	Rounds           int
	Median, Min, Max float64
}

// Summarize returns a summary of each thing that was measured, in the order in which
// they came first.
func Summarize(list []Figure) []Summary {
	var order []Key
	values, units := map[Key][]float64{}, map[Key]string{}
	for _, f := range list {
		if _, ok := values[f.Key]; !ok {
			order = append(order, f.Key)
		}
		values[f.Key], units[f.Key] = append(values[f.Key], f.Value), f.Unit
	}
	summaries := make([]Summary, 0, len(order))
	for _, key := range order {
		s := summarize(values[key])
		s.Key, s.Unit = key, units[key]
		summaries = append(summaries, s)
	}
	return summaries
}

// summarize takes the median, with all that there was as the spread: three to five
// rounds are too few for anything finer.
func summarize(values []float64) Summary {
	// They fail for no values only.
	median, _ := stats.Median(values)
	least, _ := stats.Min(values)
	most, _ := stats.Max(values)
	return Summary{Rounds: len(values), Median: median, Min: least, Max: most}
}

// Floor is what a figure, or the ratio of two figures of one round, must reach. Ratios
// are of one run, so that they hold on any machine of about the same kind.
type Floor struct {
	Name    string // as a table shows it
	Of      Key
	Over    Key     // what Of is divided by; none if zero
	AtLeast float64 // one of the two
	AtMost  float64
	Unit    string
}

// Verdict is what the rounds say of a floor.
type Verdict struct {
	Floor
	Summary // Rounds is 0 if it was not measured
	Reached bool
}

// Judge compares figures with a floor, by the median of the rounds. One round of a thing is
// held against the median of another of which there are more: its first may be its worst.
// And each round of a thing against the one of another of which there are no more.
func (f Floor) Judge(list []Figure) Verdict {
	of, over := rounds(list, f.Of), rounds(list, f.Over)
	if min(len(of), len(over)) == 1 {
		median := summarize(slices.Collect(maps.Values(over))).Median
		for round := range of {
			over[round] = median
		}
	}
	var values []float64
	for _, figure := range list { // for the order
		value, ok := of[figure.Round]
		if figure.Key != f.Of || !ok {
			continue
		}
		if f.Over != (Key{}) {
			divisor, ok := over[figure.Round]
			if !ok || divisor == 0 {
				continue
			}
			value /= divisor
		}
		values = append(values, value)
	}
	v := Verdict{Floor: f}
	if len(values) == 0 {
		return v
	}
	v.Summary = summarize(values)
	v.Reached = v.Median >= f.AtLeast
	if f.AtMost > 0 {
		v.Reached = v.Median <= f.AtMost
	}
	return v
}

// rounds are the values of one thing by round.
func rounds(list []Figure, key Key) map[int]float64 {
	values := map[int]float64{}
	for _, f := range list {
		if f.Key == key {
			values[f.Round] = f.Value
		}
	}
	return values
}

// Write appends figures as JSON lines.
func Write(out io.Writer, list ...Figure) error {
	encoder := json.NewEncoder(out)
	for _, f := range list {
		if err := encoder.Encode(f); err != nil {
			return fmt.Errorf("writing figures: %w", err)
		}
	}
	return nil
}

// Read returns the figures of JSON lines. Lines without a metric, such as the one about
// the machine, are passed over.
func Read(in io.Reader) ([]Figure, error) {
	var list []Figure
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		var f Figure
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			return nil, fmt.Errorf("reading figures: line %d: %w", n, err)
		}
		if f.Metric != "" {
			list = append(list, f)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, errors.Join(errors.New("reading figures"), err)
	}
	return list, nil
}
