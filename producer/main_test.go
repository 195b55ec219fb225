package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/bookstore/producer/internal/synclog"
	"example.com/bookstore/producer/spool"
	"example.com/bookstore/schema/kafkaclient"
)

// opening is a log that tells the address at which the store has opened.
type opening struct {
	synclog.Buffer
	url chan string
}

var openURL = regexp.MustCompile(`the store is open.* url=(\S+)`)

func newOpening() *opening { return &opening{url: make(chan string, 1)} }

func (o *opening) Write(p []byte) (int, error) {
	n, err := o.Buffer.Write(p)
	if match := openURL.FindSubmatch(p); match != nil {
		o.url <- string(match[1])
	}
	return n, err
}

func (o *opening) wait(t testing.TB) string {
	t.Helper()
	select {
	case url := <-o.url:
		return url
	case <-time.After(30 * time.Second):
		t.Fatalf("the store has not opened:\n%s", o)
		return ""
	}
}

func testConfig(t *testing.T) *Config {
	t.Helper()
	return &Config{
		SpoolDir: t.TempDir(), SpoolAfter: 100 * time.Millisecond, SpoolLimit: 64 << 20,
		Addr: "127.0.0.1:0", Kafka: kafkaclient.Config{BootstrapServers: "127.0.0.1:1"}, KafkaTopic: "events", // port 1 answers nobody
		DeliveryTimeout: time.Second, QueueLimit: 10, DrainTimeout: 10 * time.Second,
		Live: true, CassandraHosts: []string{"127.0.0.1"}, CassandraPort: 1,
	}
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	return request(t, http.MethodGet, url, "")
}

func request(t *testing.T, method, url, send string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(send))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(content)
}

func TestStoreSpoolsWithoutBrokers(t *testing.T) {
	cfg := testConfig(t)
	for runs := 1; runs <= 2; runs++ {
		ctx, cancel := context.WithCancel(t.Context())
		log := newOpening()
		ended := make(chan error, 1)
		go func() { ended <- run(ctx, cfg, slog.New(slog.NewTextHandler(log, nil))) }()
		url := log.wait(t)

		for _, path := range []string{"/healthz", "/readyz"} {
			if status, body := get(t, url+path); status != http.StatusOK {
				t.Errorf("%s = %d %s, want 200 since the spool takes events", path, status, body)
			}
		}
		if status, body := request(t, http.MethodPost, url+"/events", anEvent); status != http.StatusAccepted {
			t.Errorf("an event for the spool was answered %d %s, want 202", status, body)
		}

		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run = %v, want nil after the context ended", err)
		}
		if _, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://")); err == nil {
			t.Error("the store still listens")
		}
		if want := fmt.Sprintf("events=%d spool=%s", runs, cfg.spoolDir()); !strings.Contains(log.String(), want) {
			t.Errorf("the log does not tell what stays in the spool, %s:\n%s", want, log)
		}
	}
}

const anEvent = `{"event_type":"purchase","book_id":"dracula"}`

func TestStoreOpensWithoutKafkaAndCassandra(t *testing.T) {
	cfg := testConfig(t)
	cfg.SpoolLimit, cfg.DeliveryTimeout = 0, 300*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	log := newOpening()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, cfg, slog.New(slog.NewTextHandler(log, nil))) }()
	url := log.wait(t)
	if status, body := get(t, url+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "no broker answered") {
		t.Errorf("/readyz = %d %s, want 503 and why", status, body)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		status, body := get(t, url+"/live")
		if status == http.StatusOK && strings.Contains(body, "Kafka cannot be read") && strings.Contains(body, "Cassandra cannot be read") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("/live = %d, want that neither Kafka nor Cassandra can be read:\n%s", status, body)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if status, _ := request(t, http.MethodPost, url+"/events", anEvent); status != http.StatusServiceUnavailable {
		t.Errorf("an event was answered %d, want 503", status)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("run = %v, want nil after the context ended", err)
	}
}

func TestTakenSpool(t *testing.T) {
	cfg := testConfig(t)
	disk, err := spool.Open(spool.Config{Dir: cfg.spoolDir(), Limit: int64(cfg.SpoolLimit)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = disk.Close() })
	err = run(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "locking the spool "+cfg.spoolDir()) || !strings.Contains(err.Error(), "--spool-dir") {
		t.Errorf("run = %v, want the folder and what to do", err)
	}
}

func TestTakenPort(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	cfg := testConfig(t)
	cfg.Addr = l.Addr().String()
	want := "listening on " + cfg.Addr + ": another program has this port; stop it or choose another with --addr"
	if err := run(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestDrainDelayKeepsTheStoreOpen(t *testing.T) {
	cfg := testConfig(t)
	// Several times what /readyz takes if it was asked just before the store began to stop:
	// half a second, as there is no broker that answers.
	cfg.DrainDelay = 3 * time.Second
	ctx, cancel := context.WithCancel(t.Context())
	log := newOpening()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, cfg, slog.New(slog.NewTextHandler(log, nil))) }()
	url := log.wait(t)
	cancel()
	deadline := time.Now().Add(cfg.DrainDelay)
	for stopping := false; !stopping; {
		if time.Now().After(deadline) {
			t.Fatal("/readyz has not told that the store is stopping")
		}
		_, body := get(t, url+"/readyz")
		stopping = strings.Contains(body, "The store is stopping.")
	}
	if err := <-ended; err != nil {
		t.Errorf("run = %v", err)
	}
}
