package watch

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/x/ansi"

	"example.com/bookstore/sparkjob/terminal"
)

// Styles, of the sixteen colours that every terminal has. Without colours nothing is
// lost: each of them only repeats what a word says.
var (
	title    = lipgloss.NewStyle().Bold(true)
	faint    = lipgloss.NewStyle().Faint(true)
	selected = lipgloss.NewStyle().Bold(true)
	warning  = lipgloss.NewStyle().Foreground(lipgloss.Color("3"))
	states   = map[string]lipgloss.Style{
		"running":    lipgloss.NewStyle().Foreground(lipgloss.Color("2")),
		"starting":   lipgloss.NewStyle().Foreground(lipgloss.Color("3")),
		"stalled":    lipgloss.NewStyle().Foreground(lipgloss.Color("3")),
		"restarting": lipgloss.NewStyle().Foreground(lipgloss.Color("3")),
		"stopped":    lipgloss.NewStyle().Foreground(lipgloss.Color("1")),
		"failed":     lipgloss.NewStyle().Foreground(lipgloss.Color("1")),
		"unknown":    lipgloss.NewStyle().Faint(true),
	}
)

// column of the table of queries.
type column struct {
	header string
	width  int
	from   int // width of the screen from which the column is there
	right  bool
	cell   func(Query) string
	style  func(Query) lipgloss.Style
}

func plain(Query) lipgloss.Style { return lipgloss.NewStyle() }

var columns = []column{
	{"QUERY", 18, 0, false, func(q Query) string { return q.Query }, plain},
	{"STATE", 10, 0, false, func(q Query) string { return q.State }, func(q Query) lipgloss.Style { return states[q.State] }},
	{"IN/S", 6, 52, true, func(q Query) string { return rate(q.InputRowsPerSecond) }, plain},
	{"OUT/S", 6, 59, true, func(q Query) string { return rate(q.ProcessedRowsPerSecond) }, plain},
	{"LAG", 6, 38, true, func(q Query) string { return count(q.TotalLag()) }, plain},
	{"BATCH", 6, 66, true, batchID, plain},
	{"TIME", 7, 74, true, func(q Query) string {
		if q.BatchID == nil {
			return "-"
		}
		return millis(q.BatchMs)
	}, plain},
	{"WATERMARK", 9, 80, true, func(q Query) string {
		if q.Watermark == nil {
			return "-"
		}
		return q.Watermark.UTC().Format("15:04:05")
	}, plain},
	{"STATE ROWS", 10, 91, true, func(q Query) string { return stateful(q, count(q.StateRows)) }, plain},
	{"BYTES", 8, 100, true, func(q Query) string { return stateful(q, size(q.StateBytes)) }, plain},
	{"DROPPED", 7, 108, true, func(q Query) string { return stateful(q, count(q.DroppedRows)) }, plain},
	{"ADD BATCH", 9, 118, true, func(q Query) string { return phase(q, "addBatch") }, plain},
	{"PLANNING", 8, 127, true, func(q Query) string { return phase(q, "queryPlanning") }, plain},
}

func stateful(q Query, text string) string {
	if !q.Stateful {
		return "-"
	}
	return text
}

func phase(q Query, name string) string {
	ms, ok := q.PhasesMs[name]
	if !ok {
		return "-"
	}
	return millis(ms)
}

// screen is what a person sees.
type screen struct {
	snapshot Snapshot
	query    int // that is selected
	help     bool
	every    time.Duration
}

// render draws a screen of so many columns and lines. It never exceeds them: what there
// is no room for is left out, the details and the reasons first.
func (s screen) render(width, height int) string {
	lines := s.header(width)
	room := max(height-len(lines)-1, 0)
	if s.help {
		lines = append(lines, fit(help(), &room)...)
	} else {
		lines = append(lines, fit(s.table(width), &room)...)
		lines = append(lines, fit(s.problems(width), &room)...)
		reserved := 0
		if room >= 8 {
			reserved = 2 // for the number of rejected records
		}
		room -= reserved
		lines = append(lines, fitBelow(s.details(width), &room)...)
		room += reserved
		lines = append(lines, fitBelow(s.rejected(width), &room)...)
	}
	lines = append(lines, slices.Repeat([]string{""}, room)...)
	keys := "↑ ↓ tab  choose a query    ?  help    q  quit"
	if ansi.StringWidth(keys) > width {
		keys = "?  help    q  quit"
	}
	lines = append(lines, faint.Render(keys))
	for i, line := range lines {
		lines[i] = ansi.Truncate(line, width, "…")
	}
	return strings.Join(lines[:min(len(lines), height)], "\n")
}

// fit cuts a block to the lines that there is room for, and takes them from it.
func fit(block []string, room *int) []string {
	block = block[:min(len(block), *room)]
	*room -= len(block)
	return block
}

// fitBelow is fit for a block that an empty line sets off.
func fitBelow(block []string, room *int) []string {
	if len(block) == 0 || *room < 2 {
		return nil
	}
	return fit(append([]string{""}, block...), room)
}

func (s screen) header(width int) []string {
	server := "Spark at " + s.snapshot.Address
	if s.snapshot.Spark != "" {
		server = "Spark " + s.snapshot.Spark + " at " + s.snapshot.Address
	}
	left := title.Render("job "+s.snapshot.Job) + "  " + server
	right := fmt.Sprintf("every %v  %s", s.every, s.snapshot.At.UTC().Format("15:04:05Z"))
	if room := width - ansi.StringWidth(right) - 2; ansi.StringWidth(left) > room {
		left = ansi.Truncate(left, max(room, 0), "…")
	}
	return []string{left + strings.Repeat(" ", max(width-ansi.StringWidth(left)-ansi.StringWidth(right), 1)) + right, ""}
}

func (s screen) table(width int) []string {
	row := func(mark string, cell func(column) string) string {
		var b strings.Builder
		b.WriteString(mark)
		for _, c := range columns {
			if width < c.from {
				continue
			}
			b.WriteString(cell(c))
			b.WriteString(" ")
		}
		return strings.TrimRight(b.String(), " ")
	}
	lines := []string{faint.Render(row(" ", func(c column) string { return pad(c.header, c.width, c.right) }))}
	for i, q := range s.snapshot.Queries {
		mark := " "
		if i == s.query {
			mark = ">"
		}
		line := row(mark, func(c column) string {
			style := c.style(q)
			if i == s.query {
				style = style.Inherit(selected)
			}
			return style.Render(pad(ansi.Truncate(c.cell(q), c.width, "…"), c.width, c.right))
		})
		lines = append(lines, line)
	}
	return lines
}

func pad(text string, width int, right bool) string {
	fill := strings.Repeat(" ", max(width-ansi.StringWidth(text), 0))
	if right {
		return fill + text
	}
	return text + fill
}

func (s screen) problems(width int) []string {
	var lines []string
	for _, problem := range s.snapshot.Problems() {
		for i, line := range strings.Split(terminal.WrapTo("! "+problem, max(width-2, 1)), "\n") {
			if i > 0 {
				line = "  " + line
			}
			lines = append(lines, warning.Render(line))
		}
	}
	return lines
}

// details is all about the selected query.
func (s screen) details(width int) []string {
	if s.query >= len(s.snapshot.Queries) {
		return nil
	}
	q := s.snapshot.Queries[s.query]
	facts := func(label string, parts []string) []string { return flow(label, parts, width) }

	batch := "none yet"
	if q.BatchID != nil {
		batch = fmt.Sprintf("%d at %s, %d rows in %s", *q.BatchID, q.BatchStartedAt.UTC().Format("15:04:05.000Z"), q.BatchRows, millis(q.BatchMs))
	}
	lines := []string{title.Render(q.Query)}
	if q.Message != "" {
		lines[0] += "  " + q.Message
	}
	about := []string{batch}
	if q.Restarts > 0 {
		about = append(about, fmt.Sprintf("restarts %d", q.Restarts))
	}
	lines = append(lines, facts("batch", about)...)
	if parts := phases(q); len(parts) > 0 {
		lines = append(lines, facts("phases", parts)...)
	}
	waiting := []string{"unknown"}
	if q.Lag != nil {
		waiting = nil
		for _, partition := range slices.Sorted(maps.Keys(q.Lag)) {
			waiting = append(waiting, fmt.Sprintf("%d: %s", partition, count(q.Lag[partition])))
		}
	}
	lines = append(lines, facts("lag", waiting)...)
	var kept []string
	if q.Stateful {
		kept = append(kept, fmt.Sprintf("%d rows, %s", q.StateRows, size(q.StateBytes)), fmt.Sprintf("%d dropped", q.DroppedRows))
	}
	if q.Watermark != nil {
		kept = append(kept, "watermark "+q.Watermark.UTC().Format("2006-01-02 15:04:05Z"))
	}
	if len(kept) > 0 {
		lines = append(lines, facts("state", kept)...)
	}
	return lines
}

// phases lists the parts of a micro-batch by Spark's names, the longest first; the whole
// is shown elsewhere.
func phases(q Query) []string {
	names := slices.SortedFunc(maps.Keys(q.PhasesMs), func(a, b string) int {
		return cmp.Or(cmp.Compare(q.PhasesMs[b], q.PhasesMs[a]), cmp.Compare(a, b))
	})
	var parts []string
	for _, name := range names {
		if name != "triggerExecution" {
			parts = append(parts, name+" "+millis(q.PhasesMs[name]))
		}
	}
	return parts
}

// flow sets parts side by side behind a label, on as many lines as they need.
func flow(label string, parts []string, width int) []string {
	const indent = 10
	var lines []string
	line := pad("  "+label, indent, false)
	used := indent
	for i, part := range parts {
		if i > 0 && used+ansi.StringWidth(part) > width {
			lines = append(lines, strings.TrimRight(line, " "))
			line, used = strings.Repeat(" ", indent), indent
		}
		line += part + "  "
		used += ansi.StringWidth(part) + 2
	}
	return append(lines, strings.TrimRight(line, " "))
}

func (s screen) rejected(width int) []string {
	r := s.snapshot.Rejected
	if r == nil {
		return nil
	}
	lines := []string{fmt.Sprintf("%s  %d", title.Render("rejected today (UTC)"), r.Records)}
	reasons := slices.SortedFunc(maps.Keys(r.Reasons), func(a, b string) int {
		return cmp.Or(cmp.Compare(r.Reasons[b], r.Reasons[a]), cmp.Compare(a, b))
	})
	for _, reason := range reasons {
		lines = append(lines, fmt.Sprintf("%8s  %s", count(r.Reasons[reason]), ansi.Truncate(reason, max(width-10, 1), "…")))
	}
	return lines
}

func help() []string {
	return strings.Split(`IN/S, OUT/S  rows that came and that were processed, a second
LAG          records of the topic that the query has not read yet
BATCH, TIME  the latest micro-batch and how long it took; below, its phases
             by Spark's names: addBatch is the work, the rest is around it
WATERMARK    event time before which windows are closed; kept at most a
             few minutes behind the latest event
state        what a query keeps between micro-batches, in rows and memory,
             and rows dropped since they came behind the watermark
stalled      records wait and no micro-batch completes: is Cassandra there?
unknown      Spark cannot be asked

sparkjob watch events reads   these queries only
sparkjob watch --interval 5s  every five seconds
sparkjob watch --json | jq    everything, for programs`, "\n")
}
