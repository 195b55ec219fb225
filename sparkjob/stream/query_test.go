package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/spark-connect-go/spark/sql"
	"github.com/apache/spark-connect-go/spark/sql/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func frame(t *testing.T, s *Session) sql.DataFrame {
	t.Helper()
	df, err := s.newFrame(t.Context(), []byte(`{"sql":{"query":"x"}}`))
	if err != nil {
		t.Fatal(err)
	}
	return df
}

func TestReaderSendsItsSettings(t *testing.T) {
	s, f := connectFake(t)
	_, err := s.ReadStream().Format("json").Schema("a INT").Option("n", 3).Option("ok", true).Option("f", 0.5).
		Options(map[string]string{"text": "x"}).Load(t.Context(), "/in")
	if err != nil {
		t.Fatal(err)
	}
	got := f.last(t, "AnalyzePlan").at("schema.plan.root.read")
	want := object{"is_streaming": true, "data_source": object{
		"format": "json", "schema": "a INT", "paths": []any{"/in"}, "options": object{"n": "3", "ok": "true", "f": "0.5", "text": "x"},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := s.ReadStream().Table(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	if got := f.last(t, "AnalyzePlan").at("schema.plan.root.read.named_table.unparsed_identifier"); got != "t" {
		t.Errorf("table %v, want t", got)
	}
}

func TestReaderReportsAllMistakes(t *testing.T) {
	s, f := connectFake(t)
	_, err := s.ReadStream().Schema("").StructType(nil).Option("", "x").Option("o", []int{1}).Option("p", nil).Load(t.Context(), "a", "b")
	wantAll(t, err, "the schema is empty", "it has no fields", "an option has no name", "option o: its value is a []int", "option p: its value is nil", "2 paths", "no format")
	_, err = s.ReadStream().Schema("a INT").Table(t.Context(), "")
	wantAll(t, err, "the table has no name", "its own schema")
	if seen := f.seen(); len(seen) != 0 {
		t.Errorf("the server was asked: %v", seen)
	}
}

func wantAll(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in: %v", part, err)
		}
	}
}

func TestWriterSendsItsSettings(t *testing.T) {
	s, f := connectFake(t)
	ctx := t.Context()
	base := func() *Writer { return s.WriteStream(frame(t, s)) }
	tests := []struct {
		name  string
		start func() (*Query, error)
		want  object
	}{
		{"everything", func() (*Query, error) {
			return base().Format("parquet").Option("n", 1).Options(map[string]string{"o": "x"}).OutputMode(Append).PartitionBy("a", "b").
				QueryName("q").Trigger(ProcessingTime(1500*time.Millisecond)).Start(ctx, "/out")
		}, object{
			"format": "parquet", "options": object{"n": "1", "o": "x"}, "output_mode": "append", "partitioning_column_names": []any{"a", "b"},
			"query_name": "q", "processing_time_interval": "1500 milliseconds", "path": "/out",
		}},
		{"no pause", func() (*Query, error) { return base().Format("noop").Trigger(ProcessingTime(0)).Start(ctx) },
			object{"format": "noop", "processing_time_interval": "0 milliseconds"}},
		{"once", func() (*Query, error) { return base().Format("noop").Trigger(Once()).Start(ctx) }, object{"format": "noop", "once": true}},
		{"available now", func() (*Query, error) { return base().Format("noop").Trigger(AvailableNow()).Start(ctx) },
			object{"format": "noop", "available_now": true}},
		{"continuous", func() (*Query, error) {
			return base().Format("noop").OutputMode(Update).Trigger(Continuous(time.Second)).Start(ctx)
		}, object{"format": "noop", "output_mode": "update", "continuous_checkpoint_interval": "1000 milliseconds"}},
		{"table", func() (*Query, error) { return base().OutputMode(Complete).ToTable(ctx, "t") }, object{"output_mode": "complete", "table_name": "t"}},
	}
	for _, test := range tests {
		q, err := test.start()
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		got := f.last(t, "write_stream_operation_start").at("plan.command.write_stream_operation_start").(object)
		if got["input"] == nil {
			t.Errorf("%s: no input", test.name)
		}
		delete(got, "input")
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
		if q.ID() != testID || q.RunID() != testRunID {
			t.Errorf("%s: query %s, run %s", test.name, q.ID(), q.RunID())
		}
	}
}

func TestWriterReportsAllMistakes(t *testing.T) {
	s, f := connectFake(t)
	ctx := t.Context()
	_, err := s.WriteStream(nil).Format("").Option("o", struct{}{}).OutputMode("upsert").PartitionBy().QueryName("").
		Trigger(ProcessingTime(-time.Second)).Trigger(Continuous(0)).Start(ctx, "")
	wantAll(t, err, "no format", "option o", `"upsert"`, "partitioning", "name is empty", "negative", "checkpoint interval", "2 triggers", "path is empty", "no DataFrame")
	_, err = s.WriteStream(frame(t, s)).Trigger(Trigger{}).ToTable(ctx, "")
	wantAll(t, err, "the trigger is empty", "the table has no name")
	_, err = s.WriteStream(frame(t, s)).Trigger(ProcessingTime(time.Microsecond)).QueryName("q").Start(ctx)
	wantAll(t, err, "starting streaming query q", "whole milliseconds", "no format")
	if seen := f.seen(); len(seen) != 0 {
		t.Errorf("the server was asked: %v", seen)
	}
}

func TestStartNoticesADeath(t *testing.T) {
	s, f := connectFake(t)
	looks := 0
	f.on("status", func(call) any {
		looks++
		return queryAnswer("status", object{"status_message": "Initializing sources", "is_active": looks < 3})
	})
	f.on("exception", func(call) any {
		return queryAnswer("exception", object{"exception_message": "no such topic", "error_class": "STREAM_FAILED", "stack_trace": "at x"})
	})
	_, err := s.WriteStream(frame(t, s)).Format("noop").Start(t.Context())
	var failure *QueryException
	want := QueryException{QueryID: testID, RunID: testRunID, Message: "no such topic", ErrorClass: "STREAM_FAILED", StackTrace: "at x"}
	if !errors.As(err, &failure) || *failure != want {
		t.Errorf("got %v, want %+v", err, want)
	}
}

func TestStartWatchesForALimitedTime(t *testing.T) {
	for _, limit := range []time.Duration{0, 150 * time.Millisecond} {
		s, f := connectFake(t, WithStartupWatch(limit))
		f.on("status", func(call) any {
			return queryAnswer("status", object{"status_message": "Initializing sources", "is_active": true})
		})
		begun := time.Now()
		if _, err := s.WriteStream(frame(t, s)).Format("noop").Start(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took < limit || took > limit+2*time.Second {
			t.Errorf("a watch of %v took %v", limit, took)
		}
	}
}

func TestStartCancelledStopsTheQuery(t *testing.T) {
	s, f := connectFake(t)
	looked := make(chan struct{}, 1000)
	f.on("status", func(call) any {
		looked <- struct{}{}
		return queryAnswer("status", object{"status_message": "Initializing sources", "is_active": true})
	})
	df := frame(t, s)
	err := cancelling(t, looked, func(ctx context.Context) error {
		_, err := s.WriteStream(df).Format("noop").Start(ctx)
		return err
	})
	if !errors.Is(err, context.Canceled) || f.count("stop") != 1 {
		t.Errorf("%v and %d stops, want context.Canceled and 1", err, f.count("stop"))
	}
}

func TestCancelledCallsEndAtTheServerToo(t *testing.T) {
	s, f := connectFake(t)
	q, df := s.Attach(testID, testRunID), frame(t, s)
	arrived := make(chan struct{}, 10)
	gone := make(chan struct{}, 10)
	hang := func(c call) any {
		arrived <- struct{}{}
		<-c.ctx.Done() // the client's end reaches the server
		gone <- struct{}{}
		return c.ctx.Err()
	}
	calls := map[string]func(ctx context.Context) error{
		"await_termination":     func(ctx context.Context) error { _, err := q.AwaitTermination(ctx, 0); return err },
		"await_any_termination": func(ctx context.Context) error { _, err := s.Streams().AwaitAnyTermination(ctx, 0); return err },
		"process_all_available": q.ProcessAllAvailable,
		"stop":                  q.Stop,
		"explain":               func(ctx context.Context) error { _, err := q.Explain(ctx, true); return err },
		"sql_command":           func(ctx context.Context) error { _, err := s.SQL(ctx, "SELECT 1"); return err },
		"create_dataframe_view": func(ctx context.Context) error { return s.CreateTempView(ctx, df, "v") },
	}
	noLeak(t, func() {
		for kind, run := range calls {
			f.on(kind, hang)
			if err := cancelling(t, arrived, run); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v, want context.Canceled", kind, err)
			}
			select {
			case <-gone:
			case <-time.After(5 * time.Second):
				t.Errorf("%s: the server is not told", kind)
			}
		}
	})
}

func TestCancelledWhileUnreachable(t *testing.T) {
	s, f := connectFake(t, WithRetry(time.Minute))
	failed := make(chan struct{}, 1000)
	f.on("status", func(call) any {
		failed <- struct{}{}
		return errUnavailable
	})
	err := cancelling(t, failed, func(ctx context.Context) error {
		_, err := s.Attach(testID, testRunID).Status(ctx)
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestAwaitTermination(t *testing.T) {
	s, f := connectFake(t)
	ctx := t.Context()
	q := s.Attach(testID, testRunID)
	polls := 0
	f.on("await_termination", func(call) any {
		polls++
		return queryAnswer("await_termination", object{"terminated": polls == 3})
	})
	if ended, err := q.AwaitTermination(ctx, 0); !ended || err != nil || polls != 3 {
		t.Errorf("%v, %v after %d polls, want the end after 3", ended, err, polls)
	}
	polls = 10
	if ended, err := q.AwaitTermination(ctx, 30*time.Millisecond); ended || err != nil {
		t.Errorf("%v, %v, want the timeout", ended, err)
	}
	if _, err := q.AwaitTermination(ctx, -1); err == nil {
		t.Error("a negative timeout is accepted")
	}
	// The server answers with the failure of the query.
	f.on("await_termination", func(call) any { return status.Error(codes.Internal, "[STREAM_FAILED] terminated") })
	f.on("exception", func(call) any { return queryAnswer("exception", object{"exception_message": "why"}) })
	var failure *QueryException
	if ended, err := q.AwaitTermination(ctx, time.Second); !ended || !errors.As(err, &failure) || failure.Message != "why" {
		t.Errorf("%v, %v, want the failure", ended, err)
	}
	// Another error of the server is not the query's.
	f.on("exception", func(call) any { return object{} })
	var answer *ServerError
	if ended, err := q.AwaitTermination(ctx, time.Second); ended || !errors.As(err, &answer) {
		t.Errorf("%v, %v, want the server's error", ended, err)
	}
}

func TestLastProgressBeforeTheFirst(t *testing.T) {
	s, f := connectFake(t)
	f.on("last_progress", func(call) any { return progressAnswer() })
	if p, err := s.Attach(testID, testRunID).LastProgress(t.Context()); p != nil || err != nil {
		t.Errorf("got %v, %v, want nil, nil", p, err)
	}
}

// history plays a query whose server keeps three reports: at each look it has
// done the batches up to the next of the given ones.
func history(f *fakeServer, upTo ...int64) {
	look, done := 0, int64(-1)
	f.on("status", func(call) any {
		if look < len(upTo) {
			done = upTo[look]
		}
		look++
		return queryAnswer("status", object{"is_active": look < len(upTo)})
	})
	f.on("last_progress", func(call) any {
		if done < 0 {
			return progressAnswer()
		}
		return progressAnswer(done)
	})
	f.on("recent_progress", func(call) any {
		var kept []int64
		for b := max(0, done-2); b <= done; b++ {
			kept = append(kept, b)
		}
		return progressAnswer(kept...)
	})
}

func TestProgressIterator(t *testing.T) {
	tests := []struct {
		name string
		upTo []int64
		want []int64
	}{
		{"one at a time", []int64{-1, 0, 1, 2, 3, 4}, []int64{0, 1, 2, 3, 4}},
		{"several between looks", []int64{-1, 1, 1, 4, 4}, []int64{0, 1, 2, 3, 4}},
		{"more than the server keeps", []int64{0, 7, 7}, []int64{0, 5, 6, 7}},
		{"it had ended", []int64{2}, []int64{0, 1, 2}},
		{"it ended without a batch", []int64{-1}, nil},
	}
	for _, test := range tests {
		s, f := connectFake(t)
		history(f, test.upTo...)
		var got []int64
		for p, err := range s.Attach(testID, testRunID).Progress(t.Context()) {
			if err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			got = append(got, p.BatchID)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

func TestProgressIteratorEndsWithAnError(t *testing.T) {
	s, f := connectFake(t)
	q := s.Attach(testID, testRunID)
	last := func(ctx context.Context) (err error) {
		ends := 0
		for p, e := range q.Progress(ctx) {
			if e != nil {
				ends++
				err = e
				if p != nil {
					t.Errorf("progress %v with an error", p)
				}
			}
		}
		if ends != 1 {
			t.Errorf("%d errors, want 1", ends)
		}
		return err
	}
	history(f, 0)
	f.on("exception", func(call) any { return queryAnswer("exception", object{"exception_message": "why"}) })
	var failure *QueryException
	if err := last(t.Context()); !errors.As(err, &failure) {
		t.Errorf("got %v, want the failure", err)
	}
	f.on("status", func(call) any { return queryAnswer("status", object{"is_active": true}) })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := last(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want DeadlineExceeded", err)
	}
	for _, err := range q.Progress(t.Context()) {
		if err != nil {
			t.Error(err)
		}
		break // and leaving the loop is no error
	}
}

func TestProgressFields(t *testing.T) {
	text, err := os.ReadFile("testdata/progress.json")
	if err != nil {
		t.Fatal(err)
	}
	var p Progress
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	at := func(s string) *time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return &v
	}
	want := Progress{
		ID: "3f8fbd0a-7a4d-4a43-9d2b-0f6c1f0b6f55", RunID: "8b0a0a0c-5a56-4a5e-8b43-0a3d3c0a9d11", Name: "counts",
		Timestamp: *at("2024-05-01T10:20:30.456Z"), BatchID: 17, BatchDuration: 1250 * time.Millisecond,
		Durations: map[string]time.Duration{"triggerExecution": 1250 * time.Millisecond, "addBatch": 900 * time.Millisecond, "walCommit": 40 * time.Millisecond},
		EventTime: EventTime{Min: at("2024-05-01T10:20:00Z"), Max: at("2024-05-01T10:20:29Z"), Avg: at("2024-05-01T10:20:15Z"), Watermark: at("2024-05-01T10:10:00Z")},
		StateOperators: []StateOperator{{
			OperatorName: "stateStoreSave", NumRowsTotal: 12, NumRowsUpdated: 3, NumRowsRemoved: 1, NumRowsDroppedByWatermark: 2, AllUpdatesTimeMs: 5,
			AllRemovalsTimeMs: 6, CommitTimeMs: 7, MemoryUsedBytes: 4096, NumShufflePartitions: 2, NumStateStoreInstances: 4,
			CustomMetrics: map[string]int64{"loadedMapCacheHitCount": 9},
		}},
		Sources: []SourceProgress{
			{
				Description: "KafkaV2[Subscribe[events]]",
				StartOffset: []byte(`{"events": {"0": 10, "1": 20}}`), EndOffset: []byte(`{"events": {"0": 20, "1": 40}}`), LatestOffset: []byte(`{"events": {"0": 25, "1": 40}}`),
				NumInputRows: 30, InputRowsPerSecond: 24.5, ProcessedRowsPerSecond: 25.5, Metrics: map[string]string{"maxOffsetsBehindLatest": "5"},
			},
			{Description: "RateStreamV2", StartOffset: []byte("null"), EndOffset: []byte("3"), LatestOffset: []byte(`"not JSON"`), NumInputRows: 4},
		},
		Sink:            SinkProgress{Description: "ConsoleTable", NumOutputRows: -1, Metrics: map[string]string{}},
		ObservedMetrics: map[string]json.RawMessage{"quality": []byte(`{"rows": 30}`)},
	}
	raw := p.Raw
	p.Raw = nil
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got %+v\nwant %+v", p, want)
	}
	if !strings.Contains(string(raw), "fieldOfALaterSpark") {
		t.Error("an unknown field is lost")
	}
	if p.NumInputRows() != 34 || p.InputRowsPerSecond() != 24.5 || p.ProcessedRowsPerSecond() != 25.5 {
		t.Errorf("sums %d, %v, %v", p.NumInputRows(), p.InputRowsPerSecond(), p.ProcessedRowsPerSecond())
	}
	p.Raw = raw
	if back, err := json.Marshal(&p); err != nil || !strings.Contains(string(back), "fieldOfALaterSpark") {
		t.Errorf("written back: %s, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"timestamp":"yesterday"}`), &p); err == nil {
		t.Error("a wrong timestamp is accepted")
	}
}

func TestSchemaJSON(t *testing.T) {
	metadata := `{"unit":"cent"}`
	schema := types.StructOf(
		types.NewStructField("flag", types.BOOLEAN), types.NewStructField("small", types.BYTE), types.NewStructField("at", types.TIMESTAMP_NTZ),
		types.StructField{Name: "price", DataType: types.DecimalType{Precision: 10, Scale: 2}, Metadata: &metadata},
		types.NewStructField("tags", types.MakeArrayType(types.STRING, true)),
		types.NewStructField("counts", types.MapType{KeyType: types.STRING, ValueType: types.LONG, ValueContainsNull: true}),
		types.NewStructField("inner", types.StructType{Fields: []types.StructField{types.NewStructField("d", types.DATE)}}),
	)
	text, err := schemaJSON(schema)
	if err != nil {
		t.Fatal(err)
	}
	const none = `,"nullable":true,"metadata":{}}`
	want := `{"type":"struct","fields":[{"name":"flag","type":"boolean"` + none + `,{"name":"small","type":"byte"` + none + `,{"name":"at","type":"timestamp_ntz"` + none +
		`,{"name":"price","type":"decimal(10,2)","nullable":false,"metadata":{"unit":"cent"}}` +
		`,{"name":"tags","type":{"type":"array","elementType":"string","containsNull":true}` + none +
		`,{"name":"counts","type":{"type":"map","keyType":"string","valueType":"long","valueContainsNull":true}` + none +
		`,{"name":"inner","type":{"type":"struct","fields":[{"name":"d","type":"date"` + none + `]}` + none + `]}`
	var a, b any
	if json.Unmarshal([]byte(text), &a) != nil || json.Unmarshal([]byte(want), &b) != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	_, err = schemaJSON(types.StructOf(types.NewStructField("a", types.UnsupportedType{}), types.NewStructField("b", nil)))
	wantAll(t, err, "field a", "field b")
}

func TestAwaitAnyTerminationNamesTheFailedQuery(t *testing.T) {
	s, f := connectFake(t)
	text := fmt.Sprintf("[STREAM_FAILED] Query [id = %s, runId = %s] terminated with exception: why", testID, testRunID)
	st, err := withClass(status.New(codes.Internal, text), "org.apache.spark.sql.streaming.StreamingQueryException")
	if err != nil {
		t.Fatal(err)
	}
	f.on("await_any_termination", func(call) any { return st.Err() })
	f.on("exception", func(call) any {
		return queryAnswer("exception", object{"exception_message": "why, at length"})
	})
	ended, err := s.Streams().AwaitAnyTermination(t.Context(), time.Second)
	var failure *QueryException
	if !ended || !errors.As(err, &failure) || failure.QueryID != testID || failure.RunID != testRunID || failure.Message != "why, at length" {
		t.Errorf("%v, %+v", ended, err)
	}
	// Where its exception cannot be had, the server's words have to do.
	f.on("exception", func(call) any { return status.Error(codes.Internal, "Streaming query x is not found") })
	if _, err := s.Streams().AwaitAnyTermination(t.Context(), time.Second); !errors.As(err, &failure) || failure.Message != text {
		t.Errorf("%+v", err)
	}
}

// idleAnswer is a batch and then idle reports, which carry the next batch's id.
func idleAnswer(reports int) any {
	texts := []string{fmt.Sprintf(`{"runId":%q,"batchId":0,"timestamp":"2024-01-01T00:00:00Z","durationMs":{"addBatch":1}}`, testRunID)}
	for i := 1; i < reports; i++ {
		texts = append(texts, fmt.Sprintf(`{"runId":%q,"batchId":1,"timestamp":"2024-01-01T00:00:%d0Z","durationMs":{"latestOffset":1}}`, testRunID, i))
	}
	return queryAnswer("recent_progress", object{"recent_progress_json": texts})
}

func TestIdleQueries(t *testing.T) {
	s, f := connectFake(t)
	looks := 0
	f.on("active", func(call) any {
		return object{"streaming_query_manager_command_result": object{"active": object{"active_queries": []any{
			object{"id": object{"id": testID, "run_id": testRunID}, "name": "q"},
		}}}}
	})
	f.on("status", func(call) any {
		looks++
		return queryAnswer("status", object{"is_active": looks < 5})
	})
	f.on("last_progress", func(call) any { return idleAnswer(min(looks, 4)) })
	f.on("recent_progress", func(call) any { return idleAnswer(min(looks, 4)) })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var events []string
	err := s.Streams().Listen(ctx, Listener{
		OnStarted:  func(q *Query) { events = append(events, q.Name()) },
		OnIdle:     func(_ *Query, at time.Time) { events = append(events, "idle "+at.Format("05")) },
		OnProgress: func(_ *Query, p *Progress) { events = append(events, fmt.Sprint("batch ", p.BatchID)) },
		OnTerminated: func(*Query, *QueryException) {
			events = append(events, "ended")
			cancel()
		},
	})
	if want := []string{"q", "batch 0", "idle 10", "idle 20", "idle 30", "ended"}; !errors.Is(err, context.Canceled) || !slices.Equal(events, want) {
		t.Errorf("%v, %q, want context.Canceled, %q", err, events, want)
	}

	looks = 0
	var batches []int64
	for p, err := range s.Attach(testID, testRunID).Progress(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, p.BatchID)
	}
	if !slices.Equal(batches, []int64{0}) {
		t.Errorf("the iterator gives batches %v, want 0 only", batches)
	}

	looks = 0
	idle := 0
	for p, err := range s.Attach(testID, testRunID).Reports(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if p.Idle() {
			idle++
		}
	}
	if idle != 3 {
		t.Errorf("the iterator of all reports gives %d idle ones, want 3", idle)
	}
}

func TestErrorsAreOneLine(t *testing.T) {
	failure := &QueryException{Message: "org.apache.spark.sql.streaming.StreamingQueryException: no such topic\n=== Streaming Query ===\nand more"}
	answer := &ServerError{Message: "[TABLE_OR_VIEW_NOT_FOUND] no table;\n'Project [*]", kind: ErrSessionExpired}
	for err, want := range map[error]string{failure: "no such topic", answer: "spark session expired: [TABLE_OR_VIEW_NOT_FOUND] no table;"} {
		if got := err.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
