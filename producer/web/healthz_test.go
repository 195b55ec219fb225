package web

import (
	"errors"
	"net/http"
	"testing"
)

func TestHealthz(t *testing.T) {
	s := newServer(t, &fakePublisher{notReady: errors.New("no brokers")})
	s.Drain()
	w := send(s, http.MethodGet, "/healthz", "")
	if w.Code != http.StatusOK {
		t.Errorf("status = %d, want 200 whatever the brokers do", w.Code)
	}
	sameJSON(t, w.Body.String(), `{"status":"alive"}`)
}
