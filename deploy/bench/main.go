// Command bench measures the data's path on this machine, beside what others might write
// in its place and beside what bounds it. Each group of measurements has a throwaway
// stack of its own. Run it from the project's folder.
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

const description = `Measures the data's path on this machine, beside what others might write in its place
and beside what bounds it.

Each group has a throwaway stack of its own, and the contenders of a group take turns,
round by round. What comes out are medians with their spread, as a table and as JSON
lines, and whether they reach the floors that are set for 2 cores. A machine that does
something else meanwhile gives worse figures.

Examples:

  # everything, in less than half an hour
  go run ./deploy/bench

  # a first look, in less than five minutes
  go run ./deploy/bench --quick

  # only what comes in over HTTP, and its figures into a folder
  go run ./deploy/bench --only ingest --rounds 5 --out figures

  # the best settings for this machine
  go run ./deploy/bench tune`

type commands struct {
	Run     runCmd     `cmd:"" default:"withargs" help:"Measure, and show what came out (the default)."`
	Tune    tuneCmd    `cmd:"" help:"Try the settings that depend on the machine, and print the best for this one."`
	Measure measureCmd `cmd:"" hidden:"" help:"Measure one group on the stack of the environment."`
	Sweep   sweepCmd   `cmd:"" hidden:"" help:"Try settings on the stack of the environment."`
	Load    loadCmd    `cmd:"" hidden:"" help:"Send events to a store and print what became of them."`
	Bound   boundCmd   `cmd:"" hidden:"" help:"Run the store's web server without Kafka: every event is acknowledged at once."`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if err := env.Load(); err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	context.AfterFunc(ctx, cancel) // a second signal has its usual effect

	var c commands
	parser, err := kong.New(&c, kong.Name("bench"), kong.Description(description), kong.ShortUsageOnError(),
		kong.Vars{"groups": groupNames()}, kong.BindTo(ctx, (*context.Context)(nil)), kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 80, NoExpandSubcommands: true}))
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(args)
	parser.FatalIfErrorf(err)
	return parsed.Run()
}
