package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"example.com/bookstore/deploy/stack/service"
)

// Fault is something that goes wrong while visitors are in the store. To add one is to
// add a value to OneNode, or to ThreeNodes.
type Fault struct {
	Name   string // as --only and the table have it
	Does   string // what goes wrong
	Undone string // by whom and how; "" where nobody has to do anything

	Visitors []string      // flags of the visitors, beyond the usual
	Before   action        // before the visitors come
	Begin    action        // the fault; the clock starts with it
	Lasts    time.Duration // from the end of Begin to the beginning of End
	End      action        // what undoes it, which is part of the time that is measured
	Check    action        // what else must be true once all events have come
	After    action        // brings the stack back to what it was, which nobody measures
}

type action func(ctx context.Context, s *stand) error

func (a action) do(ctx context.Context, s *stand) error {
	if a == nil {
		return nil
	}
	return a(ctx, s)
}

// OneNode are the faults of a stack with one of each engine. The stack restarts nothing
// by itself: where it says `stack start`, an operator has typed that at once.
var OneNode = []Fault{
	{
		Name: "nothing", Does: "nothing for 5 s, for comparison",
		Lasts: 5 * time.Second,
	},
	{
		Name: "store-killed", Does: "kill -9 the store", Undone: "stack start store",
		Begin: kill(service.Store), End: start(service.Store),
	},
	{
		Name: "broker-killed", Does: "kill -9 the Kafka broker", Undone: "stack start kafka",
		Begin: kill(service.Kafka), End: start(service.Kafka),
	},
	{
		Name: "broker-frozen", Does: "SIGSTOP the broker for 20 s", Undone: "SIGCONT",
		Begin: freeze(service.Kafka), Lasts: 20 * time.Second, End: thaw(service.Kafka),
	},
	{
		Name: "broker-away", Does: "stop the broker for a minute", Undone: "stack start kafka",
		Begin: stop(service.Kafka), Lasts: time.Minute, End: start(service.Kafka),
	},
	{
		Name: "disk-full", Does: "freeze the broker while the store's spool is on a disk of 256 KiB, until both are refused",
		Undone: "SIGCONT",
		Before: storeOnSmallDisk, Begin: freeze(service.Kafka), End: all(untilRefused, thaw(service.Kafka)),
		Check: refusalsSayWhen, After: storeOnItsDisk,
	},
	{
		Name: "connect-killed", Does: "kill -9 the Spark Connect server", Undone: "stack start spark-connect",
		Begin: kill(service.SparkConnect), End: start(service.SparkConnect),
	},
	{
		Name: "worker-killed", Does: "kill -9 the Spark worker", Undone: "stack start spark-worker",
		Begin: kill(service.SparkWorker), End: start(service.SparkWorker),
	},
	{
		Name: "executor-killed", Does: "kill -9 the Spark executor", Undone: "Spark's worker starts another",
		Begin: killExecutor,
	},
	{
		Name: "master-killed", Does: "kill -9 the Spark master", Undone: "stack start spark-master, which restarts its worker and the Connect server",
		Begin: kill(service.SparkMaster), End: start(service.SparkMaster),
	},
	{
		Name: "driver-moved", Does: "kill -9 the driver", Undone: "sparkjob submit in another folder, without any file of the first",
		Begin: kill(service.Sparkjob), End: driverElsewhere, After: driverBack,
	},
	{
		Name: "cassandra-killed", Does: "kill -9 Cassandra", Undone: "stack start cassandra",
		Begin: kill(service.Cassandra), End: start(service.Cassandra),
	},
	{
		Name: "cassandra-frozen", Does: "SIGSTOP Cassandra for 20 s", Undone: "SIGCONT",
		Begin: freeze(service.Cassandra), Lasts: 20 * time.Second, End: thaw(service.Cassandra),
	},
	{
		Name: "poison", Does: "bursts of records that are no events, written past the store", Undone: "",
		Begin: writePoison, Check: poisonIsRejected,
	},
	{
		Name: "clocks-repeats", Does: "half the clocks wrong, every third event sent twice, every fifth visit late by minutes to hours, for 10 s",
		Visitors: []string{"--wrong-clocks", "0.5", "--duplicates", "0.33", "--late-phones", "0.2"},
		Lasts:    10 * time.Second,
	},
}

// ThreeNodes are the faults of a stack with three brokers, three nodes of Cassandra and
// two workers, of which one dies.
var ThreeNodes = []Fault{
	{
		Name: "nothing", Does: "nothing for 5 s, for comparison",
		Lasts: 5 * time.Second,
	},
	{
		Name: "one-broker-killed", Does: "kill -9 one broker of three, for 20 s", Undone: "stack start kafka-2",
		Begin: kill("kafka-2"), Lasts: 20 * time.Second, End: start("kafka-2"),
	},
	{
		Name: "one-node-killed", Does: "kill -9 one Cassandra node of three, for 20 s", Undone: "stack start cassandra-2",
		Begin: kill("cassandra-2"), Lasts: 20 * time.Second, End: start("cassandra-2"),
	},
	{
		Name: "one-worker-killed", Does: "kill -9 one Spark worker of two, for 20 s", Undone: "stack start spark-worker-2",
		Begin: kill("spark-worker-2"), Lasts: 20 * time.Second, End: start("spark-worker-2"),
	},
}

// kill sends SIGKILL to a service's own process, and not to what it has started.
func kill(name string) action {
	return func(ctx context.Context, s *stand) error {
		pid, err := s.pid(name)
		if err != nil {
			return err
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return fmt.Errorf("killing %s, pid %d: %w", name, pid, err)
		}
		return s.awaitDead(ctx, name)
	}
}

func start(name string) action {
	return func(ctx context.Context, s *stand) error { return s.stack(ctx, "start", name) }
}

func stop(name string) action {
	return func(ctx context.Context, s *stand) error { return s.stack(ctx, "stop", name) }
}

// freeze keeps a process from doing anything while its connections stay open.
func freeze(name string) action {
	return func(_ context.Context, s *stand) error { return s.freeze(name) }
}

func thaw(name string) action {
	return func(_ context.Context, s *stand) error { return s.thaw(name) }
}

// killExecutor kills what runs Spark's tasks, which is a child of the worker.
func killExecutor(_ context.Context, s *stand) error {
	worker, err := s.pid(service.SparkWorker)
	if err != nil {
		return err
	}
	found, err := executors(worker)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return errors.New("killing the executor: the worker has none")
	}
	for _, pid := range found {
		// What it forks has its name for a moment, and may be gone.
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("killing the executor, pid %d: %w", pid, err)
		}
	}
	return nil
}

// all does one thing after the other.
func all(actions ...action) action {
	return func(ctx context.Context, s *stand) error {
		for _, do := range actions {
			if err := do(ctx, s); err != nil {
				return err
			}
		}
		return nil
	}
}
