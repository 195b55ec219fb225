package driver

import (
	"context"
	"fmt"
	"io"

	"example.com/bookstore/sparkjob/job"
)

// warmUpName stands for the name of a job in the identity of the session that warms up. It
// is always the same, since a 3.5 server keeps at most 100 sessions.
const warmUpName = "warm-up"

// WarmUp has Spark practise what the queries do: see job.WarmUp. Where Cassandra does not
// have the tables yet, or does not answer, it does so without, and says so to out.
func WarmUp(ctx context.Context, c Config, out io.Writer) error {
	c.JobName = warmUpName
	session, err := Connect(ctx, c)
	if err != nil {
		return err
	}
	defer session.Close()
	into := &c.Job
	looking, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if err := checkCassandra(looking, c); err != nil {
		fmt.Fprintf(out, "Spark practises without Cassandra: %v\n", err)
		into = nil
	}
	return job.WarmUp(ctx, session, into)
}
