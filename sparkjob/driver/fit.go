package driver

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"example.com/bookstore/schema/topic"
	"example.com/bookstore/sparkjob/checkpoint"
	"example.com/bookstore/sparkjob/stream"
)

// fit compares the checkpoints of queries that are about to be started with the topic.
// Spark would say the same later and less clearly. What cannot be compared is left to it:
// a checkpoint that is not on this machine, a topic that Kafka does not tell about.
func (w *watcher) fit(ctx context.Context, names ...string) error {
	opened := map[string]*checkpoint.Checkpoint{}
	for _, name := range names {
		if c, err := checkpoint.Open(w.config.Job.Checkpoint(name)); err == nil {
			opened[name] = c
		}
	}
	if len(opened) == 0 {
		return nil
	}
	first, end, err := bounds(ctx, w.config)
	if err != nil {
		return nil //nolint:nilerr // the query is worth starting all the same
	}
	var misfits []error
	for _, name := range names {
		c := opened[name]
		if c == nil {
			continue
		}
		if differs := c.Compare(w.config.Topic.Name, first, end); differs != "" {
			misfits = append(misfits, &checkpoint.Misfit{Query: name, Location: w.config.Job.Checkpoint(name), Differs: differs})
		}
		if has, want := c.ShufflePartitions(), strconv.Itoa(w.config.Job.ShufflePartitions); has != "" && has != want {
			w.warn(queryLine(name, "keeps %s partitions of state, not SPARK_SHUFFLE_PARTITIONS=%s", has, want),
				"query keeps the partitions of its state", "query", name, "partitions", has, "setting", want)
		}
	}
	return errors.Join(misfits...)
}

// bounds asks which records the topic has: from the first up to the end, by partition.
func bounds(ctx context.Context, c Config) (first, end map[int]int64, err error) {
	kafka, err := topic.NewAdmin(c.Kafka, requestTimeout)
	if err != nil {
		return nil, nil, err
	}
	defer kafka.Close()
	if first, err = kafka.StartOffsets(ctx, c.Topic.Name); err != nil {
		return nil, nil, fmt.Errorf("comparing checkpoints: %w", err)
	}
	if end, err = kafka.EndOffsets(ctx, c.Topic.Name); err != nil {
		return nil, nil, fmt.Errorf("comparing checkpoints: %w", err)
	}
	return first, end, nil
}

// explain returns a Misfit where Spark's answer says that the query does not fit its
// checkpoint, and otherwise err. The answer is the query's exception, or the server's to
// the request to start it.
func (r *run) explain(err error) error {
	var exception *stream.QueryException
	var answer *stream.ServerError
	message := ""
	switch {
	case errors.As(err, &exception):
		message = exception.Message
	case errors.As(err, &answer):
		message = answer.Message
	}
	if differs := checkpoint.Explain(message); differs != "" {
		return &checkpoint.Misfit{Query: r.name, Location: r.config.Job.Checkpoint(r.name), Differs: differs, Cause: err}
	}
	return err
}
