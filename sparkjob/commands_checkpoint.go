package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"example.com/bookstore/schema/topic"
	"example.com/bookstore/sparkjob/checkpoint"
	"example.com/bookstore/sparkjob/driver"
	"example.com/bookstore/sparkjob/job"
	"example.com/bookstore/sparkjob/stream"
	"example.com/bookstore/sparkjob/terminal"
)

type checkpointCommand struct {
	Show   checkpointShowCommand   `cmd:"" group:"sub" help:"Show how far each query is, or the micro-batches of one."`
	Rewind checkpointRewindCommand `cmd:"" group:"sub" help:"Take queries that do not run back to an earlier time."`
}

func (checkpointCommand) Help() string {
	return `A checkpoint is a folder in which Spark keeps how far along a query is. This machine must
see it. Where Spark runs in containers, so does the command:
docker compose --env-file deploy/stack.env --env-file .env run --rm sparkjob checkpoint show

Examples:
  sparkjob checkpoint show           how far each query is
  sparkjob checkpoint show events    its micro-batches, by time

  sparkjob stop events               to have a query read half an hour again
  sparkjob checkpoint rewind events --to 30m
  sparkjob submit`
}

type checkpointShowCommand struct {
	Topic              string `env:"KAFKA_TOPIC" default:"bookstore_events" group:"Kafka:" help:"Topic that the queries read (${env})."`
	checkpointSettings `embed:""`

	Query string `arg:"" optional:"" predictor:"query" help:"Query whose micro-batches are shown; by default one line for each."`
	Limit int    `short:"n" default:"20" help:"Micro-batches to show, the latest."`
	JSON  bool   `name:"json" help:"Print JSON, one micro-batch a line."`
}

func (checkpointShowCommand) Help() string {
	return `BATCH is the last micro-batch that is committed, KEPT FROM the first that is kept. A query has
read the records before the offsets READ UP TO, which are by partition, or their sum. The rows of
a micro-batch are the records between its offsets and those of the one before. Times are in UTC.

Examples:
  sparkjob checkpoint show
  sparkjob checkpoint show events -n 100
  sparkjob checkpoint show events --json | jq .rows`
}

// Validate is called by kong after parsing.
func (cmd checkpointShowCommand) Validate() error {
	errs := []error{atLeastOne("limit", cmd.Limit)}
	if cmd.Query != "" {
		errs = append(errs, job.CheckNames(cmd.Query))
	}
	return errors.Join(errs...)
}

// shownBatch is a micro-batch as JSON has it.
type shownBatch struct {
	Query     string             `json:"query"`
	BatchID   int64              `json:"batch_id"`
	PlannedAt time.Time          `json:"planned_at"`
	Watermark *time.Time         `json:"watermark"`
	Committed bool               `json:"committed"`
	Rows      *int64             `json:"rows"`  // null if the one before is not kept
	Start     checkpoint.Offsets `json:"start"` // null likewise
	End       checkpoint.Offsets `json:"end"`
}

func (cmd checkpointShowCommand) Run() error {
	c, err := settings{kafkaSettings: kafkaSettings{Topic: cmd.Topic}, jobSettings: cmd.job()}.driverConfig()
	if err != nil {
		return err
	}
	names := job.Names
	if cmd.Query != "" {
		names = []string{cmd.Query}
	}
	var list []terminal.Checkpoint
	var shown []shownBatch
	for _, name := range names {
		opened, err := openCheckpoint(c, name)
		switch {
		case errors.Is(err, checkpoint.ErrNotFound) && cmd.Query == "":
			list = append(list, terminal.Checkpoint{Query: name})
			continue
		case err != nil:
			return err
		}
		list = append(list, terminal.Checkpoint{Query: name, Checkpoint: opened})
		for _, b := range latest(opened.Batches, cmd.Limit) {
			shown = append(shown, showBatch(name, b))
		}
	}
	switch {
	case cmd.JSON:
		return printJSON(shown)
	case cmd.Query != "":
		fmt.Println(terminal.Batches(latest(list[0].Batches, cmd.Limit)))
	default:
		fmt.Println(terminal.Checkpoints(list))
	}
	return nil
}

func latest(batches []checkpoint.Batch, limit int) []checkpoint.Batch {
	return batches[max(len(batches)-limit, 0):]
}

func showBatch(query string, b checkpoint.Batch) shownBatch {
	shown := shownBatch{Query: query, BatchID: b.ID, PlannedAt: b.PlannedAt, Committed: b.Committed, Start: b.Start, End: b.End}
	if !b.Watermark.IsZero() {
		shown.Watermark = &b.Watermark
	}
	if rows := b.Rows(); rows >= 0 {
		shown.Rows = &rows
	}
	return shown
}

// openCheckpoint reads the checkpoint of a query and says what to do if there is none.
func openCheckpoint(c driver.Config, name string) (*checkpoint.Checkpoint, error) {
	opened, err := checkpoint.Open(c.Job.Checkpoint(name))
	switch {
	case errors.Is(err, checkpoint.ErrNotVisible):
		return nil, fmt.Errorf("%w; correct CHECKPOINT_LOCATION, or %s", err, checkpoint.Where)
	case errors.Is(err, checkpoint.ErrNotFound):
		return nil, fmt.Errorf("query %s: %w; it has none for topic %s before `sparkjob submit` has started it", name, err, c.Topic.Name)
	}
	return opened, err
}

type checkpointRewindCommand struct {
	sparkSettings      `embed:""`
	topicSettings      `embed:""`
	checkpointSettings `embed:""`

	Query     []string `arg:"" predictor:"query" help:"Queries to take back. None of them may run."`
	To        moment   `placeholder:"TIME" xor:"target" help:"Read again what Kafka has received since then."`
	Batch     *int64   `placeholder:"N" xor:"target" help:"Go back to the end of micro-batch N of one query; the one after it is the next."`
	Beginning bool     `xor:"target" help:"Start over with the first records that Kafka has."`
	Offline   bool     `help:"Do not ask Spark whether the queries run, since it is certain that they do not."`
	Yes       bool     `short:"y" help:"Do not ask before it is done."`
}

func (checkpointRewindCommand) Help() string {
	return `What a query reads again it writes again, over the same rows. A query that keeps state can go
back to the end of a micro-batch that is kept, with the state of then: --to takes the last one
that had read nothing of that time or later. Others go back to any time that Kafka still has. The
checkpoint as it was is kept, in a folder beside it. ` + "`sparkjob submit`" + ` goes on from there.

Examples:
  sparkjob checkpoint rewind events --to 2026-01-31T12:00:00Z
  sparkjob checkpoint rewind events events_by_user --to 30m
  sparkjob checkpoint rewind reads --batch 1042 --yes
  sparkjob checkpoint rewind late_events --beginning`
}

// Validate is called by kong after parsing.
func (cmd checkpointRewindCommand) Validate() error {
	errs := []error{job.CheckNames(cmd.Query...)}
	if cmd.To.IsZero() && cmd.Batch == nil && !cmd.Beginning {
		errs = append(errs, errors.New("where to? give --to TIME, --batch N or --beginning"))
	}
	if cmd.Batch != nil && len(cmd.Query) > 1 {
		errs = append(errs, errors.New("--batch is for one query, since each counts its own micro-batches"))
	}
	return errors.Join(errs...)
}

func (cmd checkpointRewindCommand) Run(ctx context.Context) error {
	c, err := settings{sparkSettings: cmd.sparkSettings, kafkaSettings: cmd.kafka(), jobSettings: cmd.job()}.driverConfig()
	if err != nil {
		return err
	}
	names := slices.Compact(slices.Sorted(slices.Values(cmd.Query)))
	if err := cmd.stopped(ctx, names); err != nil {
		return err
	}
	rewinds, err := cmd.plan(ctx, c, names)
	if err != nil {
		return err
	}
	for i, name := range names {
		fmt.Print(terminal.Rewind(name, rewinds[i]))
	}
	if !cmd.Yes {
		if err := confirm(ctx, "Rewind?"); err != nil {
			return err
		}
		if err := cmd.stopped(ctx, names); err != nil { // thinking takes time
			return err
		}
	}
	for i, name := range names {
		if err := rewinds[i].Apply(); err != nil {
			return err
		}
		fmt.Printf("%s is rewound; `sparkjob submit` goes on from there\n", name)
	}
	return nil
}

// stopped returns an error if a query runs, or may.
func (cmd checkpointRewindCommand) stopped(ctx context.Context, names []string) error {
	if cmd.Offline {
		return nil
	}
	err := onSession(ctx, cmd.sparkSettings, func(_ driver.Config, session *stream.Session) error {
		states, err := driver.Status(ctx, session)
		if err != nil {
			return err
		}
		var running []string
		for _, state := range states {
			if state.Running && slices.Contains(names, state.Name) {
				running = append(running, state.Name)
			}
		}
		if len(running) > 0 {
			return runningError{running}
		}
		return nil
	})
	var runs runningError
	if err != nil && !errors.As(err, &runs) {
		return fmt.Errorf("asking Spark whether the queries run: %w; if it is certain that none does, --offline rewinds without asking", err)
	}
	return err
}

// runningError says that queries run.
type runningError struct{ names []string }

func (e runningError) Error() string {
	if len(e.names) == 1 {
		return fmt.Sprintf("query %s runs, and goes its own way: stop it first, with `sparkjob stop %[1]s`", e.names[0])
	}
	list := strings.Join(e.names, " ")
	return fmt.Sprintf("queries %s run, and go their own way: stop them first, with `sparkjob stop %s`", strings.Join(e.names, ", "), list)
}

// plan finds the way back of each query, and that Kafka still has what it would read.
func (cmd checkpointRewindCommand) plan(ctx context.Context, c driver.Config, names []string) ([]checkpoint.Rewind, error) {
	kafka, err := topic.NewAdmin(c.Kafka, 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer kafka.Close()
	first, err := kafka.StartOffsets(ctx, c.Topic.Name)
	if err != nil {
		return nil, driver.Hint(err, c)
	}
	var since map[int]int64
	if !cmd.To.IsZero() {
		if since, err = kafka.OffsetsAt(ctx, c.Topic.Name, cmd.To.Time); err != nil {
			return nil, driver.Hint(err, c)
		}
	}
	var rewinds []checkpoint.Rewind
	for _, name := range names {
		opened, err := openCheckpoint(c, name)
		if err != nil {
			return nil, err
		}
		var r checkpoint.Rewind
		switch {
		case cmd.Beginning:
			r = opened.ToBeginning()
		case cmd.Batch != nil:
			r, err = opened.ToBatch(*cmd.Batch)
		default:
			r, err = opened.ToOffsets(since)
		}
		if err != nil {
			return nil, fmt.Errorf("query %s: %w", name, err)
		}
		for partition, offset := range r.Next {
			if offset < first[partition] {
				return nil, fmt.Errorf("query %s would have to read partition %d of topic %s from offset %d on, and Kafka keeps it only from %d on; --to goes back to a later time",
					name, partition, c.Topic.Name, offset, first[partition])
			}
		}
		rewinds = append(rewinds, r)
	}
	return rewinds, nil
}

// confirm asks the person at the terminal, and returns an error unless the answer is yes.
func confirm(ctx context.Context, question string) error {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return errors.New("nothing is done, since nobody is there to be asked; --yes does it without")
	}
	fmt.Printf("%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() { // ends with the program: reading a terminal cannot be interrupted
		line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		return errors.New("nothing is done")
	case text := <-answer:
		if text == "y" || text == "yes" {
			return nil
		}
		return errors.New("nothing is done")
	}
}
