package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"example.com/bookstore/deploy/docs"
	"example.com/bookstore/sparkjob/terminal"
)

// list shows what each fault is.
func list(faults []Fault) string {
	const before = 18 + 2 + 2 // the column before, and what is around the last
	t := terminal.NewTable("FAULT", "WHAT IS DONE, AND HOW IT IS UNDONE")
	for _, f := range faults {
		does := f.Does
		if f.Undone != "" {
			does += "; undone by: " + f.Undone
		}
		t.AppendRow(table.Row{f.Name, text.WrapSoft(does, 80-before)})
	}
	return t.Render()
}

// header names the columns of both tables.
var header = []any{"FAULT", "ACKED", "FLOWS", "NOT 202", "SPOOLED", "LOST", "TWICE", "VERDICT"}

// summary is one fault over all runs.
type summary struct {
	Row
	least, most float64
	runs        int
}

// summarise adds up the runs of each fault, in the order of the first.
func summarise(rows []Row) []summary {
	at := map[string]int{}
	var sums []summary
	for _, r := range rows {
		i, ok := at[r.Fault]
		if !ok {
			at[r.Fault] = len(sums)
			sums = append(sums, summary{Row: r, least: r.Seconds, most: r.Seconds, runs: 1})
			continue
		}
		s := &sums[i]
		s.runs++
		s.least, s.most = min(s.least, r.Seconds), max(s.most, r.Seconds)
		s.Acknowledged += r.Acknowledged
		s.NotAccepted += r.NotAccepted
		s.Spooled += r.Spooled
		s.Lost += r.Lost
		s.DuplicateRows += r.DuplicateRows
		s.Differing += r.Differing
		s.Pending += r.Pending
		s.Unknown += r.Unknown
		s.DuplicateDeliveries += r.DuplicateDeliveries
		if s.Error == "" {
			s.Error = r.Error
		}
		if s.Skipped != "" {
			s.Skipped = r.Skipped // one run that was made is something to show
		}
	}
	return sums
}

// cells are a line of either table.
func (s summary) cells() []any {
	if s.Skipped != "" {
		return []any{s.Fault, "", "", "", "", "", "", s.Verdict()}
	}
	flows := fmt.Sprintf("%.1f s", s.most)
	switch {
	case s.most == 0: // nobody has come as far as to measure it
		flows = ""
	case s.runs > 1:
		flows = fmt.Sprintf("%.1f–%.1f s", s.least, s.most)
	}
	return []any{s.Fault, s.Acknowledged, flows, s.NotAccepted, s.Spooled, s.Lost, s.DuplicateRows, s.Verdict()}
}

// forTerminal is the table as people see it who have run the program.
func forTerminal(rows []Row) string {
	t := terminal.NewTable(header...)
	for _, s := range summarise(rows) {
		cells := s.cells()
		cells[len(cells)-1] = text.WrapSoft(s.Verdict(), 9)
		t.AppendRow(cells)
	}
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 2, Align: text.AlignRight}, {Number: 3, Align: text.AlignRight}, {Number: 4, Align: text.AlignRight},
		{Number: 5, Align: text.AlignRight}, {Number: 6, Align: text.AlignRight}, {Number: 7, Align: text.AlignRight},
	})
	return t.Render()
}

// forReaders is the table in Markdown, with what each fault is.
func forReaders(faults []Fault, rows []Row) string {
	what := map[string]string{}
	for _, f := range faults {
		what[f.Name] = f.Does
	}
	t := table.NewWriter()
	t.AppendHeader(table.Row{"what happens", "events acknowledged", "seconds until events flow again", "requests not answered 202", "spooled", "lost", "duplicate rows", "verdict"})
	for _, s := range summarise(rows) {
		cells := s.cells()
		cells[0] = what[s.Fault]
		if flows, ok := cells[2].(string); ok {
			cells[2] = strings.TrimSuffix(flows, " s")
		}
		t.AppendRow(cells)
	}
	return t.RenderMarkdown()
}

// write writes the table to a file, and one with a JSON object for each row beside it.
func write(path string, faults []Fault, rows []Row) error {
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	for _, r := range rows {
		if err := encoder.Encode(r); err != nil {
			return fmt.Errorf("writing the results: %w", err)
		}
	}
	if err := errors.Join(
		os.WriteFile(path, []byte(forReaders(faults, rows)+"\n"), 0o644),
		os.WriteFile(strings.TrimSuffix(path, ".md")+".jsonl", lines.Bytes(), 0o644),
	); err != nil {
		return fmt.Errorf("writing the results: %w", err)
	}
	return nil
}

// markers are where the table goes in a document: that of one node, or of three.
func markers(cluster bool) (begin, end string) {
	if cluster {
		return "<!-- cluster's faults: written by task faults -- --cluster --readme -->", "<!-- end of cluster's faults -->"
	}
	return "<!-- faults: written by task faults -- --readme -->", "<!-- end of faults -->"
}

// insertInto puts the table between its markers in a document.
func insertInto(path string, cluster bool, tableText string) error {
	begin, end := markers(cluster)
	return docs.InsertInto(path, begin, end, "\n"+tableText+"\n")
}
