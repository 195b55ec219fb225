// Command windowedcount counts the rows of Spark's rate source in windows of
// five seconds, as a whole streaming job that fits on one screen. A window is
// written once, when the watermark has passed its end. Stop it with Ctrl-C.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"example.com/bookstore/sparkjob/stream"
	"github.com/alecthomas/kong"
	"github.com/apache/spark-connect-go/spark/sql/functions"
)

type config struct {
	Remote     string `env:"SPARK_REMOTE" default:"sc://127.0.0.1:15002" help:"Spark Connect server."`
	Out        string `help:"Directory on Spark's machine for Parquet files. Without it, Spark prints the windows to its own console."`
	Checkpoint string `help:"Directory on Spark's machine that remembers how far the job is."`
}

func main() {
	var c config
	kong.Parse(&c, kong.Description("Counts rows in windows of five seconds."))
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, c, os.Stdout)
	cancel()
	if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, c config, out io.Writer) error {
	session, err := stream.Connect(ctx, c.Remote)
	if err != nil {
		return err
	}
	defer session.Close()
	rows, err := session.ReadStream().Format("rate").Option("rowsPerSecond", 10).Load(ctx)
	if err != nil {
		return err
	}
	if rows, err = rows.WithWatermark(ctx, "timestamp", "2 seconds"); err != nil {
		return err
	}
	counts, err := rows.GroupBy(functions.Expr("window(timestamp, '5 seconds')")).Count(ctx)
	if err != nil {
		return err
	}
	if counts, err = counts.SelectExpr(ctx, "window.start", "count"); err != nil {
		return err
	}

	writer := session.WriteStream(counts).Format("console").OutputMode(stream.Append).QueryName("windowed_count")
	if c.Out != "" {
		writer.Format("parquet").Option("path", c.Out)
	}
	if c.Checkpoint != "" {
		writer.Option("checkpointLocation", c.Checkpoint)
	}
	query, err := writer.Start(ctx)
	if err != nil {
		return err
	}
	for p, err := range query.Progress(ctx) {
		if errors.Is(err, context.Canceled) {
			return query.Stop(context.WithoutCancel(ctx))
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "batch %d: %d rows in, watermark %v\n", p.BatchID, p.NumInputRows(), p.EventTime.Watermark)
	}
	return nil
}
