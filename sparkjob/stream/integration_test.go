//go:build integration

package stream_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/bookstore/sparkjob/stream"
	"github.com/apache/spark-connect-go/spark/sql"
	"github.com/apache/spark-connect-go/spark/sql/column"
	"github.com/apache/spark-connect-go/spark/sql/functions"
	"github.com/apache/spark-connect-go/spark/sql/types"
	"github.com/google/uuid"
	"google.golang.org/grpc"
)

// These tests need a Spark Connect server that shares this machine's files, and
// its address in SPARK_REMOTE.

// connect opens a session of its own for the test and stops its queries at the
// end.
func connect(t *testing.T, opts ...stream.Option) *stream.Session {
	t.Helper()
	return connectAs(t, uuid.NewString(), opts...)
}

func connectAs(t *testing.T, sessionID string, opts ...stream.Option) *stream.Session {
	t.Helper()
	remote := os.Getenv("SPARK_REMOTE")
	if remote == "" {
		t.Fatal("SPARK_REMOTE is not set: it names the Spark Connect server to test against, such as sc://127.0.0.1:15002")
	}
	opts = append([]stream.Option{stream.WithPollInterval(50 * time.Millisecond)}, opts...)
	s, err := stream.Connect(t.Context(), remote+"/;user_id=stream_test;session_id="+sessionID, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		active, err := s.Streams().Active(ctx)
		if err != nil {
			t.Errorf("listing queries to stop: %v", err)
		}
		for _, q := range active {
			if err := q.Stop(ctx); err != nil {
				t.Error(err)
			}
		}
		s.Close()
	})
	return s
}

// must fails the test on an error.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// eventually polls until ok says yes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// rate is an endless stream of value and timestamp.
func rate(t *testing.T, s *stream.Session) sql.DataFrame {
	t.Helper()
	return must(s.ReadStream().Format("rate").Option("rowsPerSecond", 20).Load(t.Context()))(t)
}

// rows collects a query as strings, sorted.
func rows(t *testing.T, s *stream.Session, query string) []string {
	t.Helper()
	df := must(s.SQL(t.Context(), query))(t)
	var all []string
	for _, row := range must(df.Collect(t.Context()))(t) {
		all = append(all, strings.TrimSpace(fmt.Sprintln(row.Values()...)))
	}
	slices.Sort(all)
	return all
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// folder makes a directory that the server can read and write.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// name makes a name for a query or table that no other test has.
func name(prefix string) string {
	return prefix + "_" + strings.ReplaceAll(uuid.NewString(), "-", "")
}

// drain runs df to its end into a memory table and returns the table's name.
func drain(t *testing.T, s *stream.Session, df sql.DataFrame) string {
	t.Helper()
	table := name("drain")
	q := must(s.WriteStream(df).Format("memory").QueryName(table).Trigger(stream.AvailableNow()).Start(t.Context()))(t)
	if ended, err := q.AwaitTermination(t.Context(), time.Minute); !ended || err != nil {
		t.Fatalf("awaiting the end: %v, %v", ended, err)
	}
	return table
}

func TestSession(t *testing.T) {
	t.Parallel()
	id := uuid.NewString()
	s := connectAs(t, id)
	if s.ID() != id || s.UserID() != "stream_test" {
		t.Errorf("session %s of %s, want %s of stream_test", s.ID(), s.UserID(), id)
	}
	if v := must(s.Version(t.Context()))(t); !strings.HasPrefix(v, "3.5.") {
		t.Errorf("version %s, want 3.5", v)
	}
	// spark-connect-go's session is the same one on the server.
	if err := s.CreateTempView(t.Context(), must(s.SQL(t.Context(), "SELECT 7 AS seven"))(t), "v"); err != nil {
		t.Fatal(err)
	}
	df := must(s.SparkSession().Sql(t.Context(), "SELECT seven FROM v"))(t)
	if n := must(df.Count(t.Context()))(t); n != 1 {
		t.Errorf("%d rows through spark-connect-go's session, want 1", n)
	}
	if err := s.DropTempView(t.Context(), "v"); err != nil {
		t.Error(err)
	}
	if err := s.DropTempView(t.Context(), "v"); err != nil {
		t.Errorf("dropping a view that is gone: %v", err)
	}
	_, err := s.SQL(t.Context(), "SELECT * FROM v")
	var answer *stream.ServerError
	if !errors.As(err, &answer) || answer.ErrorClass != "TABLE_OR_VIEW_NOT_FOUND" {
		t.Errorf("after dropping the view: %v, want TABLE_OR_VIEW_NOT_FOUND", err)
	}
	if errors.Is(err, stream.ErrSessionExpired) {
		t.Error("the session counts as expired, and is not")
	}
}

func TestSQLCommandRunsOnce(t *testing.T) {
	t.Parallel()
	s := connect(t)
	table := name("command")
	must(s.SQL(t.Context(), "CREATE TABLE "+table+" (a INT) USING parquet"))(t)
	t.Cleanup(func() { must(s.SQL(context.Background(), "DROP TABLE "+table))(t) })
	must(s.SQL(t.Context(), "INSERT INTO "+table+" VALUES (1)"))(t)
	equal(t, "rows", rows(t, s, "SELECT a FROM "+table), []string{"1"})
}

func TestLargeResult(t *testing.T) {
	t.Parallel()
	s := connect(t)
	// More than 4 MiB in one message, which is where gRPC's default ends.
	df := must(s.SQL(t.Context(), "SELECT repeat('x', 6 * 1024 * 1024) AS big"))(t)
	got := must(df.Collect(t.Context()))(t)
	if n := len(got[0].At(0).(string)); n != 6<<20 {
		t.Errorf("%d bytes, want %d", n, 6<<20)
	}
}

func TestFileSources(t *testing.T) {
	t.Parallel()
	s := connect(t)
	ctx := t.Context()
	seed := must(s.SQL(ctx, "SELECT * FROM VALUES (1, 'a'), (2, 'b') AS t(id, name)"))(t)
	parquet, orc := t.TempDir(), t.TempDir()
	if err := seed.Writer().Format("parquet").Mode("append").Save(ctx, parquet); err != nil {
		t.Fatal(err)
	}
	if err := seed.Writer().Format("orc").Mode("append").Save(ctx, orc); err != nil {
		t.Fatal(err)
	}
	const ddl = "id INT, name STRING"
	want := []string{"1 a", "2 b"}
	tests := []struct {
		format string
		load   func() (sql.DataFrame, error)
	}{
		{"json", func() (sql.DataFrame, error) {
			return s.ReadStream().Schema(ddl).JSON(ctx, folder(t, map[string]string{"1.json": `{"id":1,"name":"a"}`, "2.json": `{"id":2,"name":"b"}`}))
		}},
		{"csv", func() (sql.DataFrame, error) {
			return s.ReadStream().Schema(ddl).Option("header", true).CSV(ctx, folder(t, map[string]string{"1.csv": "id,name\n1,a\n2,b\n"}))
		}},
		{"text", func() (sql.DataFrame, error) {
			return s.ReadStream().Text(ctx, folder(t, map[string]string{"1.txt": "1 a\n2 b\n"}))
		}},
		{"parquet", func() (sql.DataFrame, error) { return s.ReadStream().Schema(ddl).Parquet(ctx, parquet) }},
		{"orc", func() (sql.DataFrame, error) { return s.ReadStream().Schema(ddl).ORC(ctx, orc) }},
		{"format and options", func() (sql.DataFrame, error) {
			dir := folder(t, map[string]string{"1.csv": "1;a\n2;b\n"})
			return s.ReadStream().Format("csv").Schema(ddl).Options(map[string]string{"sep": ";"}).Load(ctx, dir)
		}},
		{"StructType", func() (sql.DataFrame, error) {
			schema := types.StructOf(types.NewStructField("id", types.INTEGER), types.NewStructField("name", types.STRING))
			return s.ReadStream().StructType(schema).JSON(ctx, folder(t, map[string]string{"1.json": `{"id":1,"name":"a"}` + "\n" + `{"id":2,"name":"b"}`}))
		}},
	}
	for _, test := range tests {
		table := drain(t, s, must(test.load())(t))
		equal(t, test.format, rows(t, s, "SELECT * FROM "+table), want)
	}
}

func TestReadTable(t *testing.T) {
	t.Parallel()
	s := connect(t)
	table := name("source")
	must(s.SQL(t.Context(), "CREATE TABLE "+table+" (a INT) USING parquet"))(t)
	t.Cleanup(func() { must(s.SQL(context.Background(), "DROP TABLE "+table))(t) })
	must(s.SQL(t.Context(), "INSERT INTO "+table+" VALUES (1), (2)"))(t)
	df := must(s.ReadStream().Table(t.Context(), table))(t)
	equal(t, "rows", rows(t, s, "SELECT * FROM "+drain(t, s, df)), []string{"1", "2"})

	if err := s.CreateTempView(t.Context(), df, "streaming_view"); err != nil {
		t.Fatal(err)
	}
	df = must(s.ReadStream().Table(t.Context(), "streaming_view"))(t)
	equal(t, "rows of the view", rows(t, s, "SELECT * FROM "+drain(t, s, df)), []string{"1", "2"})
}

func TestReaderMistakesOfTheServer(t *testing.T) {
	t.Parallel()
	s := connect(t)
	_, err := s.ReadStream().Format("nosuch").Load(t.Context())
	var answer *stream.ServerError
	if !errors.As(err, &answer) || answer.ErrorClass != "DATA_SOURCE_NOT_FOUND" {
		t.Errorf("unknown source: %v, want DATA_SOURCE_NOT_FOUND", err)
	}
	if _, err := s.ReadStream().Schema("not a schema at all").JSON(t.Context(), t.TempDir()); err == nil {
		t.Error("a schema that is none is accepted")
	}
}

func TestSQLOverStreamingViews(t *testing.T) {
	t.Parallel()
	s := connect(t)
	ctx := t.Context()
	dir := folder(t, map[string]string{"1.json": `{"id":1}` + "\n" + `{"id":2}` + "\n" + `{"id":3}`})
	if err := s.CreateTempView(ctx, must(s.ReadStream().Schema("id INT").JSON(ctx, dir))(t), "numbers"); err != nil {
		t.Fatal(err)
	}
	df := must(s.SQL(ctx, "SELECT id * 10 AS ten FROM numbers WHERE id > 1"))(t)
	// A view over a view, replacing one of the same name.
	for range 2 {
		if err := s.CreateTempView(ctx, df, "tens"); err != nil {
			t.Fatal(err)
		}
	}
	df = must(s.SQL(ctx, "SELECT ten + 1 FROM tens"))(t)
	df = must(df.SelectExpr(ctx, "*"))(t) // and spark-connect-go's operations go on from there
	equal(t, "rows", rows(t, s, "SELECT * FROM "+drain(t, s, df)), []string{"21", "31"})
	if _, err := s.SQL(ctx, "SELECT nosuch FROM numbers"); err == nil || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("a wrong column: %v, want it named", err)
	}
}

func TestFramesLeaveNoViews(t *testing.T) {
	t.Parallel()
	s := connect(t)
	drain(t, s, must(s.ReadStream().Text(t.Context(), folder(t, map[string]string{"1": "a"})))(t))
	for _, view := range rows(t, s, "SHOW VIEWS") {
		if !strings.Contains(view, "drain") { // the memory sink's own
			t.Errorf("a view was left: %s", view)
		}
	}
}

func TestWindowedCount(t *testing.T) {
	t.Parallel()
	s := connect(t)
	ctx := t.Context()
	dir := folder(t, map[string]string{
		"1.json": `{"at":"2024-01-01T00:00:10Z","k":"a"}` + "\n" + `{"at":"2024-01-01T00:00:50Z","k":"a"}` + "\n" + `{"at":"2024-01-01T00:01:10Z","k":"b"}`,
		"2.json": `{"at":"2024-01-01T01:00:00Z","k":"z"}`,
	})
	df := must(s.ReadStream().Schema("at TIMESTAMP, k STRING").Option("maxFilesPerTrigger", 1).JSON(ctx, dir))(t)
	df = must(df.WithWatermark(ctx, "at", "1 minute"))(t)
	df = must(df.GroupBy(functions.Expr("window(at, '1 minute')"), column.OfDF(df, "k")).Count(ctx))(t)
	df = must(df.SelectExpr(ctx, "date_format(window.start, 'HH:mm') AS minute", "k", "count"))(t)

	table := name("windows")
	q := must(s.WriteStream(df).Format("memory").QueryName(table).OutputMode(stream.Append).Trigger(stream.AvailableNow()).Start(ctx))(t)
	if ended, err := q.AwaitTermination(ctx, time.Minute); !ended || err != nil {
		t.Fatalf("awaiting the end: %v, %v", ended, err)
	}
	// The last window stays open: the watermark has not passed its end.
	equal(t, "windows", rows(t, s, "SELECT * FROM "+table), []string{"00:00 a 2", "00:01 b 1"})

	p := must(q.LastProgress(ctx))(t)
	if w := p.EventTime.Watermark; w == nil || w.UTC().Format(time.RFC3339) != "2024-01-01T00:59:00Z" {
		t.Errorf("watermark %v, want 2024-01-01T00:59:00Z", w)
	}
	if len(p.StateOperators) != 1 || p.StateOperators[0].NumRowsTotal != 1 {
		t.Errorf("state %+v, want one operator with one row", p.StateOperators)
	}
}

func TestOutputModes(t *testing.T) {
	t.Parallel()
	s := connect(t)
	ctx := t.Context()
	dir := folder(t, map[string]string{"1": "a\na\nb"})
	if err := s.CreateTempView(ctx, must(s.ReadStream().Text(ctx, dir))(t), "letters"); err != nil {
		t.Fatal(err)
	}
	counts := must(s.SQL(ctx, "SELECT value, count(*) FROM letters GROUP BY value"))(t)
	for _, mode := range []stream.OutputMode{stream.Complete, stream.Update} {
		table := name("mode")
		q := must(s.WriteStream(counts).Format("memory").QueryName(table).OutputMode(mode).Trigger(stream.AvailableNow()).Start(ctx))(t)
		if ended, err := q.AwaitTermination(ctx, time.Minute); !ended || err != nil {
			t.Fatalf("%s: %v, %v", mode, ended, err)
		}
		equal(t, string(mode), rows(t, s, "SELECT * FROM "+table), []string{"a 2", "b 1"})
	}
	// Append without a watermark is the server's to refuse.
	if _, err := s.WriteStream(counts).Format("memory").QueryName(name("mode")).OutputMode(stream.Append).Start(ctx); err == nil {
		t.Error("append of an aggregation without a watermark is accepted")
	}
}

func TestFileSinkResumesFromCheckpoint(t *testing.T) {
	t.Parallel()
	s := connect(t)
	ctx := t.Context()
	in, out, checkpoint := folder(t, map[string]string{"1.json": `{"id":1,"k":"a"}`}), t.TempDir(), t.TempDir()
	run := func() *stream.Query {
		df := must(s.ReadStream().Schema("id INT, k STRING").JSON(ctx, in))(t)
		q := must(s.WriteStream(df).Format("parquet").PartitionBy("k").Option("checkpointLocation", checkpoint).
			Trigger(stream.AvailableNow()).Start(ctx, out))(t)
		if ended, err := q.AwaitTermination(ctx, time.Minute); !ended || err != nil {
			t.Fatalf("awaiting the end: %v, %v", ended, err)
		}
		return q
	}
	first := run()
	if err := os.WriteFile(filepath.Join(in, "2.json"), []byte(`{"id":2,"k":"b"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	second := run()
	equal(t, "rows", rows(t, s, "SELECT id, k FROM parquet.`"+out+"`"), []string{"1 a", "2 b"})
	if _, err := os.Stat(filepath.Join(out, "k=b")); err != nil {
		t.Errorf("not partitioned: %v", err)
	}
	if first.ID() != second.ID() || first.RunID() == second.RunID() {
		t.Errorf("ids %s and %s, runs %s and %s: want one id and two runs", first.ID(), second.ID(), first.RunID(), second.RunID())
	}
}

func TestToTable(t *testing.T) {
	t.Parallel()
	s := connect(t)
	ctx := t.Context()
	table := name("sink")
	df := must(s.ReadStream().Text(ctx, folder(t, map[string]string{"1": "a\nb"})))(t)
	q := must(s.WriteStream(df).Format("parquet").Option("checkpointLocation", t.TempDir()).Trigger(stream.AvailableNow()).ToTable(ctx, table))(t)
	t.Cleanup(func() { must(s.SQL(context.Background(), "DROP TABLE "+table))(t) })
	if ended, err := q.AwaitTermination(ctx, time.Minute); !ended || err != nil {
		t.Fatalf("awaiting the end: %v, %v", ended, err)
	}
	equal(t, "rows", rows(t, s, "SELECT * FROM "+table), []string{"a", "b"})
}

func TestTriggers(t *testing.T) {
	t.Parallel()
	s := connect(t)
	ctx := t.Context()
	for label, trigger := range map[string]stream.Trigger{"once": stream.Once(), "available now": stream.AvailableNow()} {
		q := must(s.WriteStream(must(s.ReadStream().Text(ctx, folder(t, map[string]string{"1": "a"})))(t)).
			Format("memory").QueryName(name("once")).Trigger(trigger).Start(ctx))(t)
		if ended, err := q.AwaitTermination(ctx, time.Minute); !ended || err != nil {
			t.Errorf("%s: %v, %v, want an end", label, ended, err)
		}
		equal(t, label, rows(t, s, "SELECT * FROM "+q.Name()), []string{"a"})
	}
	for label, trigger := range map[string]stream.Trigger{
		"processing time": stream.ProcessingTime(100 * time.Millisecond), "no pause": stream.ProcessingTime(0),
	} {
		q := must(s.WriteStream(rate(t, s)).Format("noop").Trigger(trigger).Start(ctx))(t)
		if ended, err := q.AwaitTermination(ctx, 300*time.Millisecond); ended || err != nil {
			t.Errorf("%s: %v, %v, want it to run on", label, ended, err)
		}
	}
	q := must(s.WriteStream(rate(t, s)).Format("noop").Option("checkpointLocation", t.TempDir()).Trigger(stream.Continuous(time.Second)).Start(ctx))(t)
	if x := must(q.Explain(ctx, false))(t); !strings.Contains(x, "Continuous") {
		eventually(t, "a continuous plan", func() bool {
			x = must(q.Explain(ctx, false))(t)
			return strings.Contains(x, "Continuous")
		})
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	s := connect(t)
	ctx := t.Context()
	table := name("query")
	q := must(s.WriteStream(rate(t, s)).Format("memory").QueryName(table).Start(ctx))(t)
	if q.Name() != table || uuid.Validate(q.ID()) != nil || uuid.Validate(q.RunID()) != nil {
		t.Errorf("name %q, id %q, run %q", q.Name(), q.ID(), q.RunID())
	}
	if status := must(q.Status(ctx))(t); !status.IsActive || status.Message == "" {
		t.Errorf("status %+v, want active and a message", status)
	}
	eventually(t, "a batch with rows", func() bool {
		p := must(q.LastProgress(ctx))(t)
		return p != nil && p.NumInputRows() > 0
	})
	p := must(q.LastProgress(ctx))(t)
	if p.ID != q.ID() || p.RunID != q.RunID() || p.Name != table || time.Since(p.Timestamp) > time.Minute {
		t.Errorf("progress of %s, %s, %s at %v", p.ID, p.RunID, p.Name, p.Timestamp)
	}
	if p.Durations["triggerExecution"] <= 0 || len(p.Sources) != 1 || !strings.HasPrefix(p.Sources[0].Description, "RateStream") {
		t.Errorf("progress %s", p.Raw)
	}
	if p.Sink.Description != "MemorySink" || p.Sink.NumOutputRows != p.NumInputRows() || !json.Valid(p.Sources[0].EndOffset) {
		t.Errorf("progress %s", p.Raw)
	}
	if recent := must(q.RecentProgress(ctx))(t); len(recent) == 0 || recent[0].BatchID != 0 {
		t.Errorf("recent progress begins with %+v", recent)
	}
	if err := q.ProcessAllAvailable(ctx); err != nil {
		t.Error(err)
	}
	short, long := must(q.Explain(ctx, false))(t), must(q.Explain(ctx, true))(t)
	if !strings.Contains(short, "Physical Plan") || !strings.Contains(long, "Analyzed Logical Plan") {
		t.Errorf("plans:\n%s\n%s", short, long)
	}
	if e, err := q.Exception(ctx); e != nil || err != nil {
		t.Errorf("exception %v, %v, want none", e, err)
	}
	if _, err := s.WriteStream(rate(t, s)).Format("memory").QueryName(table).Start(ctx); err == nil || !strings.Contains(err.Error(), "already active") {
		t.Errorf("a second query of the name: %v", err)
	}
	for range 2 {
		if err := q.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	if active := must(q.IsActive(ctx))(t); active {
		t.Error("active after Stop")
	}
	if ended, err := q.AwaitTermination(ctx, 0); !ended || err != nil {
		t.Errorf("awaiting a stopped query: %v, %v", ended, err)
	}
	if err := q.ProcessAllAvailable(ctx); !errors.Is(err, stream.ErrNotActive) {
		t.Errorf("processing all of a stopped query: %v, want ErrNotActive", err)
	}
}

func TestProcessAllAvailable(t *testing.T) {
	t.Parallel()
	s := connect(t)
	ctx := t.Context()
	dir := folder(t, map[string]string{"1": "a"})
	q := must(s.WriteStream(must(s.ReadStream().Text(ctx, dir))(t)).Format("memory").QueryName(name("all")).Start(ctx))(t)
	for i, want := range [][]string{{"a"}, {"a", "b"}} {
		if i > 0 {
			if err := os.WriteFile(filepath.Join(dir, "2"), []byte("b"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := q.ProcessAllAvailable(ctx); err != nil {
			t.Fatal(err)
		}
		equal(t, "rows", rows(t, s, "SELECT * FROM "+q.Name()), want)
	}
}

func TestProgressIsEachBatchOnceAndEndsWithTheQuery(t *testing.T) {
	t.Parallel()
	s := connect(t)
	ctx := t.Context()
	files := map[string]string{}
	for i := range 12 {
		files[fmt.Sprintf("%02d", i)] = fmt.Sprint(i)
	}
	df := must(s.ReadStream().Option("maxFilesPerTrigger", 1).Text(ctx, folder(t, files)))(t)
	q := must(s.WriteStream(df).Format("noop").Trigger(stream.AvailableNow()).Start(ctx))(t)
	var batches []string
	for p, err := range q.Progress(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, fmt.Sprint(p.BatchID, ":", p.NumInputRows()))
	}
	var want []string
	for i := range 12 {
		want = append(want, fmt.Sprint(i, ":", 1))
	}
	equal(t, "batches", batches, want)
}

func TestQueryThatDiesAtOnce(t *testing.T) {
	t.Parallel()
	s := connect(t)
	ctx := t.Context()
	df := must(s.ReadStream().Text(ctx, folder(t, map[string]string{"1": "a"})))(t)
	df = must(df.SelectExpr(ctx, "raise_error('the paper is torn') AS v"))(t)
	begun := time.Now()
	_, err := s.WriteStream(df).Format("noop").QueryName(name("dying")).Start(ctx)
	var failure *stream.QueryException
	if !errors.As(err, &failure) {
		t.Fatalf("starting it: %v, want a QueryException", err)
	}
	if !strings.Contains(failure.Message, "the paper is torn") || failure.QueryID == "" || failure.RunID == "" {
		t.Errorf("exception %+v", failure)
	}
	if failure.ErrorClass != "STREAM_FAILED" || !strings.Contains(failure.StackTrace, "StreamExecution") {
		t.Errorf("class %q, stack %.200q", failure.ErrorClass, failure.StackTrace)
	}
	t.Logf("noticed after %v", time.Since(begun))

	q := s.Attach(failure.QueryID, failure.RunID)
	ended, err := q.AwaitTermination(ctx, time.Second)
	if !ended || !errors.As(err, &failure) {
		t.Errorf("awaiting it: %v, %v, want its exception", ended, err)
	}
	if err := q.ProcessAllAvailable(ctx); !errors.As(err, &failure) {
		t.Errorf("processing all of it: %v, want its exception", err)
	}
	for p, err := range q.Progress(ctx) {
		if p != nil || !errors.As(err, &failure) {
			t.Errorf("progress of it: %v, %v, want its exception", p, err)
		}
	}
	ended, err = s.Streams().AwaitAnyTermination(ctx, time.Second)
	if !ended || !errors.As(err, &failure) || failure.QueryID != q.ID() || failure.StackTrace == "" {
		t.Errorf("awaiting any: %v, %v, want its exception", ended, err)
	}
	if err := q.Stop(ctx); err != nil {
		t.Errorf("stopping it: %v", err)
	}
}

func TestManager(t *testing.T) {
	t.Parallel()
	s := connect(t)
	ctx := t.Context()
	if active := must(s.Streams().Active(ctx))(t); len(active) != 0 {
		t.Errorf("active in a new session: %v", active)
	}
	a := must(s.WriteStream(rate(t, s)).Format("noop").QueryName("a").Start(ctx))(t)
	b := must(s.WriteStream(rate(t, s)).Format("noop").QueryName("b").Start(ctx))(t)
	var names []string
	for _, q := range must(s.Streams().Active(ctx))(t) {
		names = append(names, q.Name())
	}
	slices.Sort(names)
	equal(t, "active", names, []string{"a", "b"})
	if q := must(s.Streams().Get(ctx, a.ID()))(t); q.Name() != "a" || q.RunID() != a.RunID() {
		t.Errorf("got %s, %s", q.Name(), q.RunID())
	}
	for _, id := range []string{uuid.NewString(), "nonsense"} {
		if _, err := s.Streams().Get(ctx, id); !errors.Is(err, stream.ErrQueryNotFound) {
			t.Errorf("getting %s: %v, want ErrQueryNotFound", id, err)
		}
	}
	if ended, err := s.Streams().AwaitAnyTermination(ctx, 100*time.Millisecond); ended || err != nil {
		t.Errorf("awaiting any of two running: %v, %v", ended, err)
	}
	if err := a.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if ended, err := s.Streams().AwaitAnyTermination(ctx, time.Minute); !ended || err != nil {
		t.Errorf("awaiting any after one was stopped: %v, %v", ended, err)
	}
	if err := s.Streams().ResetTerminated(ctx); err != nil {
		t.Error(err)
	}
	if ended, err := s.Streams().AwaitAnyTermination(ctx, 100*time.Millisecond); ended || err != nil {
		t.Errorf("awaiting any after the reset: %v, %v", ended, err)
	}
	if _, err := s.Streams().Get(ctx, a.ID()); !errors.Is(err, stream.ErrQueryNotFound) {
		t.Errorf("getting a stopped query: %v, want ErrQueryNotFound", err)
	}
	if active := must(b.IsActive(ctx))(t); !active {
		t.Error("b ended too")
	}
}

func TestAttachFromAnotherSession(t *testing.T) {
	t.Parallel()
	id := uuid.NewString()
	first := connectAs(t, id)
	ctx := t.Context()
	q := must(first.WriteStream(rate(t, first)).Format("noop").QueryName("shared").Start(ctx))(t)

	second := connectAs(t, id)
	found := must(second.Streams().Get(ctx, q.ID()))(t)
	if found.Name() != "shared" || found.RunID() != q.RunID() {
		t.Errorf("found %s, run %s, want shared, run %s", found.Name(), found.RunID(), q.RunID())
	}
	attached := second.Attach(q.ID(), q.RunID())
	eventually(t, "progress", func() bool { return must(attached.LastProgress(ctx))(t) != nil })
	if err := attached.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if ended, err := q.AwaitTermination(ctx, time.Minute); !ended || err != nil {
		t.Errorf("the first session sees %v, %v, want the end", ended, err)
	}

	stranger := connect(t)
	if _, err := stranger.Attach(q.ID(), q.RunID()).Status(ctx); !errors.Is(err, stream.ErrQueryNotFound) || errors.Is(err, stream.ErrSessionExpired) {
		t.Errorf("from another session: %v, want ErrQueryNotFound", err)
	}
}

func TestCloseLeavesQueriesRunning(t *testing.T) {
	t.Parallel()
	id := uuid.NewString()
	ctx := t.Context()
	keeper := connectAs(t, id) // stops the query at the end
	first := must(stream.Connect(ctx, os.Getenv("SPARK_REMOTE")+"/;user_id=stream_test;session_id="+id))(t)
	q := must(first.WriteStream(rate(t, first)).Format("noop").Start(ctx))(t)
	first.Close()
	if _, err := q.Status(ctx); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("asking through a closed session: %v", err)
	}
	if active := must(keeper.Attach(q.ID(), q.RunID()).IsActive(ctx))(t); !active {
		t.Error("the query ended with the connection")
	}
}

// TestCancelledContextsReturnAtOnce cancels each call that waits, and looks at
// how long it takes and at what it leaves behind. It is not parallel: it counts
// the process's goroutines.
func TestCancelledContextsReturnAtOnce(t *testing.T) {
	s := connect(t)
	q := must(s.WriteStream(rate(t, s)).Format("noop").Trigger(stream.ProcessingTime(time.Hour)).Start(t.Context()))(t)
	// Of a single partition: the server goes on with it for a while, and other tests need a core.
	busy := must(s.SQL(t.Context(), "SELECT count(*) FROM range(0, 10000000000, 1, 1)"))(t)
	calls := map[string]func(ctx context.Context) error{
		"AwaitTermination":    func(ctx context.Context) error { _, err := q.AwaitTermination(ctx, 0); return err },
		"AwaitAnyTermination": func(ctx context.Context) error { _, err := s.Streams().AwaitAnyTermination(ctx, 0); return err },
		"ProcessAllAvailable": q.ProcessAllAvailable,
		"Listen":              func(ctx context.Context) error { return s.Streams().Listen(ctx, stream.Listener{}) },
		"Progress": func(ctx context.Context) error {
			var last error
			for _, err := range q.Progress(ctx) {
				last = err
			}
			return last
		},
		"spark-connect-go's Collect": func(ctx context.Context) error { _, err := busy.Collect(ctx); return err },
	}
	before := runtime.NumGoroutine()
	for label, call := range calls {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- call(ctx) }()
		select {
		case err := <-done:
			t.Errorf("%s returned before it was cancelled: %v", label, err)
		case <-time.After(300 * time.Millisecond):
		}
		cancelled := time.Now()
		cancel()
		select {
		case err := <-done:
			if took := time.Since(cancelled); took > 200*time.Millisecond {
				t.Errorf("%s returned %v after it was cancelled", label, took)
			}
			if err == nil {
				t.Errorf("%s returned no error", label)
			}
			if !strings.Contains(label, "spark-connect-go") && !errors.Is(err, context.Canceled) {
				t.Errorf("%s returned %v, want context.Canceled", label, err)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%s has not returned 5 s after it was cancelled", label)
		}
	}
	eventually(t, "the goroutines of cancelled calls to end", func() bool { return runtime.NumGoroutine() <= before })
}

func TestCancelledStartStopsTheQuery(t *testing.T) {
	t.Parallel()
	id := uuid.NewString()
	watcher := connectAs(t, id)
	// The first call of Start starts the query, the second looks at it.
	var calls atomic.Int32
	counting := func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		calls.Add(1)
		return open(ctx, desc, cc, method, opts...)
	}
	s := connectAs(t, id, stream.WithStartupWatch(time.Minute), stream.WithDialOptions(grpc.WithChainStreamInterceptor(counting)))
	text := must(s.ReadStream().Text(t.Context(), folder(t, map[string]string{"1": "a"})))(t)
	sleeping := must(text.SelectExpr(t.Context(), "java_method('java.lang.Thread', 'sleep', 60000L)"))(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := s.WriteStream(sleeping).Format("noop").QueryName("sleeping").Start(ctx)
		done <- err
	}()
	eventually(t, "the query to be watched", func() bool { return calls.Load() > 1 })
	q := must(watcher.Streams().Active(t.Context()))(t)[0]
	cancelled := time.Now()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Start returned %v, want context.Canceled", err)
	}
	if took := time.Since(cancelled); took > 200*time.Millisecond {
		t.Errorf("Start returned %v after it was cancelled", took)
	}
	eventually(t, "the query to end", func() bool { return !must(q.IsActive(t.Context()))(t) })
}

func TestListener(t *testing.T) {
	t.Parallel()
	id := uuid.NewString()
	s, other := connectAs(t, id), connectAs(t, id)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()

	events := make(chan string, 1000)
	listening := make(chan error, 1)
	go func() {
		listening <- s.Streams().Listen(ctx, stream.Listener{
			OnStarted:  func(q *stream.Query) { events <- q.Name() + " started" },
			OnProgress: func(q *stream.Query, p *stream.Progress) { events <- fmt.Sprint(q.Name(), " batch ", p.BatchID) },
			OnTerminated: func(q *stream.Query, failure *stream.QueryException) {
				events <- fmt.Sprint(q.Name(), " ended, failed: ", failure != nil)
			},
		})
	}()
	text := must(s.ReadStream().Option("maxFilesPerTrigger", 1).Text(ctx, folder(t, map[string]string{"1": "a", "2": "b", "3": "c"})))(t)
	must(s.WriteStream(text).Format("noop").QueryName("ends").Trigger(stream.AvailableNow()).Start(ctx))(t)
	failing := must(text.SelectExpr(ctx, "raise_error('no') AS v"))(t)
	if _, err := s.WriteStream(failing).Format("noop").QueryName("fails").Start(ctx); err == nil {
		t.Error("a failing query started")
	}
	// One from another process: seen because it runs when the listener polls.
	q := must(other.WriteStream(must(other.ReadStream().Text(ctx, folder(t, map[string]string{"1": "a"})))(t)).
		Format("noop").QueryName("elsewhere").Start(ctx))(t)

	got := map[string][]string{}
	ended := 0
	deadline := time.After(time.Minute)
	for ended < 3 {
		select {
		case event := <-events:
			name, _, _ := strings.Cut(event, " ")
			got[name] = append(got[name], event)
			if strings.Contains(event, "ended") {
				ended++
			}
			if event == "elsewhere batch 0" {
				if err := q.Stop(ctx); err != nil {
					t.Error(err)
				}
			}
		case err := <-listening:
			t.Fatal(err)
		case <-deadline:
			t.Fatalf("events after a minute: %v", got)
		}
	}
	cancel()
	if err := <-listening; !errors.Is(err, context.Canceled) {
		t.Errorf("Listen returned %v, want context.Canceled", err)
	}
	equal(t, "ends", got["ends"], []string{"ends started", "ends batch 0", "ends batch 1", "ends batch 2", "ends ended, failed: false"})
	equal(t, "fails", got["fails"], []string{"fails started", "fails ended, failed: true"})
	equal(t, "elsewhere", got["elsewhere"], []string{"elsewhere started", "elsewhere batch 0", "elsewhere ended, failed: false"})
}

// TestExamples runs the package's examples, which panic on an error.
func TestExamples(t *testing.T) {
	connect(t) // says so if there is no server
	for _, example := range []func(){
		Example, ExampleConnect, ExampleSession_SQL, ExampleQuery_AwaitTermination, ExampleManager_Active, ExampleManager_Listen,
	} {
		example()
	}
}
