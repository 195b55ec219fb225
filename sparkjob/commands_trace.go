package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"example.com/bookstore/sparkjob/terminal"
	"example.com/bookstore/sparkjob/trace"
)

type traceCommand struct {
	topicSettings      `embed:""`
	cassandraSettings  `embed:""`
	checkpointSettings `embed:""`

	EventID       string `arg:"" help:"Id of the event, a UUID."`
	Since         moment `help:"Look at records that were received since then; by default it follows from the id and the row, and else all are looked at." placeholder:"TIME"`
	Scan          int    `default:"2000000" help:"Records to look through at the most."`
	AllPartitions bool   `help:"Look for more records of the event in partitions that its visitor's do not go to."`
	JSON          bool   `name:"json" help:"Print JSON."`
}

func (traceCommand) Help() string {
	return `Shows when an event happened, when Kafka received it and where it lies there, which
micro-batch of each query read it and when its rows were written, with the time between; or the
reason why it was rejected. It exits with 1 if the event is nowhere. Times are in UTC.

Examples:
  sparkjob trace 0199a1f2-5c1e-7cc3-9d4e-8f6b2a7d1e90
  sparkjob trace --since 2h EVENT_ID        received in the last two hours
  sparkjob trace --json EVENT_ID | jq .records[0].queries
  sparkjob peek -n 1 --json | jq -r .event_id    an id to try it with`
}

// Validate is called by kong after parsing.
func (cmd traceCommand) Validate() error {
	return errors.Join(cmd.cassandraSettings.Validate(), atLeastOne("scan", cmd.Scan))
}

func (cmd traceCommand) Run(ctx context.Context) error {
	c, err := settings{kafkaSettings: cmd.kafka(), cassandraSettings: cmd.cassandraSettings, jobSettings: cmd.job()}.driverConfig()
	if err != nil {
		return err
	}
	story, err := trace.Event(ctx, c, cmd.EventID, trace.Options{Since: cmd.Since.Time, Scan: cmd.Scan, AllPartitions: cmd.AllPartitions})
	if err != nil {
		return errors.Join(err, sentences(story.Missing))
	}
	if cmd.JSON {
		out := json.NewEncoder(os.Stdout)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		err = out.Encode(story)
	} else {
		_, err = fmt.Println(terminal.Story(story))
		for _, note := range story.Notes {
			fmt.Println("\n" + terminal.Wrap(note))
		}
	}
	return errors.Join(err, sentences(story.Missing))
}
