package stream

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestEveryCallCarriesTheSession(t *testing.T) {
	s, f := connectFake(t)
	ctx := t.Context()
	df, err := s.ReadStream().Format("rate").Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := df.Schema(ctx); err != nil { // spark-connect-go's own call, unary
		t.Fatal(err)
	}
	if err := df.CreateOrReplaceTempView(ctx, "v"); err != nil { // and streaming
		t.Fatal(err)
	}
	if _, err := s.WriteStream(df).Format("noop").Start(ctx); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if c.at("session_id") != sessionID || c.at("user_context.user_id") != "ann" {
			t.Errorf("%s: session %v of %v", c.kind(), c.at("session_id"), c.at("user_context.user_id"))
		}
		if c.kind() != "Config" && !slices.Equal(c.headers.Get("x-team"), []string{"books"}) {
			t.Errorf("%s: header %v, want books", c.kind(), c.headers.Get("x-team"))
		}
	}
}

func TestFramesAreMadeAndReadWithoutTheServer(t *testing.T) {
	s, f := connectFake(t)
	ctx := t.Context()
	df, err := s.newFrame(ctx, []byte(`{"read":{"named_table":{"unparsed_identifier":"books"},"is_streaming":true}}`))
	if err != nil {
		t.Fatal(err)
	}
	df, err = df.SelectExpr(ctx, "a + 1")
	if err != nil {
		t.Fatal(err)
	}
	rel, err := relationOf(ctx, df)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"unparsed_identifier"`, `"books"`, `"is_streaming"`, `"a + 1"`} {
		if !strings.Contains(string(rel), part) {
			t.Errorf("the plan has no %s: %s", part, rel)
		}
	}
	if seen := f.seen(); len(seen) != 0 {
		t.Errorf("the server was asked: %v", seen)
	}
}

func TestConnectReportsAllMistakes(t *testing.T) {
	_, err := Connect(t.Context(), "http://127.0.0.1:99999/;session_id=me;use_ssl=perhaps;token=s3cret;novalue", WithPollInterval(0))
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"sc://", "99999", `"me" is not a UUID`, "perhaps", "novalue", "poll interval"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in: %v", part, err)
		}
	}
	_, err = Connect(t.Context(), "sc://127.0.0.1:x/;token=s3cret")
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v, want an error without the token", err)
	}
}

func TestParseRemote(t *testing.T) {
	tests := []struct {
		connection string
		want       remote
	}{
		{"sc://spark/;user_id=ann;session_id=" + sessionID, remote{address: "spark:15002", userID: "ann", sessionID: sessionID}},
		{"sc://[::1]:1/;user_id=a%3Bb", remote{address: "[::1]:1", userID: "a;b"}},
		{"sc://spark:443/;user_id=ann;token=t%3D1;X-Team=books", remote{address: "spark:443", userID: "ann", token: "t=1", tls: true, headers: map[string]string{"x-team": "books"}}},
		{"sc://spark/;user_id=ann;use_ssl=true;user_agent=me", remote{address: "spark:15002", userID: "ann", tls: true, userAgent: "me"}},
	}
	for _, test := range tests {
		got, err := parseRemote(test.connection)
		if err != nil {
			t.Errorf("%s: %v", test.connection, err)
			continue
		}
		if test.want.sessionID == "" {
			if got.sessionID == "" {
				t.Errorf("%s: no session id", test.connection)
			}
			got.sessionID = ""
		}
		if got.address != test.want.address || got.userID != test.want.userID || got.sessionID != test.want.sessionID || got.token != test.want.token ||
			got.tls != test.want.tls || got.userAgent != test.want.userAgent || got.headers["x-team"] != test.want.headers["x-team"] {
			t.Errorf("%s: got %+v, want %+v", test.connection, got, test.want)
		}
	}
	for _, wrong := range []string{"", "spark:15002", "sc://", "sc://spark/path", "sc://ann@spark", "sc://spark?user_id=ann", "sc://spark/;use_ssl=false;token=x"} {
		if _, err := parseRemote(wrong); err == nil {
			t.Errorf("%q is accepted", wrong)
		}
	}
	if got, err := parseRemote("sc://spark"); err != nil || got.userID == "" {
		t.Errorf("without parameters: %+v, %v, want some user", got, err)
	}
}

func TestConnectToNobody(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	noLeak(t, func() {
		begun := time.Now()
		_, err := Connect(t.Context(), "sc://"+address, WithRetry(300*time.Millisecond))
		if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("got %v, want ErrUnreachable with the address and the reason", err)
		}
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("took %v with a budget of 300 ms", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		begun = time.Now()
		_, err = Connect(ctx, "sc://"+address)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrUnreachable) {
			t.Errorf("got %v, want DeadlineExceeded and ErrUnreachable", err)
		}
		if took := time.Since(begun); took > 300*time.Millisecond {
			t.Errorf("took %v with a context of 100 ms", took)
		}
	})
}

func TestRetry(t *testing.T) {
	s, f := connectFake(t)
	ctx := t.Context()
	q := s.Attach(testID, testRunID)
	sqlAnswer := object{"sql_command_result": object{"relation": object{"sql": object{"query": "x"}}}}
	tests := []struct {
		name, kind string
		run        func() error
		repeated   bool
	}{
		{"a unary call", "AnalyzePlan", func() error { _, err := s.Version(ctx); return err }, true},
		{"a question about a query", "status", func() error { _, err := q.Status(ctx); return err }, true},
		{"a question to the manager", "active", func() error { _, err := s.Streams().Active(ctx); return err }, true},
		{"an SQL command", "sql_command", func() error { _, err := s.SQL(ctx, "INSERT INTO t VALUES (1)"); return err }, false},
		{"a start", "write_stream_operation_start", func() error {
			df, err := s.newFrame(ctx, []byte(`{"sql":{"query":"x"}}`))
			if err != nil {
				return err
			}
			_, err = s.WriteStream(df).Format("noop").Start(ctx)
			return err
		}, false},
	}
	for _, test := range tests {
		before := f.count(test.kind)
		answer := f.failing(2, errUnavailable)
		f.on(test.kind, func(c call) any {
			if got := answer(c); c.kind() != "sql_command" {
				return got
			} else if err, ok := got.(error); ok {
				return err
			}
			return sqlAnswer
		})
		err := test.run()
		calls := f.count(test.kind) - before
		if test.repeated && (err != nil || calls != 3) {
			t.Errorf("%s: %v after %d calls, want success after 3", test.name, err, calls)
		}
		if !test.repeated && (!errors.Is(err, ErrUnreachable) || calls != 1) {
			t.Errorf("%s: %v after %d calls, want ErrUnreachable after 1", test.name, err, calls)
		}
		if err != nil && !strings.Contains(err.Error(), "the server is shutting down") {
			t.Errorf("%s: the server's words are missing in %v", test.name, err)
		}
	}
}

func TestRetryEndsWithTheBudget(t *testing.T) {
	s, f := connectFake(t, WithRetry(200*time.Millisecond))
	f.on("status", func(call) any { return errUnavailable })
	begun := time.Now()
	_, err := s.Attach(testID, testRunID).Status(t.Context())
	if took := time.Since(begun); !errors.Is(err, ErrUnreachable) || took > time.Second || f.count("status") < 2 {
		t.Errorf("%v after %v and %d calls, want ErrUnreachable after about 200 ms", err, took, f.count("status"))
	}
}

func TestNoRetryWithoutBudget(t *testing.T) {
	s, f := connectFake(t, WithRetry(0))
	f.on("status", func(call) any { return errUnavailable })
	if _, err := s.Attach(testID, testRunID).Status(t.Context()); !errors.Is(err, ErrUnreachable) || f.count("status") != 1 {
		t.Errorf("%v after %d calls, want ErrUnreachable after 1", err, f.count("status"))
	}
}

// A start that never left this process may be repeated.
func TestStartWaitsForTheConnection(t *testing.T) {
	var refused atomic.Int32
	s, f := connectFake(t)
	df, err := s.newFrame(t.Context(), []byte(`{"sql":{"query":"x"}}`))
	if err != nil {
		t.Fatal(err)
	}
	tr := &transport{sessionID: sessionID, budget: 2 * time.Second}
	open := func() (grpc.ClientStream, error) {
		if refused.Add(1) < 4 {
			return nil, status.Error(codes.Unavailable, "connection refused")
		}
		return s.conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, executePlanMethod)
	}
	stream := &retryingStream{transport: tr, ctx: t.Context(), open: open}
	rel, err := relationOf(t.Context(), df)
	if err != nil {
		t.Fatal(err)
	}
	request, err := encode("ExecutePlanRequest", executeRequest{caller: s.caller(), Plan: plan{Command: &command{Start: &startCommand{Input: rel}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(request); err != nil {
		t.Fatal(err)
	}
	response, err := newMessage("ExecutePlanResponse")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(response); err != nil {
		t.Fatal(err)
	}
	if n := f.count("write_stream_operation_start"); n != 1 || refused.Load() != 4 {
		t.Errorf("%d starts after %d attempts, want 1 after 4", n, refused.Load())
	}
}

func TestSQL(t *testing.T) {
	s, f := connectFake(t)
	ctx := t.Context()
	f.on("sql_command", func(call) any {
		return status.Error(codes.Internal, "Queries with streaming sources must be executed with writeStream.start();\nrate")
	})
	df, err := s.SQL(ctx, "SELECT * FROM ticks")
	if err != nil {
		t.Fatal(err)
	}
	if rel, err := relationOf(ctx, df); err != nil || !strings.Contains(string(rel), "SELECT * FROM ticks") {
		t.Errorf("plan %s, %v", rel, err)
	}
	f.on("sql_command", func(call) any { return status.Error(codes.Internal, "[PARSE_SYNTAX_ERROR] no") })
	if _, err := s.SQL(ctx, "SELEC"); err == nil || !strings.Contains(err.Error(), "PARSE_SYNTAX_ERROR") {
		t.Errorf("got %v", err)
	}
	f.on("sql_command", func(call) any { return object{} })
	if _, err := s.SQL(ctx, "SELECT 1"); err == nil {
		t.Error("an answer without a relation is accepted")
	}
}

func TestExpiredSession(t *testing.T) {
	s, f := connectFake(t)
	ctx := t.Context()
	notFound := status.Error(codes.Internal, "Streaming query "+testID+" is not found")
	f.on("status", func(call) any { return notFound })
	f.on("sql_command", func(call) any {
		return status.Error(codes.Internal, "[TABLE_OR_VIEW_NOT_FOUND] The table or view `v` cannot be found.")
	})
	q := s.Attach(testID, testRunID)
	if _, err := q.Status(ctx); !errors.Is(err, ErrQueryNotFound) || errors.Is(err, ErrSessionExpired) {
		t.Errorf("in a living session: %v, want ErrQueryNotFound", err)
	}
	f.mu.Lock()
	clear(f.config) // what a session that takes another's place looks like
	f.mu.Unlock()
	df := frame(t, s)
	calls := map[string]func() error{
		"start":  func() error { _, err := s.WriteStream(df).Format("noop").Start(ctx); return err },
		"status": func() error { _, err := q.Status(ctx); return err },
		"sql":    func() error { _, err := s.SQL(ctx, "SELECT * FROM v"); return err },
		"active": func() error { _, err := s.Streams().Active(ctx); return err },
		"get":    func() error { _, err := s.Streams().Get(ctx, testID); return err },
		"await":  func() error { _, err := s.Streams().AwaitAnyTermination(ctx, time.Second); return err },
	}
	for name, run := range calls {
		if err := run(); !errors.Is(err, ErrSessionExpired) {
			t.Errorf("%s: %v, want ErrSessionExpired", name, err)
		}
	}
}

func TestClosedSession(t *testing.T) {
	s, f := connectFake(t)
	waiting := make(chan struct{})
	f.on("process_all_available", func(c call) any {
		close(waiting)
		<-c.ctx.Done()
		return c.ctx.Err()
	})
	done := make(chan error, 1)
	go func() { done <- s.Attach(testID, testRunID).ProcessAllAvailable(t.Context()) }()
	<-waiting
	s.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the waiting call: %v, want net.ErrClosed", err)
	}
	if _, err := s.Version(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
}

func TestErrorClass(t *testing.T) {
	for message, want := range map[string]string{
		"[PATH_NOT_FOUND] Path does not exist":          "PATH_NOT_FOUND",
		"\n[INVALID_HANDLE.SESSION_CLOSED] The handle":  "INVALID_HANDLE.SESSION_CLOSED",
		"Query [id = 1, runId = 2] terminated":          "",
		"Streaming query is not found":                  "",
		"RateStreamV2[rowsPerSecond=5] cannot] be read": "",
	} {
		if got := errorClass(message); got != want {
			t.Errorf("%q: got %q, want %q", message, got, want)
		}
	}
}

func TestTranslate(t *testing.T) {
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	tests := []struct {
		name string
		ctx  context.Context
		err  error
		want error
	}{
		{"unavailable", t.Context(), errUnavailable, ErrUnreachable},
		{"session closed", t.Context(), status.Error(codes.Internal, "[INVALID_HANDLE.SESSION_CLOSED] closed"), ErrSessionExpired},
		{"not found", t.Context(), status.Error(codes.Internal, "Streaming query x is not found"), ErrQueryNotFound},
		{"cancelled by the server", t.Context(), status.Error(codes.Canceled, "x"), context.Canceled},
		{"deadline of the server", t.Context(), status.Error(codes.DeadlineExceeded, "x"), context.DeadlineExceeded},
		{"own end", ended, status.Error(codes.Canceled, "x"), context.Cause(ended)},
		{"own end while unreachable", ended, errUnavailable, ErrUnreachable},
	}
	for _, test := range tests {
		if got := translate(test.ctx, test.err); !errors.Is(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
	if got := translate(t.Context(), nil); got != nil {
		t.Errorf("no error became %v", got)
	}
}

// For the race detector: one session and one query, used by several goroutines.
func TestConcurrentUse(t *testing.T) {
	s, f := connectFake(t)
	f.on("last_progress", func(call) any { return progressAnswer(0) })
	ctx := t.Context()
	q := s.Attach(testID, testRunID)
	listening, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Streams().Listen(listening, Listener{}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	var users sync.WaitGroup
	for range 8 {
		users.Go(func() {
			df, err := s.ReadStream().Format("rate").Load(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			for _, call := range []func() error{
				func() error { _, err := s.WriteStream(df).Format("noop").Start(ctx); return err },
				func() error { return s.CreateTempView(ctx, df, "v") },
				func() error { _, err := q.LastProgress(ctx); return err },
				func() error { _, err := s.Streams().Active(ctx); return err },
				func() error { _, err := df.Schema(ctx); return err },
			} {
				if err := call(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	users.Wait()
	stop()
	wg.Wait()
}
