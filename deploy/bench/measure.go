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

	"example.com/bookstore/deploy/bench/figures"
	"example.com/bookstore/schema/kafkaclient"
)

// contender is one thing that is measured.
type contender struct {
	name  string
	round func(ctx context.Context, r *round) error // one round of it
	// most rounds, where one takes long; as many as asked for if zero
	rounds int
	// quick tells that a first look has it, too
	quick bool
}

// group is contenders that are compared, on a stack of their own.
type group struct {
	name     string
	services string   // of the stack, comma separated; "" for no stack
	environ  []string // settings of the stack that differ
	// prepare makes what the rounds need. What it starts it hands to bench.cleanup.
	prepare    func(ctx context.Context, b *bench) error
	contenders []contender
}

// allEngines, with topics, tables and roles.
const allEngines = "all"

// groups are all that is measured, in the order of the data's path.
var groups = []group{
	{name: "ingest", services: "kafka", prepare: prepareIngest, contenders: ingestContenders},
	{name: "cold", services: allEngines, prepare: prepareCold, contenders: coldContenders},
	{name: "stream", services: allEngines, prepare: prepareStream, contenders: streamContenders},
	{name: "two executors", services: allEngines, environ: twoExecutors, prepare: prepareTwoExecutors, contenders: executorsContenders},
	{name: "latency", services: allEngines, prepare: prepareLatency, contenders: latencyContenders},
	{name: "start", prepare: prepareStart, contenders: startContenders},
}

func findGroup(name string) (group, bool) {
	for _, g := range groups {
		if g.name == name {
			return g, true
		}
	}
	return group{}, false
}

func groupNames() string {
	var names []string
	for _, g := range groups {
		names = append(names, g.name)
	}
	return strings.Join(names, ", ")
}

// measureCmd measures one group on the stack of the environment.
type measureCmd struct {
	Group   string `arg:""`
	Out     string `type:"path" required:""`
	Figures string `type:"path" required:""`
	Rounds  int    `default:"3"`
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

// bench is what the rounds of a group have in common.
type bench struct {
	measureCmd
	group    string
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

func (c *measureCmd) Run(ctx context.Context) (err error) {
	g, ok := findGroup(c.Group)
	if !ok {
		return fmt.Errorf("there is no group %q", c.Group)
	}
	b := &bench{measureCmd: *c, group: g.name, folder: filepath.Join(c.Out, "logs", g.name)}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if err := os.MkdirAll(b.folder, 0o755); err != nil {
		return err
	}
	lines, err := os.OpenFile(c.Figures, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	b.lines = lines
	defer func() { err = errors.Join(err, b.end(), lines.Close()) }()
	if err := g.prepare(ctx, b); err != nil {
		return fmt.Errorf("preparing %s: %w", g.name, err)
	}
	return turns(ctx, b, g.contenders)
}

// turns lets the contenders take turns. Who begins changes from round to round, so that
// nobody always comes after the same other.
func turns(ctx context.Context, b *bench, contenders []contender) error {
	for n := range b.Rounds {
		for i := range contenders {
			c := contenders[(i+n)%len(contenders)]
			if (c.rounds > 0 && n >= c.rounds) || (b.Quick && !c.quick) || (b.Match != nil && !b.Match.MatchString(c.name)) {
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
