package watch

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"
)

// WriteLines writes a line a query, within 80 columns, for what is no terminal: its
// state, micro-batch, rows a second in and out, and the records that wait.
func WriteLines(out io.Writer, s Snapshot) error {
	for _, q := range s.Queries {
		_, err := fmt.Fprintf(out, "%s %-18s %-10s #%-6s in %5s out %5s lag %s\n",
			q.At.UTC().Format("15:04:05Z"), q.Query, q.State, batchID(q), rate(q.InputRowsPerSecond), rate(q.ProcessedRowsPerSecond), count(q.TotalLag()))
		if err != nil {
			return err
		}
	}
	return nil
}

// WriteJSON writes an object a query, one a line.
func WriteJSON(out io.Writer, s Snapshot) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for _, q := range s.Queries {
		if err := encoder.Encode(q); err != nil {
			return err
		}
	}
	return nil
}

func batchID(q Query) string {
	if q.BatchID == nil {
		return "-"
	}
	return strconv.FormatInt(*q.BatchID, 10)
}

// rate shows rows a second in at most five characters.
func rate(perSecond float64) string {
	switch {
	case perSecond >= 999_500:
		return fmt.Sprintf("%.1fM", perSecond/1e6)
	case perSecond >= 99_950:
		return fmt.Sprintf("%.0fk", perSecond/1e3)
	case perSecond >= 9_999.5:
		return fmt.Sprintf("%.1fk", perSecond/1e3)
	case perSecond >= 999.95:
		return fmt.Sprintf("%.0f", perSecond)
	default:
		return fmt.Sprintf("%.1f", perSecond)
	}
}

// count shows a number in at most six characters, "-" for one that is not known.
func count(n int64) string {
	switch {
	case n < 0:
		return "-"
	case n < 1_000_000:
		return strconv.FormatInt(n, 10)
	case n < 999_950_000:
		return fmt.Sprintf("%.1fM", float64(n)/1e6)
	default:
		return fmt.Sprintf("%.1fG", float64(n)/1e9)
	}
}

// size shows a number of bytes.
func size(n int64) string {
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if n < 10_000 {
			return fmt.Sprintf("%d %s", n, unit)
		}
		n /= 1024
	}
	return fmt.Sprintf("%d TiB", n)
}

// millis shows how long something took, in at most seven characters.
func millis(ms int64) string {
	switch d := time.Duration(ms) * time.Millisecond; {
	case ms < 1000:
		return fmt.Sprintf("%d ms", ms)
	case d < 100*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	default:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
}
