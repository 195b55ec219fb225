//go:build integration

package stream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bookstore/sparkjob/stream"
	"github.com/google/uuid"
)

// proxy stands between client and server, and can die as a server does.
type proxy struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup
	mu       sync.Mutex
	dead     bool
	conns    []net.Conn
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	target, _, _ := strings.Cut(strings.TrimPrefix(os.Getenv("SPARK_REMOTE"), "sc://"), "/")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, target: target}
	p.wg.Go(func() { p.accept(t.Context()) })
	t.Cleanup(func() {
		p.kill()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) accept(ctx context.Context) {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).DialContext(ctx, "tcp", p.target)
		p.mu.Lock()
		if err != nil || p.dead {
			_ = client.Close()
			p.mu.Unlock()
			continue
		}
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
			p.wg.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				_ = pair[0].Close()
			})
		}
	}
}

// cut breaks the connections that there are; new ones are still accepted.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

func (p *proxy) kill() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.dead = true
	p.mu.Unlock()
	p.cut()
}

func (p *proxy) remote(sessionID string) string {
	return "sc://" + p.listener.Addr().String() + "/;user_id=stream_test;session_id=" + sessionID
}

func TestServerDiesDuringACall(t *testing.T) {
	t.Parallel()
	const budget = time.Second
	in := folder(t, map[string]string{"1": "a"})
	calls := map[string]func(ctx context.Context, s *stream.Session, q *stream.Query) error{
		"AwaitTermination": func(ctx context.Context, _ *stream.Session, q *stream.Query) error {
			_, err := q.AwaitTermination(ctx, 0)
			return err
		},
		"AwaitAnyTermination": func(ctx context.Context, s *stream.Session, _ *stream.Query) error {
			_, err := s.Streams().AwaitAnyTermination(ctx, 0)
			return err
		},
		"Progress": func(ctx context.Context, _ *stream.Session, q *stream.Query) error {
			for _, err := range q.Progress(ctx) {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"Listen": func(ctx context.Context, s *stream.Session, _ *stream.Query) error {
			return s.Streams().Listen(ctx, stream.Listener{})
		},
		"Start": func(ctx context.Context, s *stream.Session, _ *stream.Query) error {
			df, err := s.ReadStream().Text(ctx, in)
			if err == nil { // the first batch sleeps, so that Start is still watching
				df, err = df.SelectExpr(ctx, "java_method('java.lang.Thread', 'sleep', 60000L) AS slept")
			}
			if err != nil {
				return err
			}
			_, err = s.WriteStream(df).Format("noop").QueryName("starting").Start(ctx)
			return err
		},
	}
	for label, call := range calls {
		t.Run(label, func(t *testing.T) {
			id := uuid.NewString()
			keeper := connectAs(t, id) // stops the queries at the end
			q := must(keeper.WriteStream(rate(t, keeper)).Format("noop").QueryName("running").Start(t.Context()))(t)
			p := newProxy(t)
			s := must(stream.Connect(t.Context(), p.remote(id), stream.WithRetry(budget), stream.WithStartupWatch(time.Minute)))(t)
			t.Cleanup(s.Close)
			done := make(chan error, 1)
			go func() { done <- call(t.Context(), s, s.Attach(q.ID(), q.RunID())) }()
			select {
			case err := <-done:
				t.Fatalf("returned before the server died: %v", err)
			case <-time.After(2 * time.Second):
			}
			p.kill()
			died := time.Now()
			select {
			case err := <-done:
				if !errors.Is(err, stream.ErrUnreachable) {
					t.Errorf("got %v, want ErrUnreachable", err)
				}
				if took := time.Since(died); took > budget+2*time.Second {
					t.Errorf("noticed after %v, with a budget of %v", took, budget)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("no answer 30 s after the server died")
			}
		})
	}
}

func TestBrokenConnectionIsMadeAgain(t *testing.T) {
	t.Parallel()
	id := uuid.NewString()
	keeper := connectAs(t, id)
	q := must(keeper.WriteStream(rate(t, keeper)).Format("noop").Start(t.Context()))(t)
	p := newProxy(t)
	s := must(stream.Connect(t.Context(), p.remote(id)))(t)
	t.Cleanup(s.Close)
	attached := s.Attach(q.ID(), q.RunID())
	done := make(chan error, 1)
	go func() {
		_, err := attached.AwaitTermination(t.Context(), 6*time.Second)
		done <- err
	}()
	for range 5 {
		time.Sleep(500 * time.Millisecond)
		p.cut()
		if active, err := attached.IsActive(t.Context()); err != nil || !active {
			t.Fatalf("after a cut: %v, %v", active, err)
		}
	}
	if err := <-done; err != nil {
		t.Errorf("waiting over the cuts: %v", err)
	}
}

// TestExpiredSessionIsReported opens so many sessions that the server evicts
// the first. As that ends every other session on the server too, it only runs
// when asked for.
func TestExpiredSessionIsReported(t *testing.T) {
	if os.Getenv("SPARK_TEST_EVICTS_SESSIONS") == "" {
		t.Skip("set SPARK_TEST_EVICTS_SESSIONS=1 on a server that nobody else uses: it ends all its sessions")
	}
	remote := os.Getenv("SPARK_REMOTE")
	id := uuid.NewString()
	ctx := t.Context()
	checkpoint, in, out := t.TempDir(), folder(t, map[string]string{"1": "a"}), t.TempDir()
	s := must(stream.Connect(ctx, remote+"/;user_id=stream_test;session_id="+id))(t)
	start := func(s *stream.Session) *stream.Query {
		df := must(s.ReadStream().Text(ctx, in))(t)
		return must(s.WriteStream(df).Format("text").Option("checkpointLocation", checkpoint).QueryName("kept").Start(ctx, out))(t)
	}
	q := start(s)
	if err := s.CreateTempView(ctx, must(s.SQL(ctx, "SELECT 1"))(t), "kept_view"); err != nil {
		t.Fatal(err)
	}
	if err := q.ProcessAllAvailable(ctx); err != nil {
		t.Fatal(err)
	}
	// The server keeps its 100 in several parts, each with a share of them: it takes
	// more to push one out for certain.
	for range 300 {
		other := must(stream.Connect(ctx, remote))(t)
		other.Close()
	}
	calls := map[string]func() error{
		"Status":           func() error { _, err := q.Status(ctx); return err },
		"AwaitTermination": func() error { _, err := q.AwaitTermination(ctx, time.Second); return err },
		"Active":           func() error { _, err := s.Streams().Active(ctx); return err },
		"SQL":              func() error { _, err := s.SQL(ctx, "SELECT * FROM kept_view"); return err },
	}
	for label, call := range calls {
		if err := call(); !errors.Is(err, stream.ErrSessionExpired) {
			t.Errorf("%s: %v, want ErrSessionExpired", label, err)
		}
	}
	s.Close()
	// The same ids, and the query goes on from its checkpoint.
	again := connectAs(t, id)
	if err := os.WriteFile(in+"/2", []byte("b"), 0o644); err != nil {
		t.Fatal(err)
	}
	restarted := start(again)
	if err := restarted.ProcessAllAvailable(ctx); err != nil {
		t.Fatal(err)
	}
	if restarted.ID() != q.ID() {
		t.Errorf("the query has id %s, want that of its checkpoint, %s", restarted.ID(), q.ID())
	}
	equal(t, "rows", rows(t, again, "SELECT * FROM text.`"+out+"`"), []string{"a", "b"})
}
