package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.com/bookstore/deploy/bench/figures"
	"example.com/bookstore/deploy/bench/machine"
	"example.com/bookstore/schema/kafkaclient"
)

// contender is one thing that is measured.
type contender struct {
	name  string
	round func(ctx context.Context, r *round) error // one round of it
	// most rounds, where one takes long; as many as asked for if zero. They are in the
	// middle: they are held against the median of others, who get faster until the last
	rounds int
	// quick tells that a first look has it, too
	quick bool
}

// has tells whether it has a turn in the nth of so many rounds, from 0.
func (c contender) has(n, of int) bool {
	if c.rounds == 0 {
		return true
	}
	first := (of - c.rounds + 1) / 2
	return first <= n && n < first+c.rounds
}

// group is contenders that are compared.
type group struct {
	name     string
	services string // of the stack, comma separated; "" for no stack
	// prepare makes what the rounds need. What it starts it hands to bench.cleanup.
	prepare    func(ctx context.Context, b *bench) error
	contenders []contender
}

// allEngines, with topics, tables and roles.
const allEngines = "all"

// groups are all that is measured, in the order in which it is. Those that come one after
// the other and ask for the same stack share it: one takes a minute to come up.
var groups = []group{
	{name: "ingest", services: "kafka", prepare: prepareIngest, contenders: ingestContenders},
	{name: "cold", services: allEngines, prepare: prepareCold, contenders: coldContenders},
	{name: "stream", services: allEngines, prepare: prepareStream, contenders: streamContenders},
	{name: "latency", services: allEngines, prepare: prepareLatency, contenders: latencyContenders},
	{name: "two executors", services: allEngines, prepare: prepareTwoExecutors, contenders: executorsContenders},
	{name: "start", prepare: prepareStart, contenders: startContenders},
}

// sameStack tells whether two groups can share a stack.
func sameStack(a, b group) bool {
	return a.services != "" && a.services == b.services
}

// byStack puts groups that share a stack together.
func byStack(list []group) (stacks [][]group) {
	for _, g := range list {
		if n := len(stacks); n > 0 && sameStack(stacks[n-1][0], g) {
			stacks[n-1] = append(stacks[n-1], g)
			continue
		}
		stacks = append(stacks, []group{g})
	}
	return stacks
}

func findGroup(name string) (group, bool) {
	for _, g := range groups {
		if g.name == name {
			return g, true
		}
	}
	return group{}, false
}

func groupNames() string { return strings.Join(names(groups), ", ") }

func names(list []group) (names []string) {
	for _, g := range list {
		names = append(names, g.name)
	}
	return names
}

// measureCmd measures groups on the stack of the environment.
type measureCmd struct {
	Groups  []string `arg:""`
	Out     string   `type:"path" required:""`
	Figures string   `type:"path" required:""`
	Rounds  int      `default:"3"`
	Quick   bool
	Match   *regexp.Regexp // nil for all

	environment `embed:""`
}

// environment is what the stack tells of itself.
type environment struct {
	Kafka           kafkaclient.Config `embed:"" prefix:"kafka-"`
	KafkaPartitions int                `env:"KAFKA_PARTITIONS" default:"6"`
	onTables        `embed:""`
}

// bench is what the rounds of the groups on a stack have in common.
type bench struct {
	measureCmd
	group    string // which is measured
	self     string // this program
	folder   string // for programs, logs and whatever else
	lines    io.Writer
	cleanups []func() error

	ingest ingestState
	stream streamState
}

// cleanup has f called at the end, the last first.
func (b *bench) cleanup(f func() error) { b.cleanups = append(b.cleanups, f) }

// end does what was handed to cleanup.
func (b *bench) end() (err error) {
	for _, f := range slices.Backward(b.cleanups) {
		err = errors.Join(err, f())
	}
	b.cleanups = nil
	return err
}

// say tells a person how far it is.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, b.group+", "+format+"\n", args...)
}

// round is one contender's turn.
type round struct {
	*bench
	contender string
	number    int // from 1
}

// add keeps a figure.
func (r *round) add(metric, unit string, value float64) error {
	fmt.Fprintln(os.Stderr, strings.TrimRight(fmt.Sprintf("  %s: %s %s", metric, figures.Number(value), unit), " "))
	return figures.Write(r.lines, figures.Figure{
		Key: figures.Key{Group: r.group, Contender: r.contender, Metric: metric}, Unit: unit, Round: r.number, Value: value,
	})
}

func (c *measureCmd) Run(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	lines, err := os.OpenFile(c.Figures, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	b := &bench{measureCmd: *c, self: self, lines: lines}
	var failures []error
	for _, name := range c.Groups {
		g, ok := findGroup(name)
		if !ok {
			failures = append(failures, fmt.Errorf("there is no group %q", name))
			continue
		}
		since := time.Now()
		if err := b.measureGroup(ctx, g); err != nil {
			failures = append(failures, fmt.Errorf("measuring %s: %w; the logs are in %s", g.name, err, b.folder))
		}
		if ctx.Err() != nil {
			break
		}
		b.say("done after %.0f s", time.Since(since).Seconds())
	}
	return errors.Join(append(failures, lines.Close())...)
}

func (b *bench) measureGroup(ctx context.Context, g group) (err error) {
	b.group, b.folder = g.name, filepath.Join(b.Out, "logs", g.name)
	if err := os.MkdirAll(b.folder, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.end()) }()
	if err := g.prepare(ctx, b); err != nil {
		return fmt.Errorf("preparing: %w", err)
	}
	return turns(ctx, b, g.contenders)
}

// yardstick is for how long the machine shows its speed before each round.
const yardstick = 300 * time.Millisecond

// turns lets the contenders take turns. Who begins changes from round to round, so that
// nobody always comes after the same other.
func turns(ctx context.Context, b *bench, contenders []contender) error {
	for n := range b.Rounds {
		if err := (&round{b, "this machine", n + 1}).add("text compressed", "MiB/s", machine.Speed(yardstick)); err != nil {
			return err
		}
		for i := range contenders {
			c := contenders[(i+n)%len(contenders)]
			if !c.has(n, b.Rounds) || (b.Quick && !c.quick) || (b.Match != nil && !b.Match.MatchString(c.name)) {
				continue
			}
			b.say("round %d of %d: %s", n+1, b.Rounds, c.name)
			if err := c.round(ctx, &round{b, c.name, n + 1}); err != nil {
				return fmt.Errorf("%s, round %d: %w", c.name, n+1, err)
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return nil
}
