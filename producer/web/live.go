package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"example.com/bookstore/producer/live"
	"example.com/bookstore/schema"
)

// Live knows what is happening in the store. *live.Hub is one.
type Live interface {
	// Snapshot is what is known now.
	Snapshot() *live.Snapshot
	// Subscribe returns a channel of snapshots that is closed when there are no
	// more, and a function that gives it up.
	Subscribe() (snapshots <-chan *live.Snapshot, stop func())
	// Timeline is what a visitor did in the last days; errors.Is tells
	// live.ErrUnreachable.
	Timeline(ctx context.Context, user string, days int) (live.Timeline, error)
}

const (
	// heartbeat keeps what stands between store and browser from taking a stream for
	// dead.
	heartbeat = 15 * time.Second
	// streamWrite is how long a browser may take for one message.
	streamWrite = 10 * time.Second
	// streamRetry is when a browser asks again that has lost its stream.
	streamRetry = 2 * time.Second
)

// liveParts are the parts of the page that change. Each is a template live-NAME,
// rendered here and replaced as it is by live.js, so that nothing is drawn twice.
var liveParts = []string{"at", "problems", "tiles", "rate", "rate-table", "feed", "opened", "bought", "funnel", "reading", "rejected", "queries"}

// liveStream is what the streams of the live page share.
type liveStream struct {
	mu       sync.Mutex
	snapshot *live.Snapshot
	parts    map[string]string // of the snapshot
}

type livePage struct {
	layout
	liveView
}

// live shows what is happening, as it is now; the stream keeps it up to date.
func (s *Server) live(c echo.Context) error {
	if s.liveSource == nil {
		return liveOff()
	}
	return s.show(c, http.StatusOK, "live.html", livePage{
		layout{Title: "Live – Bookstore", Section: "live", Styles: []string{"live.css"}, Scripts: []string{"live.js"}},
		liveView{s.liveSource.Snapshot()},
	})
}

func liveOff() error {
	return &Problem{
		Type: "live-off", Title: "The live page is switched off", Status: http.StatusNotFound,
		Detail: "This store was started with --live=false, so that it does not look at what it has sold.",
	}
}

// liveSnapshot answers with everything that the page shows, as JSON.
func (s *Server) liveSnapshot(c echo.Context) error {
	if s.liveSource == nil {
		return liveOff()
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(http.StatusOK, s.liveSource.Snapshot())
}

// liveEvents is a stream of server-sent events. Each event "parts" is a JSON object
// of the parts that have changed; the first has all of them, so that a browser that
// comes back needs no memory of ours.
func (s *Server) liveEvents(c echo.Context) error {
	if s.liveSource == nil {
		return liveOff()
	}
	snapshots, stop := s.liveSource.Subscribe()
	defer stop()

	w := c.Response()
	control := http.NewResponseController(w)
	// The server's own time-outs are for requests that end by themselves.
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("opening a stream: %w", err)
	}
	w.Header().Set(echo.HeaderContentType, "text/event-stream")
	w.Header().Set(echo.HeaderCacheControl, "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // or a proxy would collect it
	w.WriteHeader(http.StatusOK)
	write := func(message []byte) bool {
		if control.SetWriteDeadline(time.Now().Add(streamWrite)) != nil {
			return false
		}
		if _, err := w.Write(message); err != nil {
			return false
		}
		return control.Flush() == nil
	}

	sent := map[string]string{}
	quiet := time.NewTicker(heartbeat)
	defer quiet.Stop()
	open := write(fmt.Appendf(nil, "retry: %d\n\n", streamRetry.Milliseconds()))
	for open {
		select {
		case <-c.Request().Context().Done():
			return nil
		case <-s.stopping:
			return nil
		case <-quiet.C:
			open = write([]byte(":\n\n"))
		case snapshot, more := <-snapshots:
			if !more {
				return nil
			}
			message, err := s.changedParts(snapshot, sent)
			if err != nil {
				return err
			}
			open = write(message)
		}
	}
	return nil // the browser has gone
}

// changedParts is an event of the parts that differ from those sent, which it brings
// up to date.
func (s *Server) changedParts(snapshot *live.Snapshot, sent map[string]string) ([]byte, error) {
	parts, err := s.liveStream.render(s.pages, snapshot)
	if err != nil {
		return nil, err
	}
	changed := map[string]string{}
	for name, part := range parts {
		if old, ok := sent[name]; !ok || old != part {
			changed[name], sent[name] = part, part
		}
	}
	var message bytes.Buffer
	message.WriteString("event: parts\ndata: ")
	encoder := json.NewEncoder(&message)
	encoder.SetEscapeHTML(false) // or HTML would grow to a multiple
	if err := encoder.Encode(changed); err != nil {
		return nil, fmt.Errorf("encoding the parts of the live page: %w", err)
	}
	message.WriteByte('\n') // the second one, after the encoder's
	return message.Bytes(), nil
}

// render renders the parts of a snapshot, once for all who look.
func (l *liveStream) render(pages *pages, snapshot *live.Snapshot) (map[string]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.snapshot == snapshot {
		return l.parts, nil
	}
	parts := make(map[string]string, len(liveParts))
	for _, name := range liveParts {
		part, err := pages.render("live-"+name, liveView{snapshot})
		if err != nil {
			return nil, err
		}
		parts[name] = string(bytes.TrimSpace(part))
	}
	l.snapshot, l.parts = snapshot, parts
	return parts, nil
}

// liveView is a snapshot in the words, numbers and lines of the page.
type liveView struct{ *live.Snapshot }

// tile is one of the numbers at the top.
type tile struct{ Number, Unit, What, More string }

// Tiles are the numbers at the top of the page.
func (v liveView) Tiles() []tile {
	last := "no event in the last minutes"
	if !v.Rate.Last.IsZero() {
		last = "the last event " + ago(v.At.Sub(v.Rate.Last))
	}
	tiles := []tile{
		{decimal(v.Rate.PerSecond), "a second", "events come in", last},
		{"–", "", "until an event is stored", "none was stored in the last 5 minutes"},
		{"–", "", "bought today", "not known yet"},
		{"–", "", "rejected today", "not known yet"},
	}
	if l := v.Latency; l.Samples > 0 {
		tiles[1] = tile{
			fmt.Sprintf("%.1f", l.P50), "seconds", "until half of the events are stored",
			fmt.Sprintf("95 of 100 within %s", duration(l.P95)),
		}
	}
	if f := v.Funnel; !f.At.IsZero() {
		tiles[2] = tile{grouped(f.Bought), plural(f.Bought, "purchase", "purchases"), "today", percent(f.Bought, f.Opened) + " of those who opened a description"}
	}
	if r := v.Rejected; !r.At.IsZero() {
		more := "every record was an event"
		if len(r.Reasons) > 0 {
			more = "mostly: " + r.Reasons[0].Reason
		}
		tiles[3] = tile{grouped(r.Today), plural(r.Today, "record", "records"), "rejected today", more}
	}
	return tiles
}

// chart is a line over the last minutes in a space of 300 by 100 units.
type chart struct{ Area, Line, Max, Text string }

// smoothed is how many seconds one point of the chart stands for.
const smoothed = 3

// RateChart draws the events a second.
func (v liveView) RateChart() chart {
	var points []float64
	most := 0.0
	for i := 0; i+smoothed <= len(v.Rate.Seconds); i += smoothed {
		sum := 0
		for _, n := range v.Rate.Seconds[i : i+smoothed] {
			sum += n
		}
		points = append(points, float64(sum)/smoothed)
		most = max(most, points[len(points)-1])
	}
	top := ceiling(most)
	var line strings.Builder
	for i, p := range points {
		if i > 0 {
			line.WriteByte('L')
		}
		x := 300 * float64(i) / float64(max(1, len(points)-1))
		fmt.Fprintf(&line, "%.1f %.1f", x, 100-96*p/top)
	}
	return chart{
		Line: "M" + line.String(), Area: "M0 100L" + line.String() + "L300 100Z", Max: decimal(top),
		Text: fmt.Sprintf("Events a second over the last 5 minutes: now %s, at most %s.", decimal(v.Rate.PerSecond), decimal(most)),
	}
}

// ceiling is the next of 1, 2, 3, 4, 6, 8, 10, 20 and so on, for the upper end of an axis.
func ceiling(x float64) float64 {
	for power := 1.0; ; power *= 10 {
		for _, step := range []float64{1, 2, 3, 4, 6, 8} {
			if x <= step*power {
				return step * power
			}
		}
	}
}

// minuteRow is one minute of the chart as a row of a table.
type minuteRow struct{ Name, Events, Mean, Most string }

// RateMinutes is the chart as a table, the latest minute first.
func (v liveView) RateMinutes() []minuteRow {
	var rows []minuteRow
	for end := len(v.Rate.Seconds); end >= 60; end -= 60 {
		sum, most := 0, 0
		for _, n := range v.Rate.Seconds[end-60 : end] {
			sum, most = sum+n, max(most, n)
		}
		name := "the last"
		if n := len(rows); n > 0 {
			name = fmt.Sprintf("%d min before", n)
		}
		rows = append(rows, minuteRow{name, grouped(sum), decimal(float64(sum) / 60), grouped(most)})
	}
	return rows
}

// feedItem is one event that has landed.
type feedItem struct {
	live.Landed
	Did, Took string
}

// did is what a visitor did, before the book's title.
func did(kind schema.EventType) string {
	switch kind {
	case schema.DescriptionOpen:
		return "opened"
	case schema.DescriptionClose:
		return "closed"
	default:
		return "bought"
	}
}

// Feed is the events that have landed.
func (v liveView) Feed() []feedItem {
	var items []feedItem
	for _, l := range v.Landed {
		items = append(items, feedItem{l, did(l.EventType), duration(l.Seconds())})
	}
	return items
}

// bar is a row with a bar of so many percent of the widest.
type bar struct{ Name, Number, Share, Percent, Class string }

// barTable is a ranking.
type barTable struct {
	Rows          []bar
	What, Nothing string
}

// TopOpened is the books whose descriptions were opened most.
func (v liveView) TopOpened() barTable {
	return v.top(v.Opened, "Opened, times", "opened", "No description was opened in the last hour.")
}

// TopBought is the books that were bought most.
func (v liveView) TopBought() barTable {
	return v.top(v.Bought, "Bought, times", "bought", "No book was bought in the last hour.")
}

func (v liveView) top(books []live.BookCount, what, class, nothing string) barTable {
	if v.CountsAt.IsZero() {
		nothing = "No count has come from the streaming job in the last hour."
	}
	t := barTable{What: what, Nothing: nothing}
	for _, b := range books {
		t.Rows = append(t.Rows, bar{
			Name: b.Title, Number: grouped(b.Events), Percent: width(b.Events, books[0].Events), Class: class,
		})
	}
	return t
}

// FunnelRows is how far visitors came.
func (v liveView) FunnelRows() []bar {
	f := v.Funnel
	widest := max(f.Opened, f.Read, f.Bought)
	row := func(name, class string, n int64) bar {
		return bar{name, grouped(n), percent(n, f.Opened), width(n, widest), class}
	}
	return []bar{
		row("Opened the description", "opened", f.Opened),
		row("Read it for 10 s or more", "read", f.Read),
		row("Bought the book", "bought", f.Bought),
	}
}

// readingColumn is a column of the table of reading times.
type readingColumn struct{ Median, Closed, Unended string }

func reading(r live.ReadingTime, known bool) readingColumn {
	switch {
	case !known:
		return readingColumn{"–", "–", "–"}
	case r.Closed == 0:
		return readingColumn{"–", "0", grouped(r.Unended)}
	}
	return readingColumn{duration(r.Median), grouped(r.Closed), grouped(r.Unended)}
}

// ReadingNow is the reading times as they come.
func (v liveView) ReadingNow() readingColumn { return reading(v.Reading.Now, true) }

// ReadingFinal is the reading times that do not change any more.
func (v liveView) ReadingFinal() readingColumn {
	return reading(v.Reading.Finished, !v.Reading.At.IsZero())
}

// RejectedReasons is why records were rejected.
func (v liveView) RejectedReasons() []bar {
	var rows []bar
	for _, r := range v.Rejected.Reasons {
		rows = append(rows, bar{Name: r.Reason, Number: grouped(r.Records), Percent: width(r.Records, v.Rejected.Reasons[0].Records), Class: "rejected"})
	}
	return rows
}

// queryRow is a streaming query in words.
type queryRow struct {
	Query, What, State, Class, Behind, Speed, Took string
	Watermark, ReportedAt                          time.Time
}

// queryWords says what each query is for, to those who do not know its name.
var queryWords = map[string]string{
	"events":             "Every event",
	"rejected_events":    "What was no event",
	"events_by_user":     "Each visitor’s own visits",
	"late_events":        "Events too late to count",
	"activity_by_minute": "Counts of each minute",
	"reads":              "Reading times",
	"funnel":             "Opened, read, bought",
	"bookstore_activity": "Live counts",
}

// QueryRows is the state of each query.
func (v liveView) QueryRows() []queryRow {
	var rows []queryRow
	for _, q := range v.Queries {
		row := queryRow{
			Query: q.Query, What: queryWords[q.Query], State: string(q.State), Class: string(q.State), Behind: "–",
			Speed: decimal(q.ProcessedRowsPerSecond), Took: duration(float64(q.BatchDurationMs) / 1000),
			Watermark: q.Watermark, ReportedAt: q.ReportedAt,
		}
		if q.Gone {
			row.State, row.Class = "gone", "gone"
		}
		if q.Lag != nil {
			row.Behind = grouped(*q.Lag)
		}
		rows = append(rows, row)
	}
	return rows
}

// width is n in percent of the widest bar.
func width(n, widest int64) string {
	if widest == 0 {
		return "0"
	}
	return strconv.FormatFloat(100*float64(n)/float64(widest), 'f', 1, 64)
}

func percent(n, of int64) string {
	if of == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f %%", 100*float64(n)/float64(of))
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// decimal is a number with as many digits as matter.
func decimal(x float64) string {
	if x < 10 && x != math.Trunc(x) {
		return fmt.Sprintf("%.1f", x)
	}
	return grouped(int64(math.Round(x)))
}

// grouped is a whole number with a comma at each thousand.
func grouped[T int | int64](n T) string {
	digits := strconv.FormatInt(int64(n), 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// duration is so many seconds as a person says them.
func duration(seconds float64) string {
	whole := int64(math.Round(seconds))
	switch {
	case seconds < 9.95:
		return fmt.Sprintf("%.1f s", seconds)
	case whole < 60:
		return fmt.Sprintf("%d s", whole)
	case whole < 3600:
		return fmt.Sprintf("%d min %d s", whole/60, whole%60)
	default:
		return fmt.Sprintf("%d h %d min", whole/3600, whole/60%60)
	}
}

// ago is when something was, roughly, so that it does not change all the time.
func ago(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds())/10*10)
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	default:
		return "more than an hour ago"
	}
}
