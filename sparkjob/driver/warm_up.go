package driver

import (
	"context"
	"fmt"
	"io"

	"example.com/bookstore/schema/topic"
	"example.com/bookstore/sparkjob/job"
)

// warmUpName stands for the name of a job in the identity of the session that warms up. It
// is always the same, since a 3.5 server keeps at most 100 sessions.
const warmUpName = "warm-up"

// WarmUp has Spark practise what the queries do: see job.WarmUp. Where Kafka does not
// answer, or Cassandra does not have the tables yet, it does so without both, and says so
// to out.
func WarmUp(ctx context.Context, c Config, out io.Writer) error {
	c.JobName = warmUpName
	session, err := Connect(ctx, c)
	if err != nil {
		return err
	}
	defer session.Close()
	if err := checkWarmUp(ctx, c); err != nil {
		fmt.Fprintf(out, "Spark practises without Kafka and Cassandra: %v\n", err)
		return job.WarmUpAlone(ctx, session, c.Job)
	}
	return job.WarmUp(ctx, session, c.Job)
}

// checkWarmUp makes the topic if it is absent, and looks for the tables.
func checkWarmUp(ctx context.Context, c Config) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	kafka, err := topic.NewAdmin(c.Kafka, requestTimeout)
	if err != nil {
		return err
	}
	defer kafka.Close()
	if _, err := kafka.Ensure(ctx, c.WarmUpTopic); err != nil {
		return err
	}
	return checkCassandra(ctx, c)
}
