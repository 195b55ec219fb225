package stream_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"example.com/bookstore/sparkjob/stream"
)

// remote is where the examples find a server.
var remote = os.Getenv("SPARK_REMOTE")

func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	session, err := stream.Connect(ctx, remote)
	if err != nil {
		panic(err)
	}
	defer session.Close()

	ticks, err := session.ReadStream().Format("rate").Option("rowsPerSecond", 10).Load(ctx)
	if err != nil {
		panic(err)
	}
	even, err := ticks.Where(ctx, "value % 2 = 0") // spark-connect-go's own
	if err != nil {
		panic(err)
	}
	query, err := session.WriteStream(even).
		Format("memory").
		QueryName("even").
		Trigger(stream.ProcessingTime(100 * time.Millisecond)).
		Start(ctx)
	if err != nil {
		panic(err)
	}
	for progress, err := range query.Progress(ctx) {
		if err != nil {
			panic(err)
		}
		fmt.Printf("batch %d: %d rows\n", progress.BatchID, progress.NumInputRows())
		if progress.BatchID >= 3 {
			break
		}
	}
	if err := query.Stop(ctx); err != nil {
		panic(err)
	}
}

func ExampleConnect() {
	ctx := context.Background()
	// The same ids, from any process, lead to the same session and its queries.
	session, err := stream.Connect(ctx, remote+"/;user_id=reports;session_id=6f4f3a1e-3c1b-4a53-9c2e-0c7b8a4a2d10",
		stream.WithRetry(30*time.Second))
	if errors.Is(err, stream.ErrUnreachable) {
		fmt.Println("is the server running?")
	}
	if err != nil {
		panic(err)
	}
	defer session.Close()
	version, err := session.Version(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println("Spark", version)
}

func ExampleSession_SQL() {
	ctx := context.Background()
	session, err := stream.Connect(ctx, remote)
	if err != nil {
		panic(err)
	}
	defer session.Close()
	ticks, err := session.ReadStream().Format("rate").Load(ctx)
	if err != nil {
		panic(err)
	}
	if err := session.CreateTempView(ctx, ticks, "ticks"); err != nil {
		panic(err)
	}
	byMinute, err := session.SQL(ctx, `
		SELECT window(timestamp, '1 minute').start AS minute, count(*) AS n
		FROM ticks GROUP BY window(timestamp, '1 minute')`)
	if err != nil {
		panic(err)
	}
	query, err := session.WriteStream(byMinute).Format("console").OutputMode(stream.Update).Start(ctx)
	if err != nil {
		panic(err)
	}
	if err := query.Stop(ctx); err != nil {
		panic(err)
	}
}

func ExampleQuery_AwaitTermination() {
	ctx := context.Background()
	session, err := stream.Connect(ctx, remote)
	if err != nil {
		panic(err)
	}
	defer session.Close()
	ticks, err := session.ReadStream().Format("rate").Load(ctx)
	if err != nil {
		panic(err)
	}
	query, err := session.WriteStream(ticks).Format("noop").Trigger(stream.AvailableNow()).Start(ctx)
	if err != nil {
		panic(err)
	}
	ended, err := query.AwaitTermination(ctx, time.Minute)
	var failure *stream.QueryException
	switch {
	case errors.As(err, &failure):
		fmt.Println("the query failed:", failure.ErrorClass, failure.Message)
	case err != nil:
		panic(err)
	case !ended:
		fmt.Println("still running")
	default:
		fmt.Println("all available data is processed")
	}
}

func ExampleManager_Active() {
	ctx := context.Background()
	session, err := stream.Connect(ctx, remote+"/;user_id=reports;session_id=6f4f3a1e-3c1b-4a53-9c2e-0c7b8a4a2d10")
	if err != nil {
		panic(err)
	}
	defer session.Close()
	queries, err := session.Streams().Active(ctx)
	if err != nil {
		panic(err)
	}
	for _, query := range queries {
		status, err := query.Status(ctx)
		if err != nil {
			panic(err)
		}
		fmt.Println(query.Name(), query.ID(), status.Message)
	}
}

func ExampleManager_Listen() {
	session, err := stream.Connect(context.Background(), remote)
	if err != nil {
		panic(err)
	}
	defer session.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err = session.Streams().Listen(ctx, stream.Listener{
		OnProgress: func(query *stream.Query, p *stream.Progress) {
			fmt.Println(query, "batch", p.BatchID, "took", p.BatchDuration)
		},
		OnTerminated: func(query *stream.Query, failure *stream.QueryException) {
			if failure != nil {
				fmt.Println(query, "failed:", failure)
			}
		},
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		panic(err)
	}
}
