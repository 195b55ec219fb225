package stream

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"path"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	testID    = "0d9c1fd2-6a58-4a6f-9f43-5c1b8c1d7a10"
	testRunID = "1e0d2fe3-7b69-4b70-8a54-6d2c9d2e8b21"
	sessionID = "2f1e3af4-8c70-4c81-9b65-7e3d0e3f9c32"
)

// call is a request as the fake server sees it.
type call struct {
	ctx     context.Context
	method  string // ExecutePlan, AnalyzePlan, Config
	headers metadata.MD
	request map[string]any
}

// at gives the value at a path of the request, such as "plan.command".
func (c call) at(p string) any {
	var v any = c.request
	for _, field := range strings.Split(p, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[field]
	}
	return v
}

// kind names what the request asks for.
func (c call) kind() string {
	for _, command := range []string{"streaming_query_command", "streaming_query_manager_command"} {
		if m, ok := c.at("plan.command." + command).(map[string]any); ok {
			for field := range m {
				if field != "query_id" {
					return field
				}
			}
		}
	}
	if m, ok := c.at("plan.command").(map[string]any); ok {
		for field := range m {
			return field
		}
	}
	return c.method
}

// fakeServer speaks enough of the protocol to test what the client does with
// answers and failures. What a Spark server really answers is the integration
// tests' matter.
type fakeServer struct {
	mu     sync.Mutex
	calls  []call
	config map[string]string
	// answer overrides the answers to calls of a kind: each is an answer in
	// JSON form, several answers, or an error.
	answer map[string]func(c call) any
}

func (f *fakeServer) on(kind string, answer func(c call) any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer[kind] = answer
}

// seen lists the kinds of the calls so far, without the ones that Connect made.
func (f *fakeServer) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	kinds := make([]string, 0, len(f.calls))
	for _, c := range f.calls {
		kinds = append(kinds, c.kind())
	}
	return kinds
}

func (f *fakeServer) count(kind string) int {
	n := 0
	for _, k := range f.seen() {
		if k == kind {
			n++
		}
	}
	return n
}

func (f *fakeServer) last(t *testing.T, kind string) call {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := len(f.calls) - 1; i >= 0; i-- {
		if f.calls[i].kind() == kind {
			return f.calls[i]
		}
	}
	t.Fatalf("no call of kind %s", kind)
	return call{}
}

func (f *fakeServer) handle(_ any, gs grpc.ServerStream) error {
	full, _ := grpc.MethodFromServerStream(gs)
	c := call{ctx: gs.Context(), method: path.Base(full)}
	c.headers, _ = metadata.FromIncomingContext(gs.Context())
	types := map[string][2]string{
		"ExecutePlan": {"ExecutePlanRequest", "ExecutePlanResponse"},
		"AnalyzePlan": {"AnalyzePlanRequest", "AnalyzePlanResponse"},
		"Config":      {"ConfigRequest", "ConfigResponse"},
	}[c.method]
	request, err := newMessage(protoreflect.Name(types[0]))
	if err != nil {
		return err
	}
	if err := gs.RecvMsg(request); err != nil {
		return err
	}
	if err := decode(request, &c.request); err != nil {
		return err
	}
	f.mu.Lock()
	f.calls = append(f.calls, c)
	answer := f.answer[c.kind()]
	f.mu.Unlock()

	var result any
	if answer != nil {
		result = answer(c)
	} else {
		result = f.usual(c)
	}
	if err, ok := result.(error); ok {
		return err
	}
	answers, ok := result.([]any)
	if !ok {
		answers = []any{result}
	}
	for _, a := range answers {
		response, err := encode(protoreflect.Name(types[1]), a)
		if err != nil {
			return err
		}
		swapSessionID(response, c.at("session_id").(string))
		if err := gs.SendMsg(response); err != nil {
			return err
		}
	}
	return nil
}

type object = map[string]any

// usual answers as a server does on which everything is well.
func (f *fakeServer) usual(c call) any {
	switch c.kind() {
	case "AnalyzePlan":
		if c.at("schema") != nil {
			return object{"schema": object{"schema": object{"struct": object{"fields": []any{
				object{"name": "a", "data_type": object{"integer": object{}}},
			}}}}}
		}
		return object{"spark_version": object{"version": "3.5.7"}}
	case "Config":
		f.mu.Lock()
		defer f.mu.Unlock()
		if pairs, ok := c.at("operation.set.pairs").([]any); ok {
			pair := pairs[0].(object)
			f.config[pair["key"].(string)] = pair["value"].(string)
			return object{}
		}
		key := c.at("operation.get_option.keys").([]any)[0].(string)
		pair := object{"key": key}
		if value, ok := f.config[key]; ok {
			pair["value"] = value
		}
		return object{"pairs": []any{pair}}
	case "write_stream_operation_start":
		return object{"write_stream_operation_start_result": object{
			"query_id": object{"id": testID, "run_id": testRunID}, "name": c.at("plan.command.write_stream_operation_start.query_name"),
		}}
	case "status":
		return queryAnswer("status", object{"status_message": "Waiting for data to arrive", "is_active": true})
	}
	return object{}
}

func queryAnswer(kind string, result any) any {
	return object{"streaming_query_command_result": object{kind: result}}
}

func progressAnswer(batches ...int64) any {
	texts := []string{}
	for _, batch := range batches {
		text, _ := json.Marshal(object{"runId": testRunID, "batchId": batch, "timestamp": time.UnixMilli(batch * 1000).UTC(), "durationMs": object{"addBatch": 1}})
		texts = append(texts, string(text))
	}
	return queryAnswer("recent_progress", object{"recent_progress_json": texts})
}

// connectFake connects to a fake server and forgets the calls that this took.
func connectFake(t *testing.T, opts ...Option) (*Session, *fakeServer) {
	t.Helper()
	f := &fakeServer{config: map[string]string{}, answer: map[string]func(call) any{}}
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(grpc.UnknownServiceHandler(f.handle))
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	opts = append([]Option{
		WithRetry(2 * time.Second), WithPollInterval(5 * time.Millisecond),
		WithDialOptions(grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) })),
	}, opts...)
	s, err := Connect(t.Context(), "sc://127.0.0.1:1/;user_id=ann;session_id="+sessionID+";x-team=books", opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	f.mu.Lock()
	f.calls = nil
	f.mu.Unlock()
	return s, f
}

// failing answers with the error for the first n calls, and as usual after.
func (f *fakeServer) failing(n int, err error) func(call) any {
	var mu sync.Mutex
	return func(c call) any {
		mu.Lock()
		defer mu.Unlock()
		if n--; n >= 0 {
			return err
		}
		return f.usual(c)
	}
}

var errUnavailable = status.Error(codes.Unavailable, "the server is shutting down")

// noLeak fails the test if goroutines are left over at its end.
func noLeak(t *testing.T, body func()) {
	t.Helper()
	before := runtime.NumGoroutine()
	body()
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// cancelling runs a call, ends its context once the server has it, and returns
// its error.
func cancelling(t *testing.T, arrived <-chan struct{}, run func(ctx context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	select {
	case <-arrived:
	case err := <-done:
		t.Fatalf("returned before it was cancelled: %v", err)
	case <-time.After(5 * time.Second):
		t.Fatal("the call has not reached the server after 5 s")
	}
	begun := time.Now()
	cancel()
	select {
	case err := <-done:
		if took := time.Since(begun); took > 200*time.Millisecond {
			t.Errorf("returned %v after it was cancelled", took)
		}
		return err
	case <-time.After(5 * time.Second):
		return errors.New("has not returned 5 s after it was cancelled")
	}
}

// withClass adds the Java class of an exception to a status, as Spark does.
func withClass(st *status.Status, class string) (*status.Status, error) {
	return st.WithDetails(&errdetails.ErrorInfo{Reason: class, Metadata: map[string]string{"classes": `["` + class + `"]`}})
}
