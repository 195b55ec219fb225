package job

import (
	"context"
	_ "embed"
	"fmt"

	"example.com/bookstore/sparkjob/stream"
)

//go:embed warm_up.sql
var warmUp string

// warmUpRows are enough for the executors to compile the most of what each row goes
// through, and take a few seconds.
const warmUpRows = 50_000

// WarmUp has a Spark cluster that has run nothing yet take made-up records apart, as the
// queries do. So it starts its executors and loads and compiles most of its classes, for
// which nobody has to wait who submits the job. Nothing is read from Kafka or written
// anywhere. The session is of no use for the job afterwards.
func WarmUp(ctx context.Context, session *stream.Session) error {
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
	if err := createView(ctx, session, sourceView, records); err != nil {
		return err
	}
	for _, name := range views {
		rows, err := read(ctx, session, name)
		if err != nil {
			return err
		}
		if err := createView(ctx, session, name, rows); err != nil {
			return err
		}
	}
	rows, err := read(ctx, session, Names[0])
	if err != nil {
		return err
	}
	query, err := session.WriteStream(rows).Format("noop").Trigger(stream.Once()).Start(ctx)
	if err != nil {
		return err
	}
	_, err = query.AwaitTermination(ctx, 0)
	return err
}
