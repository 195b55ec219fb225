package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/term"

	"example.com/bookstore/schema/kafkaclient"
	"example.com/bookstore/sparkjob/job"
	"example.com/bookstore/sparkjob/watch"
)

// topicSettings say which records a command is about.
type topicSettings struct {
	Kafka kafkaclient.Config `embed:"" prefix:"kafka-" group:"Kafka:"`
	Topic string             `env:"KAFKA_TOPIC" default:"bookstore_events" group:"Kafka:" help:"Topic of the events (${env})."`
}

func (s topicSettings) kafka() kafkaSettings {
	return kafkaSettings{Kafka: s.Kafka, Topic: s.Topic}
}

// checkpointSettings say where a command looks for the checkpoints.
type checkpointSettings struct {
	CheckpointLocation string `env:"CHECKPOINT_LOCATION" group:"Job:" help:"URL of the folder of the checkpoints; by default one below STACK_DIR (${env})."`
}

func (s checkpointSettings) job() jobSettings {
	return jobSettings{CheckpointLocation: s.CheckpointLocation}
}

type watchCommand struct {
	sparkSettings     `embed:""`
	topicSettings     `embed:""`
	cassandraSettings `embed:""`
	querySettings     `embed:""`

	Interval time.Duration `default:"2s" help:"Time between two looks."`
	Once     bool          `help:"Look once, print and end; with 1 if something could not be asked."`
	JSON     bool          `name:"json" help:"Print JSON, one object a query and look."`
}

func (watchCommand) Help() string {
	return `On a terminal it fills the screen: up, down and tab choose the query whose details are
shown, ? explains the columns, q quits. Elsewhere it prints a line a query and look: its state,
micro-batch, rows a second in and out, and the records that wait for it. Times are in UTC.

Examples:
  sparkjob watch                     all queries, on one screen
  sparkjob watch events reads        these two
  sparkjob watch --once              once, in lines
  sparkjob watch --json | jq .lag    for programs`
}

// Validate is called by kong after parsing.
func (cmd watchCommand) Validate() error {
	errs := []error{cmd.cassandraSettings.Validate(), cmd.querySettings.Validate()}
	if cmd.Interval < 100*time.Millisecond {
		errs = append(errs, fmt.Errorf("--interval is %v, not at least 100ms", cmd.Interval))
	}
	return errors.Join(errs...)
}

func (cmd watchCommand) Run(ctx context.Context) error {
	c, err := settings{sparkSettings: cmd.sparkSettings, kafkaSettings: cmd.kafka(), cassandraSettings: cmd.cassandraSettings}.driverConfig()
	if err != nil {
		return err
	}
	names := cmd.names()
	if len(names) == 0 {
		names = job.Names
	}
	w := watch.New(c, names, cmd.Interval)
	if cmd.Once {
		w.Once(ctx)
		s := w.Snapshot()
		if err := watch.Write(os.Stdout, s, cmd.JSON); err != nil {
			return err
		}
		for _, notice := range s.Notices {
			fmt.Fprintln(os.Stderr, "sparkjob: "+notice)
		}
		return sentences(s.Unasked)
	}
	screen := term.IsTerminal(int(os.Stdout.Fd())) && term.IsTerminal(int(os.Stdin.Fd())) && os.Getenv("TERM") != "dumb"
	if cmd.JSON || !screen {
		return watch.Lines(ctx, w, os.Stdout, os.Stderr, cmd.JSON)
	}
	return watch.Screen(ctx, w)
}

// sentences makes one error of several, nil of none.
func sentences(list []string) error {
	var errs []error
	for _, sentence := range list {
		errs = append(errs, errors.New(sentence))
	}
	return errors.Join(errs...)
}
