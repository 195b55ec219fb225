package web

import (
	"errors"
	"net/http"
	"testing"
)

func TestReadyz(t *testing.T) {
	p := &fakePublisher{}
	s := newServer(t, p)
	check := func(status int, want string) {
		t.Helper()
		w := send(s, http.MethodGet, "/readyz", "")
		if w.Code != status {
			t.Errorf("status = %d, want %d", w.Code, status)
		}
		sameJSON(t, w.Body.String(), want)
	}
	check(200, `{"status":"ready"}`)
	p.notReady = errors.New("no broker answered; start Kafka")
	check(503, `{"type":"urn:bookstore:problem:not-ready","title":"Not ready","status":503,"detail":"Events cannot be taken: no broker answered; start Kafka.","instance":"/readyz"}`)
	p.notReady, p.indirect = nil, errors.New("topic does not exist")
	check(200, `{"status":"ready","detail":"Events are taken, and wait in the spool: topic does not exist."}`)
	p.indirect = nil
	check(200, `{"status":"ready"}`)
	s.Drain()
	check(503, `{"type":"urn:bookstore:problem:not-ready","title":"Not ready","status":503,"detail":"The store is stopping.","instance":"/readyz"}`)
}
