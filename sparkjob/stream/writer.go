package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/spark-connect-go/spark/sql"
)

// OutputMode says which rows of the result a micro-batch writes.
type OutputMode string

// The output modes. Which of them a query may use depends on its operations and
// its sink.
const (
	// Append writes each row once, when it can no longer change. It is what
	// Spark assumes.
	Append OutputMode = "append"
	// Update writes the rows that changed.
	Update OutputMode = "update"
	// Complete writes the whole result each time.
	Complete OutputMode = "complete"
)

// Trigger says when a query looks for new data.
type Trigger struct {
	kind     triggerKind
	interval time.Duration
}

type triggerKind int

const (
	processingTime triggerKind = iota + 1
	once
	availableNow
	continuous
)

// ProcessingTime starts a micro-batch at each interval, or as soon as the one
// before is done if that takes longer. 0 means one after the other, which is
// what Spark assumes. The unit is one millisecond.
func ProcessingTime(interval time.Duration) Trigger {
	return Trigger{kind: processingTime, interval: interval}
}

// Once processes what there is in one micro-batch and ends the query. Spark
// recommends [AvailableNow] instead.
func Once() Trigger { return Trigger{kind: once} }

// AvailableNow processes what there is, in as many micro-batches as the source's
// options ask for, and ends the query.
func AvailableNow() Trigger { return Trigger{kind: availableNow} }

// Continuous processes each row as it comes, without micro-batches, and writes
// a checkpoint at each interval. Few sources, sinks and operations can do it, and
// the query reports no progress.
func Continuous(checkpointInterval time.Duration) Trigger {
	return Trigger{kind: continuous, interval: checkpointInterval}
}

// mistake says what is wrong with the trigger, if anything is.
func (t Trigger) mistake() error {
	switch {
	case t.kind == 0:
		return errors.New("the trigger is empty: make one with ProcessingTime, Once, AvailableNow or Continuous")
	case t.interval < 0:
		return fmt.Errorf("the trigger's interval %v is negative", t.interval)
	case t.interval%time.Millisecond != 0:
		return fmt.Errorf("the trigger's interval %v is not in whole milliseconds", t.interval)
	case t.kind == continuous && t.interval == 0:
		return errors.New("a continuous trigger needs a checkpoint interval")
	}
	return nil
}

// ends tells whether a query with this trigger ends by itself.
func (t Trigger) ends() bool { return t.kind == once || t.kind == availableNow }

// Writer describes where and how a query writes, as PySpark's DataStreamWriter
// does. Its methods change it and return it, and mistakes are reported by Start
// and ToTable, all at once. A Writer is for one goroutine.
type Writer struct {
	session *Session
	df      sql.DataFrame
	settings
	outputMode  OutputMode
	partitionBy []string
	queryName   string
	triggers    []Trigger
}

// Format names the sink: kafka, parquet, console, memory, noop or another one
// that the server knows.
func (w *Writer) Format(name string) *Writer {
	w.format = name
	return w
}

// Option sets an option of the sink, or checkpointLocation. The value is a
// string, a bool or a number.
func (w *Writer) Option(key string, value any) *Writer {
	w.setOption(key, value)
	return w
}

// Options sets several options of the sink.
func (w *Writer) Options(options map[string]string) *Writer {
	w.setOptions(options)
	return w
}

// OutputMode sets the output mode. Without it, Spark assumes [Append].
func (w *Writer) OutputMode(mode OutputMode) *Writer {
	if !slices.Contains([]OutputMode{Append, Update, Complete}, mode) {
		w.mistake("output mode %q is not append, update or complete", mode)
	}
	w.outputMode = mode
	return w
}

// PartitionBy splits the output of a file sink or table into directories by the
// values of these columns.
func (w *Writer) PartitionBy(columns ...string) *Writer {
	if len(columns) == 0 || slices.Contains(columns, "") {
		w.mistake("partitioning by a column without a name")
	}
	w.partitionBy = columns
	return w
}

// QueryName sets the query's name, unique among the active queries of the
// session. The memory sink's table is called by it.
func (w *Writer) QueryName(name string) *Writer {
	if name == "" {
		w.mistake("the query's name is empty")
	}
	w.queryName = name
	return w
}

// Trigger sets when the query looks for new data. Without it, Spark starts one
// micro-batch after the other.
func (w *Writer) Trigger(trigger Trigger) *Writer {
	if err := trigger.mistake(); err != nil {
		w.mistake("%w", err)
	}
	w.triggers = append(w.triggers, trigger)
	return w
}

// Start starts the query, with the path if the sink needs one. A server says
// that a query has started even if it dies in the next moment, of a missing
// topic or a checkpoint that does not fit; so Start watches it until its first
// batch is done or it waits for data, at most for the time of
// [WithStartupWatch]. If the query dies meanwhile, the error is a
// [*QueryException]. If ctx ends meanwhile, the query is stopped.
//
// If ctx ends, or the connection breaks ([ErrUnreachable]), while the server is
// still starting the query, it may run all the same: [Manager.Active] tells.
func (w *Writer) Start(ctx context.Context, path ...string) (*Query, error) {
	if w.format == "" {
		w.mistake("no format: name the sink with Format")
	}
	return w.start(ctx, startCommand{Path: w.onePath(path)})
}

// ToTable starts the query with a table of the server's catalogue as its sink,
// which is created if absent. The format is optional. For the rest it is like
// [Writer.Start].
func (w *Writer) ToTable(ctx context.Context, name string) (*Query, error) {
	if name == "" {
		w.mistake("the table has no name")
	}
	return w.start(ctx, startCommand{TableName: name})
}

func (w *Writer) start(ctx context.Context, c startCommand) (*Query, error) {
	what := "a streaming query"
	if w.queryName != "" {
		what = "streaming query " + w.queryName
	}
	q, err := w.startWatched(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", what, err)
	}
	return q, nil
}

func (w *Writer) startWatched(ctx context.Context, c startCommand) (*Query, error) {
	mistakes := slices.Clone(w.mistakes)
	if w.df == nil {
		mistakes = append(mistakes, errors.New("there is no DataFrame to write"))
	}
	var trigger Trigger
	switch len(w.triggers) {
	case 0:
	case 1:
		trigger = w.triggers[0]
	default:
		mistakes = append(mistakes, fmt.Errorf("%d triggers, and a query has one", len(w.triggers)))
	}
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}

	// A session in the place of an expired one would run the query, but this
	// Session would not own up to it.
	err := w.session.checkAlive(ctx)
	if err != nil {
		return nil, err
	}
	if c.Input, err = relationOf(ctx, w.df); err != nil {
		return nil, err
	}
	c.Format, c.Options, c.PartitionBy = w.format, w.options, w.partitionBy
	c.OutputMode, c.QueryName = string(w.outputMode), w.queryName
	interval := fmt.Sprintf("%d milliseconds", trigger.interval.Milliseconds())
	switch trigger.kind {
	case processingTime:
		c.ProcessingTime = interval
	case continuous:
		c.ContinuousInterval = interval
	case once:
		c.Once = true
	case availableNow:
		c.AvailableNow = true
	}
	a, err := w.session.execute(ctx, plan{Command: &command{Start: &c}})
	if err != nil {
		return nil, w.session.explainMissing(ctx, err)
	}
	if a.Started == nil {
		return nil, errors.New("the server's answer holds no query id")
	}
	q := w.session.Attach(a.Started.QueryID.ID, a.Started.QueryID.RunID)
	q.name = a.Started.Name
	q.ends = trigger.ends()
	w.session.logStart(q)
	if err := q.watchStartup(ctx, w.session.options.startupWatch); err != nil {
		return nil, err
	}
	return q, nil
}

// startupPoll is how often a new query is looked at.
const startupPoll = 50 * time.Millisecond

// watchStartup returns once the query has shown that it works, or how it died.
func (q *Query) watchStartup(ctx context.Context, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		settled, err := q.settled(ctx)
		if err == nil && !settled && time.Now().Before(deadline) {
			err = sleep(ctx, startupPoll)
		}
		switch {
		case ctx.Err() != nil:
			q.abandon(ctx)
			return context.Cause(ctx)
		case err != nil:
			return err
		case settled || !time.Now().Before(deadline):
			return nil
		}
	}
}

// settled tells whether the query has done a batch, waits for data, or has
// ended; it returns the exception of a query that died.
func (q *Query) settled(ctx context.Context) (bool, error) {
	status, err := q.Status(ctx)
	if err != nil {
		return false, err
	}
	if !status.IsActive {
		return true, q.failure(ctx)
	}
	if status.underWay() {
		return true, nil
	}
	p, err := q.LastProgress(ctx)
	return p != nil, err
}

// abandonTime is for telling the server to stop a query, not for the query to
// end: whoever ended the context does not want to wait.
const abandonTime = 150 * time.Millisecond

// abandon stops a query that nobody will get a handle to.
func (q *Query) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonTime)
	defer cancel()
	_ = q.Stop(ctx) // the caller's context has ended, which is what is reported
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
