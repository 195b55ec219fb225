package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/montanaflynn/stats"

	"example.com/bookstore/deploy/bench/figures"
)

// tuneCmd finds the settings with which the job's query of events comes through a backlog
// fastest on this machine. It is said of throughput: what a setting costs of latency, its
// line in the settings' help tells.
type tuneCmd struct {
	Rows   int    `default:"300000" help:"Events that wait for each run."`
	Rounds int    `default:"2" help:"Runs with each value."`
	Out    string `type:"path" default:".stack/tune" placeholder:"DIR" help:"Folder for the logs of what was measured."`
}

func (c *tuneCmd) Validate() error {
	if c.Rows < 2*maxOffsets || c.Rounds < 1 {
		return fmt.Errorf("--rows must be at least %d and --rounds at least 1", 2*maxOffsets)
	}
	return nil
}

func (c *tuneCmd) Run(ctx context.Context) error {
	return onStack(ctx, allEngines, c.Out, "sweep", "--rows", strconv.Itoa(c.Rows), "--rounds", strconv.Itoa(c.Rounds), "--out", c.Out)
}

// sweepCmd does it on the stack of the environment.
type sweepCmd struct {
	Rows        int    `default:"300000"`
	Rounds      int    `default:"2"`
	Out         string `type:"path" required:""`
	environment `embed:""`

	WorkerCores       int `env:"SPARK_WORKER_CORES" default:"4"`
	ShufflePartitions int `env:"SPARK_SHUFFLE_PARTITIONS" default:"2"`
	MaxOffsets        int `env:"SPARK_MAX_OFFSETS_PER_TRIGGER" default:"50000"`
}

// tuned are the settings that the sweep chooses.
type tuned struct {
	workerCores, partitions, shufflePartitions, maxOffsets int
}

// setting is one of them, with what is tried beside the value in force.
type setting struct {
	variable string
	value    func(*tuned) *int
	try      []int
}

// settings in the order in which they are chosen: each with the best of those before it.
func settings(cores, rows int) []setting {
	return []setting{
		{"SPARK_WORKER_CORES", func(t *tuned) *int { return &t.workerCores }, []int{cores, 2 * cores}},
		{"SPARK_SHUFFLE_PARTITIONS", func(t *tuned) *int { return &t.shufflePartitions }, []int{cores, 2 * cores}},
		{"KAFKA_PARTITIONS", func(t *tuned) *int { return &t.partitions }, []int{cores, 3 * cores, 6 * cores}},
		{"SPARK_MAX_OFFSETS_PER_TRIGGER", func(t *tuned) *int { return &t.maxOffsets }, []int{20_000, 50_000, min(150_000, rows/2)}},
	}
}

// warmRuns are the runs after each start of Spark that do not count.
const warmRuns = 5

// worthwhile is how much better than the value in force another must be to take its place:
// two runs of the same differ by as much.
const worthwhile = 1.05

// tried is what a value came to.
type tried struct {
	value int
	rates []float64 // rows a second of each round
}

func (t tried) median() float64 {
	median, _ := stats.Median(t.rates) // which fails for none only
	return median
}

// choose returns the best value: the one in force unless another is better by enough.
func choose(inForce int, values []tried) int {
	best := slices.MaxFunc(values, func(a, b tried) int { return cmp.Compare(a.median(), b.median()) })
	i := slices.IndexFunc(values, func(t tried) bool { return t.value == inForce })
	if i >= 0 && best.median() < worthwhile*values[i].median() {
		return inForce
	}
	return best.value
}

func (c *sweepCmd) Run(ctx context.Context) (err error) {
	b := &bench{measureCmd: measureCmd{Out: c.Out, environment: c.environment}, group: "tune", folder: filepath.Join(c.Out, "logs", "tune")}
	b.stream.rows = c.Rows
	if err := os.MkdirAll(b.folder, 0o755); err != nil {
		return err
	}
	if b.stream.stack, err = b.build(ctx, "./deploy/stack"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.end()) }()
	if err := b.openTables(ctx); err != nil {
		return err
	}
	before := tuned{c.WorkerCores, c.KafkaPartitions, c.ShufflePartitions, c.MaxOffsets}
	s := &sweep{bench: b, rounds: c.Rounds, now: before, workerCores: c.WorkerCores}
	var rows [][]any
	var lines []string
	for _, setting := range settings(runtime.NumCPU(), c.Rows) {
		values, err := s.try(ctx, setting)
		if err != nil {
			return err
		}
		field := setting.value(&s.now)
		best := choose(*field, values)
		for i, t := range values {
			name, mark := "", ""
			if i == 0 {
				name = setting.variable
			}
			if t.value == best {
				mark = "best"
			}
			rows = append(rows, []any{
				name, figures.Number(float64(t.value)), figures.Number(t.median()),
				figures.Number(slices.Min(t.rates)) + "–" + figures.Number(slices.Max(t.rates)), mark,
			})
		}
		*field = best
		if best != *setting.value(&before) {
			lines = append(lines, setting.variable+"="+strconv.Itoa(best))
		}
	}
	fmt.Printf("\n%s\n\n", figures.Table([]any{"setting", "value", "rows/s", "spread", "verdict"}, rows...))
	if len(lines) == 0 {
		fmt.Printf("The settings in force are the best of these, or within %.0f %% of it.\n", (worthwhile-1)*100)
		return nil
	}
	fmt.Printf("Recommended for this machine, as lines of .env:\n\n%s\n", strings.Join(lines, "\n"))
	return nil
}

// sweep tries values.
type sweep struct {
	*bench
	rounds int
	now    tuned // the best so far

	workerCores int  // with which Spark runs at present
	warm        bool // it has compiled most of the query
}

// try runs the query with each value of a setting, in turns.
func (s *sweep) try(ctx context.Context, setting setting) ([]tried, error) {
	var values []tried
	for _, value := range slices.Compact(slices.Sorted(slices.Values(append(setting.try, *setting.value(&s.now))))) {
		values = append(values, tried{value: value})
	}
	for n := range s.rounds {
		for i := range values {
			with := s.now
			*setting.value(&with) = values[i].value
			s.say("round %d of %d: %s=%d", n+1, s.rounds, setting.variable, values[i].value)
			rate, err := s.run(ctx, with)
			if err != nil {
				return nil, err
			}
			values[i].rates = append(values[i].rates, rate)
		}
	}
	return values, nil
}

// run has the query come through what waits and returns its rows a second.
func (s *sweep) run(ctx context.Context, with tuned) (float64, error) {
	topic, err := s.filledTopic(ctx, s.stream.rows, with.partitions)
	if err != nil {
		return 0, err
	}
	config := s.jobConfig(topic)
	config.MaxOffsetsPerTrigger, config.ShufflePartitions = with.maxOffsets, with.shufflePartitions
	fill := func(ctx context.Context) (catchUp, error) { return s.runQuery(ctx, config, s.stream.rows) }
	if s.workerCores != with.workerCores {
		s.workerCores, s.warm = with.workerCores, false
		cores := strconv.Itoa(with.workerCores)
		if err := s.restartSpark(ctx, map[string]string{"SPARK_WORKER_CORES": cores, "SPARK_EXECUTOR_CORES": cores}); err != nil {
			return 0, err
		}
	}
	if !s.warm {
		for range warmRuns {
			if _, err := s.fillTable(ctx, s.stream.rows, fill); err != nil {
				return 0, err
			}
		}
		s.warm = true
	}
	c, err := s.fillTable(ctx, s.stream.rows, fill)
	if err != nil {
		return 0, err
	}
	return c.perSecond(), nil
}
