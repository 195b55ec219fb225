// Command sparkjob is the driver of the bookstore's streaming job: it submits the
// queries that carry events from Kafka to Cassandra to a Spark cluster over Spark
// Connect, and shows, explains and ends them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"example.com/bookstore/schema/env"
	"example.com/bookstore/sparkjob/terminal"
)

type commands struct {
	Setup  setupCommand  `cmd:"" group:"run" help:"Create the topic, tables and roles where they are absent. Needs CASSANDRA_ADMIN_PASSWORD."`
	WarmUp warmUpCommand `cmd:"" group:"run" help:"Have a Spark that has just been started practise, so that the job's first micro-batches are quick."`
	Submit submitCommand `cmd:"" group:"run" help:"Start the job's queries and watch over them until Ctrl-C or SIGTERM, which stops them."`
	Stop   stopCommand   `cmd:"" group:"run" help:"Stop the job's queries. They go on from their checkpoints at the next submit."`

	Watch    watchCommand    `cmd:"" group:"see" help:"Follow the queries on one screen: rates, lag, phases, state, what is rejected."`
	Status   statusCommand   `cmd:"" group:"see" help:"Show each query's state. Exits with 1 unless all run."`
	Progress progressCommand `cmd:"" group:"see" help:"Print the progress that Spark reports of each query, as JSON lines."`

	Peek      peekCommand      `cmd:"" group:"data" help:"Show rows of Cassandra: the latest events, or those that were rejected and why."`
	Trace     traceCommand     `cmd:"" group:"data" help:"Tell the story of one event, from what happened to its rows."`
	Rejected  rejectedCommand  `cmd:"" group:"data" help:"See the records that are no events, mend them and send them again."`
	Reconcile reconcileCommand `cmd:"" group:"data" help:"Compare what was acknowledged with what Kafka and Cassandra have. Exits with 1 if something is lost."`

	Checkpoint checkpointCommand `cmd:"" group:"back" help:"See how far the queries are, and take them back to an earlier time."`

	Config     configCommand     `cmd:"" group:"self" help:"Print the settings in force, secrets hidden."`
	Completion completionCommand `cmd:"" group:"self" help:"Have bash, zsh or fish complete this command's lines."`
}

// groups of the commands, in the order of the help.
var groups = []kong.Group{
	{Key: "run", Title: "Run the job:"},
	{Key: "see", Title: "See what it does:"},
	{Key: "data", Title: "See the data:"},
	{Key: "back", Title: "Go back:"},
	{Key: "self", Title: "About this program:"},
	{Key: "sub", Title: "Commands:"},
}

func main() {
	err := run(os.Args[1:])
	var code exitCode
	switch {
	case errors.As(err, &code):
		os.Exit(int(code))
	case err != nil:
		fmt.Fprintf(terminal.Stderr(), "sparkjob: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if err := env.Load(); err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	// After the first signal the next one ends the program at once.
	context.AfterFunc(ctx, cancel)

	var c commands
	parser, err := newParser(&c, kong.BindTo(ctx, (*context.Context)(nil)), kong.Writers(os.Stdout, terminal.Stderr()))
	if err != nil {
		return err
	}
	if done, err := completeLine(parser); done || err != nil {
		return err
	}
	command, err := parser.Parse(args)
	parser.FatalIfErrorf(err)
	return command.Run()
}

func newParser(c *commands, options ...kong.Option) (*kong.Kong, error) {
	return kong.New(c, append(options,
		kong.Name("sparkjob"),
		kong.Description("Submits the bookstore's streaming job to Spark and watches over it.\n\n"+
			"Settings come from flags, the environment, .env and deploy/stack.env, the first that has one."),
		kong.ShortUsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 80, NoExpandSubcommands: true}),
		kong.ExplicitGroups(groups),
	)...)
}
