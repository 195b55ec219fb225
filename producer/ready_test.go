package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAskReady(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte("why"))
	}))
	defer server.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(server.URL, "http://"), ":")
	for _, addr := range []string{"127.0.0.1:" + port, ":" + port, "0.0.0.0:" + port} {
		if err := askReady(t.Context(), addr); err != nil {
			t.Errorf("askReady(%s) of a ready store: %v", addr, err)
		}
	}
	status = http.StatusServiceUnavailable
	if err := askReady(t.Context(), ":"+port); err == nil || !strings.Contains(err.Error(), "503 Service Unavailable: why") {
		t.Errorf("askReady of a store that is not ready: %v", err)
	}
	server.Close()
	if err := askReady(t.Context(), ":"+port); err == nil {
		t.Error("askReady of no store: no error")
	}
}
