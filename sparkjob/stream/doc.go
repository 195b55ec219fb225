// Package stream is Structured Streaming for Go: it starts, watches and stops
// streaming queries on a Spark 3.5 server through Spark Connect. It adds to
// [github.com/apache/spark-connect-go], whose DataFrames it reads and writes,
// what that client leaves out. It knows nothing of what the data means; on the
// data's path it stands between a driver program and the Spark cluster.
//
// The names are those of PySpark, the habits Go's: a context first, an error
// last, an iterator of progress. A whole program:
//
//	session, err := stream.Connect(ctx, "sc://127.0.0.1:15002")
//	if err != nil {
//		return err
//	}
//	defer session.Close()
//
//	ticks, err := session.ReadStream().
//		Format("rate").
//		Option("rowsPerSecond", 10).
//		Load(ctx)
//	if err != nil {
//		return err
//	}
//	if err := session.CreateTempView(ctx, ticks, "ticks"); err != nil {
//		return err
//	}
//	even, err := session.SQL(ctx, "SELECT value, timestamp FROM ticks WHERE value % 2 = 0")
//	if err != nil {
//		return err
//	}
//
//	query, err := session.WriteStream(even).
//		Format("parquet").
//		Option("checkpointLocation", "/data/even.checkpoint").
//		QueryName("even").
//		Trigger(stream.ProcessingTime(5 * time.Second)).
//		Start(ctx, "/data/even")
//	if err != nil {
//		return err
//	}
//	for progress, err := range query.Progress(ctx) {
//		if err != nil {
//			return err
//		}
//		fmt.Printf("batch %d: %d rows\n", progress.BatchID, progress.NumInputRows())
//	}
//
// # Sessions and processes
//
// A query belongs to a session on the server, and goes on when the process
// that started it ends. The session is found again by its user id and session
// id, so give both in the connection string if another process is to join it:
// [Manager.Active] and [Manager.Get] find the queries there, and
// [Session.Attach] makes a handle from ids that were kept.
//
// A 3.5 server ends a session and its queries when nothing has asked for it for
// an hour, and the least recently used one when there are more than 100. Neither
// can be configured. So a process has to stay and ask: any call counts, the loop
// above does, [Session.Version] is the cheapest. When it has happened, or the
// server was restarted, calls about what is gone give [ErrSessionExpired].
//
// # Errors
//
// An error names what was being done, and keeps the server's words. Branch with
// [errors.Is] on [ErrUnreachable], [ErrSessionExpired], [ErrQueryNotFound] and
// [ErrNotActive], and with [errors.As] on [*QueryException], which is why a query
// died, and [*ServerError], which is what the server answered.
//
// Every call returns as soon as its context ends, and leaves nothing behind in
// this process.
//
// # What is not here
//
// foreach, foreachBatch and server-side listeners need Python or Scala code on
// the server. [Manager.Listen] is a listener that polls.
package stream
