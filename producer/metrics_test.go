package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// open runs a store until the test ends, and returns its URL.
func open(t *testing.T, cfg *Config) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log := newOpening()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, cfg, slog.New(slog.NewTextHandler(log, nil))) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Errorf("the store has not ended:\n%s", log)
		}
	})
	return log.wait(t)
}

func TestMetricsAreOnTheStoresOwnLoopbackAddress(t *testing.T) {
	cfg := testConfig(t)
	cfg.Live = false
	url := open(t, cfg)
	status, body := get(t, url+"/metrics")
	for _, name := range []string{"bookstore_store_http_requests_in_flight 1", "bookstore_store_records_in_flight 0", "bookstore_store_build_info{", "go_goroutines "} {
		if status != http.StatusOK || !strings.Contains(body, name) {
			t.Errorf("/metrics = %d, without %s", status, name)
		}
	}
}

func TestMetricsHaveAnAddressOfTheirOwnIfAsked(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(t)
	cfg.Live = false
	cfg.MetricsAddr = listener.Addr().String()
	if err := run(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "STORE_METRICS_ADDR") {
		t.Errorf("with an address that another program has: %v", err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	url := open(t, cfg)
	if status, _ := get(t, url+"/metrics"); status != http.StatusNotFound {
		t.Errorf("/metrics on the store's own address = %d, want 404", status)
	}
	if status, body := get(t, "http://"+cfg.MetricsAddr+"/metrics"); status != http.StatusOK || !strings.Contains(body, "bookstore_store_build_info{") {
		t.Errorf("/metrics at its own address = %d", status)
	}
}
