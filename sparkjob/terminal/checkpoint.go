package terminal

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"example.com/bookstore/sparkjob/checkpoint"
)

// Checkpoint is one of a query, nil if it has none yet.
type Checkpoint struct {
	Query string
	*checkpoint.Checkpoint
}

// Checkpoints shows how far each query is, times in UTC.
func Checkpoints(list []Checkpoint) string {
	t := NewTable("QUERY", "BATCH", "PLANNED (UTC)", "READ UP TO", "KEPT FROM", "STATE")
	for _, c := range list {
		if c.Checkpoint == nil {
			t.AppendRow(table.Row{c.Query, "none"})
			continue
		}
		row := table.Row{c.Query, "none", "", "", "", "none"}
		if len(c.Batches) > 0 {
			row[4] = c.Batches[0].ID
		}
		if b := c.Last(); b != nil {
			row[1], row[2], row[3] = b.ID, b.PlannedAt.Format("01-02 15:04:05"), sum(b.End)
		}
		if c.Stateful() {
			bytes, err := c.StateBytes()
			row[5] = "unreadable"
			if err == nil {
				row[5] = size(bytes)
			}
		}
		t.AppendRow(row)
	}
	return t.Render()
}

// size shows a number of bytes.
func size(bytes int64) string {
	if bytes < 1_000_000 {
		return fmt.Sprintf("%.1f kB", float64(bytes)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(bytes)/1e6)
}

func several(n int64, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

func sum(offsets checkpoint.Offsets) int64 {
	var n int64
	for _, offset := range offsets {
		n += offset
	}
	return n
}

// Batches shows micro-batches of a checkpoint, times in UTC.
func Batches(batches []checkpoint.Batch) string {
	t := NewTable("BATCH", "PLANNED (UTC)", "COMMITTED", "ROWS", "READ UP TO")
	for _, b := range batches {
		committed, rows := "yes", "unknown"
		if !b.Committed {
			committed = "no"
		}
		if b.Rows() >= 0 {
			rows = fmt.Sprint(b.Rows())
		}
		t.AppendRow(table.Row{b.ID, formatTime(b.PlannedAt), committed, rows, wrapOffsets(b.End, columns-7-23-9-7-5*2)})
	}
	return t.Render()
}

// wrapOffsets lists offsets by partition, in lines of at most width columns.
func wrapOffsets(offsets checkpoint.Offsets, width int) string {
	var b strings.Builder
	used := 0
	for _, partition := range slices.Sorted(maps.Keys(offsets)) {
		text := fmt.Sprintf("%d:%d", partition, offsets[partition])
		switch {
		case used == 0:
		case used+1+len(text) > width:
			b.WriteString("\n")
			used = 0
		default:
			b.WriteString(" ")
			used++
		}
		b.WriteString(text)
		used += len(text)
	}
	return b.String()
}

// Rewind shows what a rewind will do to a query.
func Rewind(query string, r checkpoint.Rewind) string {
	var b strings.Builder
	last := int64(-1)
	if n := len(r.Checkpoint.Batches); n > 0 {
		last = r.Checkpoint.Batches[n-1].ID
	}
	fmt.Fprintf(&b, "%s\n", query)
	switch {
	case r.Next == nil:
		line(&b, "  goes to", "the beginning: it starts over with the first records that Kafka has")
	case r.Moved:
		line(&b, "  goes to", "the offsets "+strings.ReplaceAll(wrapOffsets(r.Next, 1000), "\n", " "))
	default:
		line(&b, "  goes to", fmt.Sprintf("the end of micro-batch %d, planned %s; %d is the next", r.Keep, formatTime(r.Checkpoint.Batch(r.Keep).PlannedAt), r.Keep+1))
	}
	if last >= 0 {
		line(&b, "  forgets", fmt.Sprintf("%s, up to %d", several(int64(r.Dropped), "micro-batch", "micro-batches"), last))
	}
	if r.ReadAgain >= 0 {
		line(&b, "  reads", several(r.ReadAgain, "record", "records")+" again; rows are written over with the same")
	}
	line(&b, "  keeps", r.Backup)
	return b.String()
}
