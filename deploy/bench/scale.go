package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/montanaflynn/stats"

	"example.com/bookstore/deploy/bench/figures"
	"example.com/bookstore/deploy/stack/process"
	"example.com/bookstore/deploy/stack/service"
)

// scaleContenders are the same query with more rows, and with more partitions.
var scaleContenders = []contender{
	scaleTo(100_000, 6, 1), manyRows,
	scaleTo(streamRows, 1, 1), scaleTo(streamRows, 2, 1), scaleTo(streamRows, 12, 1),
}

// manyRows are ten times as many as others have, from the topic that the warm-up has read a
// part of. That takes minutes, in which the speed of a machine may change, and others seconds: so
// there are some of those on either side.
var manyRows = contender{name: rowsIn(tenfoldRows, 6), rounds: 1, round: func(ctx context.Context, r *round) error {
	before, err := r.fewRows(ctx)
	if err != nil {
		return err
	}
	if err := r.scaleRound(ctx, tenfoldRows, 6); err != nil {
		return err
	}
	after, err := r.fewRows(ctx)
	if err != nil {
		return err
	}
	mean, err := stats.Mean(append(before, after...))
	if err != nil {
		return err
	}
	return r.add(aroundIt, "/s", mean)
}}

const tenfoldRows = 10 * streamRows

// aroundIt is what a round of manyRows says of those on either side of it.
const aroundIt = "rows/s of 300,000 around it"

// fewRows says how many rows a second there were in each of two runs with as many as others have.
func (r *round) fewRows(ctx context.Context) (perSecond []float64, err error) {
	for range 2 {
		c, err := r.fillTable(ctx, r.stream.rows, r.theQuery(r.stream.topic, r.stream.rows))
		if err != nil {
			return nil, err
		}
		perSecond = append(perSecond, c.perSecond())
	}
	return perSecond, nil
}

// executorsContenders run where the worker's cores are those of two executors.
var executorsContenders = []contender{scaleTo(streamRows, 6, 1)}

// twoExecutors are half as large each as the one that there is by default.
var twoExecutors = map[string]string{"SPARK_WORKER_CORES": "4", "SPARK_EXECUTOR_CORES": "2", "SPARK_EXECUTOR_MEMORY": "512m"}

// executorsWarmRows come before the round that counts. They are fewer than those of stream,
// since it has no floor.
const executorsWarmRows = 1_000_000

// prepareTwoExecutors has them take the place of the one, and has them run for a while.
func prepareTwoExecutors(ctx context.Context, b *bench) error {
	if err := prepareTables(ctx, b); err != nil {
		return err
	}
	b.say("starting Spark with two executors")
	if err := b.restartSpark(ctx, twoExecutors); err != nil {
		return err
	}
	return b.warmUp(ctx, executorsWarmRows, executorsWarmRows)
}

func rowsIn(rows, partitions int) string {
	return fmt.Sprintf("%s rows in %d partitions", figures.Number(float64(rows)), partitions)
}

func scaleTo(rows, partitions, rounds int) contender {
	return contender{name: rowsIn(rows, partitions), rounds: rounds, round: func(ctx context.Context, r *round) error {
		return r.scaleRound(ctx, rows, partitions)
	}}
}

func (r *round) scaleRound(ctx context.Context, rows, partitions int) error {
	topic, err := r.filledTopic(ctx, rows, partitions)
	if err != nil {
		return err
	}
	if err := r.streamRound(ctx, rows, r.theQuery(topic, rows)); err != nil {
		return err
	}
	for _, engine := range []string{service.Kafka, service.Cassandra, service.SparkWorker, service.SparkConnect} {
		// The worker's is with its executors.
		status, err := process.Process{Name: engine, PIDFile: filepath.Join(os.Getenv("STACK_DIR"), "run", engine+".pid")}.Status()
		if err != nil {
			return err
		}
		if err := r.add("memory of "+engine, "MiB", float64(status.RSS>>20)); err != nil {
			return err
		}
	}
	return nil
}
