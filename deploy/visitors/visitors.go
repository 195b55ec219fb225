package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cenkalti/backoff/v5"

	"example.com/bookstore/producer/visitors"
	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/ledger"
	"example.com/bookstore/schema/secret"
)

// command is its settings.
type command struct {
	Rate     float64       `default:"5" group:"How many:" help:"Visits that begin, a second."`
	Duration time.Duration `group:"How many:" help:"How long it lasts; 1m unless --visits or --steps says when it ends."`
	Visits   int           `group:"How many:" help:"How many visits; all of them come to their end."`
	Steps    int           `group:"How many:" help:"How many things are sent."`
	Seed     uint64        `group:"How many:" help:"The same seed makes the same choices; by default each run differs."`
	Start    time.Time     `group:"How many:" placeholder:"TIME" help:"With --print-plan: when it starts, as RFC 3339. The same seed and start make the same ids."`

	MinBooks    int           `default:"1" group:"How they behave:" help:"Least books that a visitor looks at."`
	MaxBooks    int           `default:"7" group:"How they behave:" help:"Most."`
	Popularity  float64       `default:"1.1" group:"How they behave:" help:"Exponent of the Zipf law by which books are chosen, more than 1."`
	Reading     time.Duration `default:"20s" group:"How they behave:" help:"Median time for which a description is read; 0 is none."`
	NeverClose  float64       `default:"0.15" group:"How they behave:" help:"Share of descriptions that are never closed."`
	Buying      float64       `default:"0.1" group:"How they behave:" help:"Share of opened books that are bought, at most 0.5."`
	LatePhones  float64       `default:"0.03" group:"How they behave:" help:"Share of visits of which the store hears minutes to hours later."`
	WrongClocks float64       `default:"0.05" group:"How they behave:" help:"Share of visits with a wrong clock, by up to 4 minutes."`
	Duplicates  float64       `default:"0.01" group:"How they behave:" help:"Share of events that are sent again without need."`
	BadClients  float64       `default:"0.01" group:"How they behave:" help:"Share of visits by programs that send nothing valid."`

	AsFastAsPossible bool          `group:"How it is sent:" help:"Send without regard to the clock: each as soon as there is room for it."`
	InFlight         int           `default:"64" group:"How it is sent:" help:"Most requests under way at a time."`
	Patience         time.Duration `default:"30s" group:"How it is sent:" help:"How long an event is sent again until it is acknowledged."`
	Ledger           string        `type:"path" placeholder:"FILE" group:"How it is sent:" help:"New file for what was sent and its outcome, as JSON lines."`
	PrintPlan        bool          `group:"How it is sent:" help:"Print what would be sent, as JSON lines, and send nothing."`

	Verify  bool          `group:"Whether it arrived:" help:"Look into Cassandra afterwards for all that was acknowledged."`
	Timeout time.Duration `default:"60s" group:"Whether it arrived:" help:"How long the rows may take to be there."`

	StoreURL            string        `env:"STORE_URL" default:"http://127.0.0.1:5001" group:"Where:" help:"The store."`
	CassandraHosts      []string      `env:"CASSANDRA_HOSTS" default:"127.0.0.1" group:"Where:" help:"Contact points."`
	CassandraPort       int           `env:"CASSANDRA_PORT" default:"9042" group:"Where:" help:"Port of CQL."`
	CassandraDatacenter string        `env:"CASSANDRA_DATACENTER" default:"datacenter1" group:"Where:" help:"Local datacenter."`
	CassandraTLS        cassandra.TLS `embed:"" prefix:"cassandra-" group:"Where:"`
	CassandraPassword   secret.String `name:"cassandra-store-password" env:"CASSANDRA_STORE_PASSWORD" group:"Where:" help:"Password of the role bookstore_store."`
}

// Validate reports settings that contradict each other; the plan checks the rest.
func (c *command) Validate() error {
	switch {
	case !c.Start.IsZero() && !c.PrintPlan:
		return errors.New("--start is for --print-plan; what is sent is sent now")
	case c.PrintPlan && (c.Verify || c.Ledger != ""):
		return errors.New("--print-plan sends nothing, so there is nothing to verify or to file")
	}
	return nil
}

func (c *command) plan() (*visitors.Plan, error) {
	if c.Seed == 0 {
		c.Seed = uint64(time.Now().UnixNano())
	}
	if c.Duration == 0 && c.Visits == 0 && c.Steps == 0 {
		c.Duration = time.Minute
	}
	share := func(s float64) float64 {
		if s == 0 {
			return visitors.None
		}
		return s
	}
	reading := c.Reading
	if reading == 0 {
		reading = visitors.None
	}
	return visitors.NewPlan(visitors.PlanConfig{
		Seed: c.Seed, Start: c.Start, Visits: c.Visits, Steps: c.Steps, Duration: c.Duration,
		Rate: c.Rate, MinBooks: c.MinBooks, MaxBooks: c.MaxBooks, Popularity: c.Popularity, Reading: reading,
		NeverClose: share(c.NeverClose), Buying: share(c.Buying), LatePhones: share(c.LatePhones),
		WrongClocks: share(c.WrongClocks), Duplicates: share(c.Duplicates), BadClients: share(c.BadClients),
	})
}

func (c *command) run(ctx context.Context, out io.Writer) (err error) {
	plan, err := c.plan()
	if err != nil {
		return err
	}
	if c.PrintPlan {
		return printPlan(ctx, plan, out)
	}
	var acknowledged []schema.Event // to be verified
	record := func(e ledger.Entry) error {
		if c.Verify {
			acknowledged = append(acknowledged, ledger.AcknowledgedEvents([]ledger.Entry{e})...)
		}
		return nil
	}
	if c.Ledger != "" {
		file, err := ledger.Create(c.Ledger)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		keep := record
		record = func(e ledger.Entry) error { return errors.Join(keep(e), file.Record(e)) }
	}
	runner, err := visitors.NewRunner(visitors.RunConfig{
		StoreURL: c.StoreURL, AsFastAsPossible: c.AsFastAsPossible, InFlight: c.InFlight, Patience: c.Patience, Record: record,
	})
	if err != nil {
		return err
	}
	if err := runner.Ready(ctx); err != nil {
		return err
	}

	total := plan.Size()
	fmt.Fprintf(out, "visitors come to %s: %d steps, seed %d\n", c.StoreURL, total, c.Seed)
	end := runner.Watch(os.Stderr, total)
	err = runner.Run(ctx, plan.Steps())
	end()
	stats := runner.Stats()
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		fmt.Fprintf(out, "ended early, after %d of %d steps\n", stats.Done, total)
		err = nil
	}
	fmt.Fprintln(out, stats)
	if c.Ledger != "" {
		fmt.Fprintf(out, "ledger        %s\n", c.Ledger)
	}
	if err = errors.Join(err, stats.Err()); c.Verify {
		// Also of a run that was ended early.
		err = errors.Join(err, c.verify(context.WithoutCancel(ctx), out, acknowledged))
	}
	return err
}

func printPlan(ctx context.Context, plan *visitors.Plan, out io.Writer) error {
	encoder := json.NewEncoder(out)
	for step := range plan.Steps() {
		if ctx.Err() != nil {
			return nil
		}
		if err := encoder.Encode(step); err != nil {
			return fmt.Errorf("printing the plan: %w", err)
		}
	}
	return nil
}

// verify waits until Cassandra has every event as it was acknowledged.
func (c *command) verify(ctx context.Context, out io.Writer, acknowledged []schema.Event) error {
	session, err := cassandra.Config{
		Hosts: c.CassandraHosts, Port: c.CassandraPort, Datacenter: c.CassandraDatacenter,
		User: cassandra.StoreUser, Password: c.CassandraPassword, Keyspace: cassandra.Keyspace, TLS: c.CassandraTLS,
	}.Connect(ctx)
	if err != nil {
		return err
	}
	defer session.Close()

	began := time.Now()
	stored := make(map[string]schema.Event, len(acknowledged))
	_, err = backoff.Retry(ctx, func() (struct{}, error) {
		var ids []string
		for _, event := range acknowledged {
			if _, ok := stored[event.EventID]; !ok {
				ids = append(ids, event.EventID)
			}
		}
		found, err := cassandra.FindEvents(ctx, session, ids)
		if err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		for id, event := range found {
			stored[id] = event
		}
		if len(stored) < len(acknowledged) {
			return struct{}{}, errNotYet
		}
		return struct{}{}, nil
	}, backoff.WithBackOff(backoff.NewConstantBackOff(500*time.Millisecond)), backoff.WithMaxElapsedTime(c.Timeout))
	if err != nil && !errors.Is(err, errNotYet) {
		return err
	}
	fmt.Fprintf(out, "\nacknowledged=%d stored=%d\n", len(acknowledged), len(stored))
	missing := ledger.Missing(acknowledged, stored)
	if len(missing) == 0 {
		return nil
	}
	if more := len(missing) - maxMissing; more > 0 {
		missing = append(missing[:maxMissing], fmt.Errorf("and %d more", more))
	}
	return fmt.Errorf("after %.0f s:\n%w\ndoes the job run? `task status` tells", time.Since(began).Seconds(), errors.Join(missing...))
}

// maxMissing bounds how many events are listed.
const maxMissing = 20

var errNotYet = errors.New("not everything is there yet")
