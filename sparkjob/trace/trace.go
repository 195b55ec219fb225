// Package trace tells the whole story of one event: when it happened, where it lies in
// Kafka, which micro-batches read it, and when its rows were written or why it was
// rejected. It looks along the data's path from the outside and changes nothing.
package trace

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gocql/gocql"
	"github.com/google/uuid"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/topic"
	"example.com/bookstore/sparkjob/checkpoint"
	"example.com/bookstore/sparkjob/driver"
	"example.com/bookstore/sparkjob/job"
	"example.com/bookstore/sparkjob/records"
)

// ErrNotFound says that an event is neither in the topic nor in Cassandra.
var ErrNotFound = errors.New("the event is nowhere")

// Options say where to look.
type Options struct {
	Since         time.Time // records received since then only; zero follows from the id and the row
	Scan          int       // records to look through at the most
	AllPartitions bool      // also those that the visitor's records do not go to
}

// Story of an event. What could not be learned is nil, zero or empty, and Missing says why.
type Story struct {
	EventID string        `json:"event_id"`
	Event   *schema.Event `json:"event"` // as it is in the table events or else in the topic; nil if all its records were rejected
	Row     bool          `json:"row"`   // whether it is in the table events
	Records []Record      `json:"records"`
	Scanned int           `json:"records_scanned"`
	Notes   []string      `json:"notes,omitempty"`   // sentences about what is beyond this machine
	Missing []string      `json:"missing,omitempty"` // sentences about what could not be asked
}

// Record is one record of the topic that has the event's id.
type Record struct {
	Topic       string            `json:"topic"`
	Partition   int               `json:"partition"`
	Offset      int64             `json:"offset"`
	ReceivedAt  time.Time         `json:"received_at"`
	InKafka     bool              `json:"in_kafka"`     // false if only Cassandra has it still
	TablesAsked bool              `json:"tables_asked"` // false if Cassandra could not be asked when it was written
	Headers     map[string]string `json:"headers,omitempty"`
	Event       *schema.Event     `json:"event"`                   // nil if it is none
	Reason      string            `json:"reason,omitempty"`        // why it was rejected
	OnTime      *bool             `json:"on_time"`                 // whether it counts in the windows; nil if it was rejected
	AfterEvent  *Millis           `json:"received_after_event_ms"` // nil if it was rejected
	Steps       []Step            `json:"queries"`                 // one a query that writes something of it
}

// Step is what one query did with a record.
type Step struct {
	Query           string     `json:"query"`
	State           string     `json:"state"` // read, waiting, forgotten or unknown
	BatchID         *int64     `json:"batch_id"`
	PlannedAt       *time.Time `json:"planned_at"` // the beginning of the micro-batch
	AfterReceipt    *Millis    `json:"planned_after_receipt_ms"`
	WrittenAt       *time.Time `json:"written_at"`
	AfterPlan       *Millis    `json:"written_after_plan_ms"`
	WrittenAfterAll *Millis    `json:"written_after_receipt_ms"`
}

// The states of a Step.
const (
	Read      = "read"      // by a micro-batch whose number is known
	Waiting   = "waiting"   // not read yet
	Forgotten = "forgotten" // the checkpoint does not go back so far
	Unknown   = "unknown"   // the checkpoint cannot be seen
)

// Millis is a duration that JSON has in milliseconds.
type Millis time.Duration

// MarshalJSON writes milliseconds.
func (m Millis) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.3f", float64(m)/float64(time.Millisecond)), nil
}

func between(from, to time.Time) *Millis {
	d := Millis(to.Sub(from))
	return &d
}

func onTime(e schema.Event, received time.Time) bool {
	return !e.EventTime.Before(received.Add(-job.MaxLate)) && !e.EventTime.After(received.Add(job.MaxAhead))
}

// Event tells the story of an event. Where Kafka, Cassandra or a checkpoint cannot be
// asked, the story has what the others know, and says so. The error is ErrNotFound if
// none that could be asked knows the event.
func Event(ctx context.Context, c driver.Config, id string, o Options) (Story, error) {
	if !schema.ValidEventID(id) {
		return Story{}, fmt.Errorf("%q is no event id; it is a UUID such as %s", id, schema.NewEventID())
	}
	t := tracer{config: c, options: o, story: Story{EventID: strings.ToLower(id), Records: []Record{}}}
	if err := t.connect(ctx); err != nil {
		t.miss(err)
	} else {
		defer t.session.Close()
		t.miss(t.row(ctx))
	}
	t.miss(t.search(ctx))
	if len(t.story.Records) == 0 && t.session != nil {
		t.miss(t.searchRejected(ctx))
	}
	if err := ctx.Err(); err != nil {
		return t.story, err
	}
	slices.SortFunc(t.story.Records, func(a, b Record) int {
		return cmp.Or(a.ReceivedAt.Compare(b.ReceivedAt), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	if t.story.Event == nil {
		for _, r := range t.story.Records {
			if r.Event != nil {
				t.story.Event = r.Event
			}
		}
	}
	if len(t.story.Records) == 0 && !t.story.Row {
		return t.story, fmt.Errorf("tracing event %s: %w: it is not in the table events, and not among the %d records of topic %s that were looked through%s",
			id, ErrNotFound, t.story.Scanned, c.Topic.Name, t.looked())
	}
	t.steps(ctx)
	return t.story, nil
}

type tracer struct {
	config  driver.Config
	options Options
	session *gocql.Session // nil if Cassandra cannot be reached
	story   Story
	cut     bool // whether records were left out, since there are too many
	failed  bool // whether Kafka could not be asked
}

// miss remembers why a part of the story is missing.
func (t *tracer) miss(err error) {
	if err != nil {
		t.story.Missing = append(t.story.Missing, driver.Hint(err, t.config).Error())
	}
}

func (t *tracer) note(text string) { t.story.Notes = append(t.story.Notes, text) }

func (t *tracer) looked() string {
	var b strings.Builder
	if !t.options.Since.IsZero() {
		fmt.Fprintf(&b, " since %s", t.options.Since.UTC().Format("2006-01-02 15:04:05Z"))
	}
	switch {
	case t.failed:
		b.WriteString("; Kafka could not be asked")
	case t.cut:
		fmt.Fprintf(&b, "; there are more, which --scan lets it look through")
	}
	return b.String()
}

func (t *tracer) connect(ctx context.Context) (err error) {
	t.session, err = t.config.Cassandra.Connect(ctx)
	return err
}

// row looks for the event in Cassandra.
func (t *tracer) row(ctx context.Context) error {
	found, err := cassandra.FindEvents(ctx, t.session, []string{t.story.EventID})
	if err != nil {
		return err
	}
	if event, ok := found[t.story.EventID]; ok {
		t.story.Event, t.story.Row = &event, true
	}
	return nil
}

// margin is how much earlier than an id was made, or an event happened, by a clock that
// may be wrong, its record may have been received.
const margin = 10 * time.Minute

// since is from when on a record of the event is to be expected, zero if that is not known.
func (t *tracer) since(now time.Time) time.Time {
	var times []time.Time
	if id, err := uuid.Parse(t.story.EventID); err == nil && id.Version() == 7 {
		seconds, nanos := id.Time().UnixTime()
		times = append(times, time.Unix(seconds, nanos))
	}
	if t.story.Event != nil {
		times = append(times, t.story.Event.EventTime)
	}
	if len(times) == 0 {
		return time.Time{}
	}
	since := slices.MinFunc(times, time.Time.Compare).Add(-margin)
	if since.After(now) {
		return time.Time{}
	}
	return since
}

// search looks for the event's records in the topic: first where they are to be
// expected, then everywhere.
func (t *tracer) search(ctx context.Context) error {
	err := t.searchTopic(ctx)
	t.failed = err != nil
	return err
}

func (t *tracer) searchTopic(ctx context.Context) error {
	admin, err := topic.NewAdmin(t.config.Kafka, 5*time.Second)
	if err != nil {
		return err
	}
	defer admin.Close()
	name := t.config.Topic.Name
	ends, err := admin.EndOffsets(ctx, name)
	if err != nil {
		return err
	}
	starts, err := admin.StartOffsets(ctx, name)
	if err != nil {
		return err
	}
	at := t.options.Since
	if at.IsZero() {
		at = t.since(time.Now())
	}
	from := starts
	if !at.IsZero() {
		if from, err = admin.OffsetsAt(ctx, name, at); err != nil {
			return err
		}
	}
	look := func(from, to map[int]int64) error {
		left := t.options.Scan - t.story.Scanned
		n, err := records.Read(ctx, t.config.Kafka, name, from, to, left, func(r records.Record) bool {
			if found, ok := match(r, t.story.EventID); ok {
				t.story.Records = append(t.story.Records, found)
			}
			return true
		})
		t.story.Scanned += n
		t.cut = n >= left
		return err
	}
	if t.story.Row && !t.options.AllPartitions {
		own := records.Partition(t.story.Event.UserID, len(ends))
		if first, ok := from[own]; ok {
			if err := look(map[int]int64{own: first}, ends); err != nil || len(t.story.Records) > 0 {
				return err
			}
			from = maps.Clone(from)
			delete(from, own)
		}
	}
	if err := look(from, ends); err != nil || len(t.story.Records) > 0 || !t.options.Since.IsZero() || at.IsZero() {
		return err
	}
	// Clocks may be wrong, and an id may say nothing about when it was made.
	before := maps.Clone(ends)
	offsets, err := admin.OffsetsAt(ctx, name, at)
	if err != nil {
		return err
	}
	maps.Copy(before, offsets)
	return look(starts, before)
}

// match tells whether a record is the event, or is none and contains its id.
func match(r records.Record, id string) (Record, bool) {
	if !containsFold(r.Value, id) {
		return Record{}, false
	}
	found := Record{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, ReceivedAt: r.Timestamp, InKafka: true, Headers: r.Headers,
	}
	event, err := schema.Decode(r.Value)
	if err != nil {
		found.Reason = strings.ReplaceAll(err.Error(), "\n", "; ")
		return found, true
	}
	if !strings.EqualFold(event.EventID, id) { // it is in a field of another event
		return Record{}, false
	}
	event.EventID = strings.ToLower(event.EventID)
	found.Event = &event
	return found, true
}

// containsFold tells whether text has the id, in any case.
func containsFold(text []byte, id string) bool {
	return bytes.Contains(text, []byte(id)) || bytes.Contains(bytes.ToLower(text), []byte(id))
}

// searchRejected looks for the id in what was rejected, which Cassandra keeps for longer
// than Kafka.
func (t *tracer) searchRejected(ctx context.Context) error {
	since := t.options.Since
	if since.IsZero() {
		since = t.since(time.Now())
	}
	partitions, err := cassandra.RejectedPartitions(ctx, t.session)
	if err != nil {
		return err
	}
	left := t.options.Scan
	for _, p := range partitions {
		if p.Topic != t.config.Topic.Name || p.Day.Add(24*time.Hour).Before(since) || left <= 0 {
			continue
		}
		rows, err := cassandra.RejectedInPartition(ctx, t.session, p.Day, p.Topic, p.Partition)
		if err != nil {
			return err
		}
		left -= len(rows)
		for _, row := range rows {
			if containsFold(row.Payload, t.story.EventID) {
				t.story.Records = append(t.story.Records, Record{
					Topic: row.Topic, Partition: row.Partition, Offset: row.Offset, ReceivedAt: row.ReceivedAt, Reason: row.Reason,
				})
			}
		}
	}
	return nil
}

// steps fills in what each query did with each record.
func (t *tracer) steps(ctx context.Context) {
	checkpoints := map[string]*checkpoint.Checkpoint{}
	visible := true
	for _, name := range job.Names {
		opened, err := checkpoint.Open(t.config.Job.Checkpoint(name))
		switch {
		case err == nil:
			checkpoints[name] = opened
		case errors.Is(err, checkpoint.ErrNotVisible):
			visible = false
		case !errors.Is(err, checkpoint.ErrNotFound):
			t.miss(err)
		}
	}
	if !visible {
		t.note("The micro-batches are not told, since " + checkpoint.ErrNotVisible.Error() + ": " + checkpoint.Where + ".")
	}
	for i := range t.story.Records {
		if err := t.stepsOf(ctx, &t.story.Records[i], checkpoints, visible); err != nil {
			t.miss(err)
			return
		}
	}
}

func (t *tracer) stepsOf(ctx context.Context, r *Record, checkpoints map[string]*checkpoint.Checkpoint, visible bool) error {
	written := map[string]time.Time{}
	var err error
	queries := []string{"rejected_events"}
	if r.Event != nil {
		timely := onTime(*r.Event, r.ReceivedAt)
		r.OnTime, r.AfterEvent = &timely, between(r.Event.EventTime, r.ReceivedAt)
		queries = writers(r.Event.EventType, timely)
		if t.session != nil {
			written, err = cassandra.Trail(ctx, t.session, *r.Event)
		}
	} else if t.session != nil {
		row, at, ok, lookErr := cassandra.RejectedAt(ctx, t.session, r.ReceivedAt, r.Topic, r.Partition, r.Offset)
		if ok {
			r.Reason, written["rejected_events"] = row.Reason, at
		}
		err = lookErr
	}
	if err != nil {
		return err
	}
	r.TablesAsked = t.session != nil
	for _, query := range queries {
		if !slices.Contains(job.Names, query) {
			continue
		}
		step := Step{Query: query, State: Unknown}
		if c := checkpoints[query]; c != nil {
			step.State = place(c, *r, &step)
		} else if visible {
			step.State = Waiting
		}
		if at, ok := written[query]; ok {
			step.WrittenAt = &at
			step.WrittenAfterAll = between(r.ReceivedAt, at)
			if step.PlannedAt != nil {
				step.AfterPlan = between(*step.PlannedAt, at)
			}
		}
		r.Steps = append(r.Steps, step)
	}
	return nil
}

// place finds the micro-batch that read a record.
func place(c *checkpoint.Checkpoint, r Record, step *Step) string {
	if b := c.Find(r.Partition, r.Offset); b != nil {
		step.BatchID, step.PlannedAt, step.AfterReceipt = &b.ID, &b.PlannedAt, between(r.ReceivedAt, b.PlannedAt)
		return Read
	}
	if n := len(c.Batches); n > 0 && r.Offset < c.Batches[n-1].End[r.Partition] {
		return Forgotten
	}
	return Waiting
}

// writers lists the queries that write something of an event, in the order of job.Names.
func writers(kind schema.EventType, timely bool) []string {
	windows := []string{"activity_by_minute", "bookstore_activity"}
	queries := []string{"events", "events_by_user"}
	switch {
	case timely:
		queries = append(queries, windows...)
		if kind != schema.Purchase {
			queries = append(queries, "reads")
		}
		queries = append(queries, "funnel")
	default:
		queries = append(queries, "late_events")
		if kind != schema.DescriptionClose {
			queries = append(queries, "funnel")
		}
	}
	slices.SortFunc(queries, func(a, b string) int {
		return cmp.Compare(slices.Index(job.Names, a), slices.Index(job.Names, b))
	})
	return queries
}
