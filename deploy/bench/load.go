package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"

	"example.com/bookstore/deploy/bench/load"
)

// loadCmd sends events, in a process of its own, so that what is measured has none of its
// memory or goroutines.
type loadCmd struct {
	URL         string        `arg:""`
	Connections int           `default:"64"`
	Batch       int           `default:"1"`
	Rate        float64       `help:"Requests a second; 0 for as many as are answered."`
	Warmup      time.Duration `default:"1s"`
	Duration    time.Duration `default:"5s"`
	SampleEvery int           `help:"Print, as it is acknowledged, an event of every so many requests of a connection."`
}

// loaded is what the process prints at its end.
type loaded struct {
	load.Result
	Busy time.Duration `json:"busy"` // time of the cores that the process took
}

// sampled is an event that was acknowledged, as the process prints it.
type sampled struct {
	EventID string    `json:"event_id"`
	At      time.Time `json:"at"`
}

func (c *loadCmd) Run(ctx context.Context) error {
	debug.SetGCPercent(gcPercent)
	config := load.Config{
		URL: c.URL, Connections: c.Connections, Batch: c.Batch, Rate: c.Rate, Warmup: c.Warmup, Duration: c.Duration, SampleEvery: c.SampleEvery,
	}
	out := json.NewEncoder(os.Stdout)
	if c.SampleEvery > 0 {
		var mu sync.Mutex
		config.Sent = func(id string, at time.Time) {
			mu.Lock()
			defer mu.Unlock()
			_ = out.Encode(sampled{id, at}) // nobody reads any more, and so nobody misses it
		}
	}
	result, err := load.Run(ctx, config)
	if err != nil {
		return err
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return err
	}
	return out.Encode(loaded{result, time.Duration(usage.Utime.Nano() + usage.Stime.Nano())})
}

// load runs a loadCmd in a process of its own. sample, if not nil, gets the events of the
// sample as they are acknowledged.
func (b *bench) load(ctx context.Context, c loadCmd, sample func(sampled)) (loaded, error) {
	cmd := exec.CommandContext(ctx, b.self, "load", c.URL, "--connections", strconv.Itoa(c.Connections), "--batch", strconv.Itoa(c.Batch),
		"--rate", strconv.FormatFloat(c.Rate, 'f', -1, 64), "--warmup", c.Warmup.String(), "--duration", c.Duration.String(),
		"--sample-every", strconv.Itoa(c.SampleEvery))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return loaded{}, err
	}
	if err := cmd.Start(); err != nil {
		return loaded{}, fmt.Errorf("starting the load: %w", err)
	}
	var result loaded
	var readErr error
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var line struct {
			sampled
			loaded
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			readErr = fmt.Errorf("reading what the load prints: %w", err)
			continue // so that it does not wait for a reader
		}
		if line.EventID != "" {
			sample(line.sampled)
			continue
		}
		result = line.loaded
	}
	if err := cmd.Wait(); err != nil {
		return loaded{}, fmt.Errorf("the load: %w", err)
	}
	if readErr != nil {
		return loaded{}, readErr
	}
	return result, result.Check()
}

// loadFor puts load on a server for a time, or for another if this is a first look, of
// which no figure is kept. why is what a person is told meanwhile.
func (b *bench) loadFor(ctx context.Context, why string, c loadCmd, usually, quick time.Duration) (loaded, error) {
	c.Duration = usually
	if b.Quick {
		c.Duration = quick
	}
	b.say("%s for %v", why, c.Duration)
	return b.load(ctx, c, nil)
}
