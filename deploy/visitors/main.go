// Command visitors lets people come to the store, and programs that misbehave, and
// keeps a ledger of what the store has acknowledged. It stands before the data's
// path and, asked to verify, looks at its end as well.
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

const description = `Lets visitors come to the store, as many and as they behave as you say.

The same seed makes the same choices. Each visitor has a browser of their own,
gets the page first and sends each event until the store acknowledges it, with
the same id. Ctrl-C ends the run in good order; the exit status is 1 if the
store has refused or not acknowledged an event.

Examples:

  # 20 visits a second for a minute, with a file of what was acknowledged
  go run ./deploy/visitors --rate 20 --duration 1m --ledger visits.jsonl

  # the same choices again, and a look whether all of it is in Cassandra
  go run ./deploy/visitors --seed 7 --visits 200 --verify

  # as much as the store takes, from well-behaved visitors alone
  go run ./deploy/visitors --as-fast-as-possible --steps 20000 \
    --late-phones 0 --wrong-clocks 0 --duplicates 0 --bad-clients 0

  # what would be sent, as JSON lines, without a store
  go run ./deploy/visitors --seed 7 --steps 10 --print-plan`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "visitors: %v\n", err)
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

	var c command
	parser, err := kong.New(&c, kong.Name("visitors"), kong.Description(description), kong.DefaultEnvars("VISITORS"),
		kong.ShortUsageOnError(), kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 80}))
	if err != nil {
		return err
	}
	_, err = parser.Parse(args)
	parser.FatalIfErrorf(err)
	return c.run(ctx, os.Stdout)
}
