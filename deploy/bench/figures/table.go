package figures

import (
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Terminal shows figures and verdicts as text for a terminal of 80 columns.
func Terminal(summaries []Summary, verdicts []Verdict) string {
	var parts []string
	for group := range groups(summaries) {
		t := newTable(group[0].Group, "median", "spread")
		before := ""
		for _, s := range group {
			if s.Contender != before { // on a line of its own, to save columns
				t.AppendRow(table.Row{s.Contender})
				before = s.Contender
			}
			t.AppendRow(table.Row{"  " + s.Metric, s.median(), s.spread()})
		}
		parts = append(parts, onTerminal(t))
	}
	return strings.Join(append(parts, verdictTable(verdicts, onTerminal)...), "\n\n")
}

// Table shows rows as text for a terminal, numbers to the right.
func Table(header []any, rows ...[]any) string {
	t := newTable(header...)
	for _, row := range rows {
		t.AppendRow(row)
	}
	return onTerminal(t)
}

func onTerminal(t table.Writer) string {
	style := table.StyleLight
	style.Options = table.Options{SeparateHeader: true}
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatUpper
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	return t.Render()
}

// Markdown shows the same as tables of a document, with the verdicts first and the figures
// folded up.
func Markdown(summaries []Summary, verdicts []Verdict) string {
	show := table.Writer.RenderMarkdown
	parts := append(verdictTable(verdicts, show), "<details><summary>All figures</summary>")
	for group := range groups(summaries) {
		t := newTable(group[0].Group, "figure", "median", "spread")
		before := ""
		for _, s := range group {
			row := table.Row{s.Contender, s.Metric, s.median(), s.spread()}
			if s.Contender == before {
				row[0] = ""
			}
			before = s.Contender
			t.AppendRow(row)
		}
		parts = append(parts, show(t))
	}
	return strings.Join(append(parts, "</details>"), "\n\n")
}

// groups yields the summaries of each group, in the order in which they came first.
func groups(summaries []Summary) iter.Seq[[]Summary] {
	return func(yield func([]Summary) bool) {
		var done []string
		for _, first := range summaries {
			if slices.Contains(done, first.Group) {
				continue
			}
			done = append(done, first.Group)
			var group []Summary
			for _, s := range summaries {
				if s.Group == first.Group {
					group = append(group, s)
				}
			}
			if !yield(group) {
				return
			}
		}
	}
}

func verdictTable(verdicts []Verdict, show func(table.Writer) string) []string {
	if len(verdicts) == 0 {
		return nil
	}
	t := newTable("floor", "asked", "median", "spread", "verdict")
	for _, v := range verdicts {
		t.AppendRow(v.row())
	}
	return []string{show(t)}
}

func (v Verdict) row() table.Row {
	asked := "≥ " + strconv.FormatFloat(v.AtLeast, 'f', -1, 64)
	if v.AtMost > 0 {
		asked = "≤ " + strconv.FormatFloat(v.AtMost, 'f', -1, 64)
	}
	if v.Floor.Unit != "" {
		asked += " " + v.Floor.Unit
	}
	switch {
	case v.Rounds == 0:
		return table.Row{v.Name, asked, "", "", "not measured"}
	case !v.Reached:
		return table.Row{v.Name, asked, Number(v.Median), v.spread(), "NOT reached"}
	}
	return table.Row{v.Name, asked, Number(v.Median), v.spread(), "reached"}
}

// newTable has numbers to the right: all columns but those called so.
func newTable(header ...any) table.Writer {
	t := table.NewWriter()
	t.AppendHeader(header)
	var columns []table.ColumnConfig
	for i, name := range header {
		if i > 0 && name != "figure" && name != "verdict" {
			columns = append(columns, table.ColumnConfig{Number: i + 1, Align: text.AlignRight, AlignHeader: text.AlignRight})
		}
	}
	t.SetColumnConfigs(columns)
	return t
}

func (s Summary) median() string { return strings.TrimSpace(Number(s.Median) + " " + s.Unit) }

func (s Summary) spread() string {
	if s.Rounds < 2 {
		return "1 round"
	}
	return Number(s.Min) + "–" + Number(s.Max)
}

// Number shows three digits that count, and all before the point, in groups.
func Number(v float64) string {
	digits := 0
	if v != 0 {
		digits = max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	whole, rest, _ := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest != "" {
		return whole + "." + rest
	}
	return whole
}
