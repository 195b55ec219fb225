package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"example.com/bookstore/deploy/bench/figures"
	"example.com/bookstore/deploy/stack/process"
	"example.com/bookstore/deploy/stack/service"
)

// scaleContenders are the same query with more rows, and with more partitions.
var scaleContenders = []contender{
	scaleTo(100_000, 6, 1), scaleTo(3_000_000, 6, 2), // 2: it has a floor
	scaleTo(streamRows, 1, 1), scaleTo(streamRows, 2, 1), scaleTo(streamRows, 12, 1),
}

// executorsContenders run where the worker's cores are those of two executors.
var executorsContenders = []contender{scaleTo(streamRows, 6, 1)}

// twoExecutors are half as large each as the one that there is by default.
var twoExecutors = map[string]string{"SPARK_WORKER_CORES": "4", "SPARK_EXECUTOR_CORES": "2", "SPARK_EXECUTOR_MEMORY": "512m"}

// prepareTwoExecutors has them take the place of the one, and has them run for a while.
func prepareTwoExecutors(ctx context.Context, b *bench) error {
	if err := prepareTables(ctx, b); err != nil {
		return err
	}
	b.say("starting Spark with two executors")
	if err := b.restartSpark(ctx, twoExecutors); err != nil {
		return err
	}
	return b.warmUp(ctx)
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
