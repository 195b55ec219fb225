// Command demo shows the pipeline at work: visitors come to the store, a program
// that does not know the schema writes to the topic, and what becomes of both is
// read from Cassandra. It needs the stack and the job to run.
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

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if err := env.Load(); err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	context.AfterFunc(ctx, cancel)

	var d demo
	parser, err := kong.New(&d, kong.Name("demo"),
		kong.Description("Lets visitors come to the store and shows their events in Cassandra."), kong.ShortUsageOnError())
	if err != nil {
		return err
	}
	_, err = parser.Parse(args)
	parser.FatalIfErrorf(err)
	return d.run(ctx, os.Stdout)
}
