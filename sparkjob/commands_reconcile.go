package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/term"

	"example.com/bookstore/sparkjob/reconcile"
	"example.com/bookstore/sparkjob/terminal"
)

type reconcileCommand struct {
	topicSettings      `embed:""`
	cassandraSettings  `embed:""`
	checkpointSettings `embed:""`

	JobName string        `env:"SPARK_JOB_NAME" default:"bookstore" group:"Spark:" help:"Name of the job, whose progress tells what is pending (${env})."`
	Ledger  []string      `arg:"" type:"path" predictor:"file" help:"Ledgers that the senders have kept, as by visitors --ledger."`
	Wait    time.Duration `default:"2m" help:"How long something may be missing until it counts as lost."`
	LostTo  string        `type:"path" placeholder:"FILE" predictor:"file" help:"Write all that is lost there, as JSON lines."`
	JSON    bool          `name:"json" help:"Print JSON, one object."`
}

func (reconcileCommand) Help() string {
	return `Reads the whole topic, and looks in Cassandra for the row of every event that the ledgers
have as acknowledged, and for what was rejected. It waits for what is not there yet, and exits
with 1 if something is lost or otherwise not as it must be.

A lost event is named with its place in Kafka and with where it is missing: kafka (it never came
there, and has no row), cassandra (it is in Kafka, and has no row), rejected (its record was
rejected), or rejected_events (a record that is no event, of which no row tells). What the job has
not come to yet is pending, not lost. What the sender has no answer of may be there or not.

Examples:
  sparkjob reconcile visits.jsonl                 what became of all of it?
  sparkjob reconcile a.jsonl b.jsonl --wait 0s    of two senders, as it is now
  sparkjob reconcile visits.jsonl --json | jq .lost
  sparkjob reconcile visits.jsonl --lost-to lost.jsonl`
}

// Validate is called by kong after parsing.
func (cmd reconcileCommand) Validate() error {
	if cmd.Wait < 0 {
		return fmt.Errorf("--wait is %v, not at least 0s", cmd.Wait)
	}
	return cmd.cassandraSettings.Validate()
}

func (cmd reconcileCommand) Run(ctx context.Context) error {
	c, err := settings{
		sparkSettings: sparkSettings{JobName: cmd.JobName}, kafkaSettings: cmd.kafka(), cassandraSettings: cmd.cassandraSettings, jobSettings: cmd.job(),
	}.driverConfig()
	if err != nil {
		return err
	}
	options := reconcile.Options{Wait: cmd.Wait}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		options.Tell = func(text string) { fmt.Fprintln(terminal.Stderr(), text) }
	}
	report, err := reconcile.Ledgers(ctx, c, cmd.Ledger, options)
	if err != nil {
		return err
	}
	if cmd.LostTo != "" {
		err = writeLost(cmd.LostTo, report.Lost)
	}
	if cmd.JSON {
		return errors.Join(err, printJSON([]reconcile.Report{report}), report.Err())
	}
	fmt.Println(terminal.Reconciled(report, cmd.LostTo))
	if err := errors.Join(err, report.Err()); err != nil {
		return err
	}
	fmt.Printf("\nNothing is lost: all %d acknowledged events are stored, each once.\n", report.Stored)
	return nil
}

func writeLost(path string, lost []reconcile.Loss) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing what is lost: %w", err)
	}
	buffered := bufio.NewWriter(file)
	out := json.NewEncoder(buffered)
	for _, loss := range lost {
		if err = out.Encode(loss); err != nil {
			break
		}
	}
	if err := errors.Join(err, buffered.Flush(), file.Close()); err != nil {
		return fmt.Errorf("writing what is lost: %w", err)
	}
	return nil
}
