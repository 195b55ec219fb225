// Command sparkjob is the driver of the bookstore's streaming job: it submits the
// queries that carry events from Kafka to Cassandra to a Spark cluster over Spark
// Connect, and shows, explains and ends them.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"example.com/bookstore/schema/env"
)

type commands struct {
	Submit   submitCommand   `cmd:"" help:"Start the job's queries and watch over them until Ctrl-C or SIGTERM, which stops them."`
	Status   statusCommand   `cmd:"" help:"Show each query's state. Exits with 1 unless all run."`
	Progress progressCommand `cmd:"" help:"Print the progress that Spark reports of each query, as JSON lines."`
	Stop     stopCommand     `cmd:"" help:"Stop the job's queries. They go on from their checkpoints at the next submit."`
	Peek     peekCommand     `cmd:"" help:"Show rows of Cassandra: the latest events, or those that were rejected and why."`
	Setup    setupCommand    `cmd:"" help:"Create the topic, tables and roles where they are absent. Needs CASSANDRA_ADMIN_PASSWORD."`
	Config   configCommand   `cmd:"" help:"Print the settings in force, secrets hidden."`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "sparkjob: %v\n", err)
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
	parser, err := kong.New(&c,
		kong.Name("sparkjob"),
		kong.Description("Submits the bookstore's streaming job to Spark and watches over it.\n\n"+
			"Settings come from flags, the environment, .env and deploy/stack.env, the first that has one."),
		kong.ShortUsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 80, NoExpandSubcommands: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		return err
	}
	command, err := parser.Parse(args)
	parser.FatalIfErrorf(err)
	return command.Run()
}
