package job

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	"example.com/bookstore/sparkjob/stream"
)

//go:embed warm_up.sql
var warmUp string

const (
	// warmUpRows are enough for the executors to compile the most of what each row goes
	// through, and take some seconds.
	warmUpRows  = 50_000
	warmUpTable = "warm_up"
)

// WarmUp has a Spark cluster that has run nothing yet take made-up records apart, as the
// queries do, and write them to the table warm_up. So it starts its executors, connects
// them to Cassandra, and loads and compiles most of its classes, for which nobody has to
// wait who submits the job. Without a Config the records are written nowhere. The session
// is of no use for the job afterwards.
func WarmUp(ctx context.Context, session *stream.Session, c *Config) error {
	ticks, err := session.ReadStream().Format("rate-micro-batch").Option("rowsPerBatch", warmUpRows).Load(ctx)
	if err != nil {
		return err
	}
	if err := createView(ctx, session, "ticks", ticks); err != nil {
		return err
	}
	records, err := session.SQL(ctx, warmUp)
	if err != nil {
		return fmt.Errorf("reading warm_up.sql: %w", err)
	}
	if err := createViewsOver(ctx, session, records, views); err != nil {
		return err
	}
	rows, err := read(ctx, session, Names[0])
	if err != nil {
		return err
	}
	writer := session.WriteStream(rows).Trigger(stream.Once())
	if c == nil {
		writer.Format("noop")
	} else {
		toTable(writer, *c, warmUpTable)
		writer.Option("checkpointLocation", strings.TrimSuffix(c.CheckpointLocation, "/")+"/"+warmUpTable)
	}
	query, err := writer.Start(ctx)
	if err != nil {
		return err
	}
	_, err = query.AwaitTermination(ctx, 0)
	return err
}
