package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/sparkjob/driver"
	"example.com/bookstore/sparkjob/job"
	"example.com/bookstore/sparkjob/stream"
	"example.com/bookstore/sparkjob/terminal"
)

type submitCommand struct {
	settings `embed:""`

	Standby bool `help:"Wait while another driver runs the job, and take its place when it has ended."`
}

func (submitCommand) Help() string {
	return `One driver at a time runs a job. Where another does, submit says which and ends with 1, unless
it is to stand by. The place of one that was killed is taken at once on the same machine, and
otherwise within 15 s; its queries, which go on at Spark, are taken over.

Examples:
  sparkjob submit                           start, or go on watching what runs
  sparkjob submit --standby                 the same, when no other does
  sparkjob submit events rejected_events    these queries only
  sparkjob submit --trigger 5s              a micro-batch every five seconds
  sparkjob submit --topic other_events      another topic, which must exist`
}

func (cmd submitCommand) Run(ctx context.Context) error {
	c, err := cmd.driverConfig()
	if err != nil {
		return err
	}
	c.Standby = cmd.Standby
	return driver.Submit(ctx, c, os.Stdout)
}

type setupCommand struct {
	kafkaSettings     `embed:""`
	cassandraSettings `embed:""`
	adminSettings     `embed:""`
}

func (setupCommand) Help() string {
	return `It may be run again: what is there stays as it is. Submit does the same for the project's own
topic and tables.

Examples:
  sparkjob setup                        with the settings of .env
  sparkjob setup --topic other_events --partitions 12`
}

// Validate is called by kong after parsing.
func (cmd setupCommand) Validate() error {
	return errors.Join(cmd.kafkaSettings.Validate(), cmd.cassandraSettings.Validate(), cmd.adminSettings.Validate())
}

func (cmd setupCommand) Run(ctx context.Context) error {
	c, err := settings{
		kafkaSettings: cmd.kafkaSettings, cassandraSettings: cmd.cassandraSettings, adminSettings: cmd.adminSettings,
	}.driverConfig()
	if err != nil {
		return err
	}
	return driver.Setup(ctx, c)
}

type warmUpCommand struct {
	sparkSettings     `embed:""`
	kafkaSettings     `embed:""`
	cassandraSettings `embed:""`
	jobSettings       `embed:""`
}

func (warmUpCommand) Help() string {
	return `A Spark that has just been started takes many seconds for its first micro-batch: it loads and
compiles its classes, and connects to Kafka and Cassandra. This has it write made-up events to the
topic bookstore_warm_up, and take them from there to the table warm_up, as the query of events does;
they vanish from both. ` + "`task up`" + ` does it. Without Kafka or the tables, of which setup is in charge,
it makes do with neither.

Examples:
  sparkjob warm-up`
}

// Validate is called by kong after parsing.
func (cmd warmUpCommand) Validate() error {
	return errors.Join(cmd.kafkaSettings.Validate(), cmd.cassandraSettings.Validate(), cmd.jobSettings.Validate())
}

func (cmd warmUpCommand) Run(ctx context.Context) error {
	c, err := settings{
		sparkSettings: cmd.sparkSettings, kafkaSettings: cmd.kafkaSettings, cassandraSettings: cmd.cassandraSettings, jobSettings: cmd.jobSettings,
	}.driverConfig()
	if err != nil {
		return err
	}
	return driver.WarmUp(ctx, c, os.Stdout)
}

type configCommand struct {
	settings `embed:""`
}

func (configCommand) Help() string {
	return `Examples:
  sparkjob config                    one setting a line, as in .env
  SPARK_TRIGGER=5s sparkjob config   the environment wins over the files`
}

func (cmd configCommand) Run() error {
	_, err := fmt.Print(cmd.settings)
	return err
}

// onSession runs a command that asks the Spark Connect server.
func onSession(ctx context.Context, s sparkSettings, do func(driver.Config, *stream.Session) error) error {
	c, err := settings{sparkSettings: s}.driverConfig()
	if err != nil {
		return err
	}
	session, err := driver.Connect(ctx, c)
	if err != nil {
		return err
	}
	defer session.Close()
	return do(c, session)
}

type statusCommand struct {
	sparkSettings     `embed:""`
	querySettings     `embed:""`
	topicSettings     `embed:""`
	cassandraSettings `embed:""`
	stalledSettings   `embed:""`

	JSON  bool `name:"json" xor:"form" help:"Print JSON, one query a line."`
	Check bool `xor:"form" help:"Say only what is wrong, for scripts; see the exit codes above."`
}

func (statusCommand) Help() string {
	return `A query is stalled if records have waited for --stalled-after and it has completed no
micro-batch for as long.

With --check it prints nothing while all is well, and else a line on stderr for each thing that
is wrong. It takes at most 15 s. Its exit codes:
  0  all queries run, none is stalled, and a driver looks after them
  1  something is wrong
  2  it cannot be told, since Spark, Kafka or Cassandra does not answer

Examples:
  sparkjob status
  sparkjob status --json | jq -r 'select(.running | not).name'
  sparkjob status --check || mail -s 'the job is not well' you`
}

// Validate is called by kong after parsing.
func (cmd statusCommand) Validate() error {
	return errors.Join(cmd.querySettings.Validate(), cmd.cassandraSettings.Validate(), cmd.stalledSettings.Validate())
}

func (cmd statusCommand) Run(ctx context.Context) error {
	c, err := settings{
		sparkSettings: cmd.sparkSettings, querySettings: cmd.querySettings, kafkaSettings: cmd.kafka(),
		cassandraSettings: cmd.cassandraSettings, watchSettings: watchSettings{stalledSettings: cmd.stalledSettings},
	}.driverConfig()
	if err != nil {
		return err
	}
	if cmd.Check {
		return healthy(driver.Examine(ctx, c))
	}
	return onSession(ctx, cmd.sparkSettings, func(_ driver.Config, session *stream.Session) error {
		states, err := driver.Status(ctx, session, cmd.names()...)
		if err != nil {
			return err
		}
		// Where Kafka does not tell what waits, the status is worth having all the same.
		_ = driver.FindStalled(ctx, c, states)
		if cmd.JSON {
			err = printJSON(states)
		} else {
			fmt.Println(terminal.Status(states))
			if held, err := driver.Holder(ctx, c); err != nil {
				fmt.Println("driver: unknown, since Cassandra does not tell")
			} else {
				fmt.Println(terminal.Driver(held))
			}
		}
		for _, state := range states {
			if !state.Running {
				err = errors.Join(err, fmt.Errorf("query %s does not run; `sparkjob submit` starts it", state.Name))
			}
		}
		return err
	})
}

// exitCode ends the program with it, when all has been said.
type exitCode int

func (code exitCode) Error() string { return fmt.Sprintf("exit code %d", int(code)) }

const (
	isWrong  exitCode = 1
	isUntold exitCode = 2
)

// healthy says what is wrong, a line a thing, and returns the exit code of that.
func healthy(h driver.Health) error {
	for _, line := range slices.Concat(h.Wrong, h.Unknown) {
		fmt.Fprintln(terminal.Stderr(), "sparkjob: "+line)
	}
	switch {
	case len(h.Wrong) > 0:
		return isWrong
	case len(h.Unknown) > 0:
		return isUntold
	}
	return nil
}

type progressCommand struct {
	sparkSettings `embed:""`

	Query  string `arg:"" optional:"" predictor:"query" help:"One query; by default all of the job."`
	Recent bool   `help:"All micro-batches that Spark remembers, not only the latest."`
}

func (progressCommand) Help() string {
	return `Examples:
  sparkjob progress                    the latest micro-batch of each query
  sparkjob progress events --recent    all that Spark remembers of one
  sparkjob progress | jq .durationMs   where the time went`
}

func (cmd progressCommand) Run(ctx context.Context) error {
	return onSession(ctx, cmd.sparkSettings, func(_ driver.Config, session *stream.Session) error {
		names := job.Names
		if cmd.Query != "" {
			names = []string{cmd.Query}
		}
		list, err := driver.Progress(ctx, session, cmd.Recent, names...)
		if err != nil {
			return err
		}
		for _, p := range list {
			fmt.Println(string(p.Raw))
		}
		return nil
	})
}

type stopCommand struct {
	sparkSettings `embed:""`

	Query []string `arg:"" optional:"" predictor:"query" help:"Queries to stop; by default all of the job."`
}

func (stopCommand) Help() string {
	return `Examples:
  sparkjob stop                all queries, and the driver with them
  sparkjob stop events reads   these two`
}

func (cmd stopCommand) Run(ctx context.Context) error {
	return onSession(ctx, cmd.sparkSettings, func(c driver.Config, session *stream.Session) error {
		stopped, err := driver.Stop(ctx, session, c.StopTimeout, cmd.Query...)
		for _, name := range stopped {
			fmt.Printf("%s stopped\n", name)
		}
		if err == nil && len(stopped) == 0 {
			fmt.Println("no query ran")
		}
		return err
	})
}

type peekCommand struct {
	cassandraSettings `embed:""`

	Rejected bool     `help:"Show rejected_events instead of events."`
	EventID  []string `name:"event-id" help:"Show these events only." placeholder:"UUID"`
	Limit    int      `short:"n" default:"20" help:"Rows to show."`
	Scan     int      `default:"100000" help:"Rows of the table to look through for the latest ones."`
	JSON     bool     `name:"json" help:"Print JSON, one row a line."`
}

func (peekCommand) Help() string {
	return `Times are in UTC. Examples:
  sparkjob peek                    the latest events
  sparkjob peek -n 5 --json        as JSON lines
  sparkjob peek --event-id UUID    one event
  sparkjob peek --rejected         what was rejected, and why`
}

func (cmd peekCommand) Run(ctx context.Context) error {
	c, err := settings{cassandraSettings: cmd.cassandraSettings}.driverConfig()
	if err != nil {
		return err
	}
	session, err := c.Cassandra.Connect(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	if cmd.Rejected {
		rows, err := cassandra.LatestRejected(ctx, session, cmd.Limit, cmd.Scan)
		if err != nil {
			return err
		}
		if cmd.JSON {
			return printJSON(rows)
		}
		fmt.Println(terminal.Rejected(rows))
		return nil
	}
	if len(cmd.EventID) == 0 {
		rows, err := cassandra.LatestEvents(ctx, session, cmd.Limit, cmd.Scan)
		if err != nil {
			return err
		}
		return cmd.print(rows)
	}
	found, err := cassandra.FindEvents(ctx, session, cmd.EventID)
	if err != nil {
		return err
	}
	var rows []schema.Event
	for _, id := range cmd.EventID {
		event, ok := found[strings.ToLower(id)]
		if !ok {
			err = errors.Join(err, fmt.Errorf("event %s is not in %s.events", id, cassandra.Keyspace))
			continue
		}
		rows = append(rows, event)
	}
	return errors.Join(cmd.print(rows), err)
}

func (cmd peekCommand) print(rows []schema.Event) error {
	if cmd.JSON {
		return printJSON(rows)
	}
	fmt.Println(terminal.Events(rows))
	return nil
}

func printJSON[T any](rows []T) error {
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for _, row := range rows {
		if err := out.Encode(row); err != nil {
			return err
		}
	}
	return nil
}
