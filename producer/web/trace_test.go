package web

import (
	"net/http"
	"testing"

	"example.com/bookstore/schema"
)

func TestTraceParent(t *testing.T) {
	const valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	p := &fakePublisher{}
	s := newServer(t, p)
	send(s, http.MethodPost, "/events", "["+good+","+good+"]", schema.TraceHeader, valid)
	for _, r := range p.records {
		if r.TraceParent != valid {
			t.Errorf("traceparent = %q, want the request's %q", r.TraceParent, valid)
		}
	}
	seen := map[string]bool{}
	for _, sent := range []string{
		"", "x", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
		"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", valid + "\n",
	} {
		got := traceParent(http.Header{"Traceparent": {sent}})
		if got == sent || !traceForm.MatchString(got) || seen[got] {
			t.Errorf("traceparent %q became %q, want a new one", sent, got)
		}
		seen[got] = true
	}
}
