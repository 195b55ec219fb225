package web

import (
	"net/http"
	"strings"
	"testing"
)

func TestEchosOwnErrorsAreProblems(t *testing.T) {
	s := newServer(t, &fakePublisher{})
	for _, test := range []struct {
		name, method, path string
		status             int
		allow, want        string
	}{
		{
			"no such address", http.MethodGet, "/nowhere", 404, "",
			`{"type":"about:blank","title":"Not Found","status":404,"detail":"There is nothing at this address.","instance":"/nowhere"}`,
		},
		{
			"no such asset", http.MethodGet, "/assets/nothing.js", 404, "",
			`{"type":"about:blank","title":"Not Found","status":404,"detail":"There is nothing at this address.","instance":"/assets/nothing.js"}`,
		},
		{
			"wrong method", http.MethodGet, "/events", 405, "OPTIONS, POST",
			`{"type":"about:blank","title":"Method Not Allowed","status":405,"detail":"GET is not possible here; use OPTIONS, POST.","instance":"/events"}`,
		},
		{
			"wrong method of the page", http.MethodPut, "/", 405, "OPTIONS, GET, HEAD",
			`{"type":"about:blank","title":"Method Not Allowed","status":405,"detail":"PUT is not possible here; use OPTIONS, GET, HEAD.","instance":"/"}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := send(s, test.method, test.path, "")
			if w.Code != test.status {
				t.Errorf("status = %d, want %d", w.Code, test.status)
			}
			if got := w.Header().Get("Content-Type"); got != problemJSON {
				t.Errorf("content type = %q, want %q", got, problemJSON)
			}
			if got := w.Header().Get("Allow"); got != test.allow {
				t.Errorf("Allow = %q, want %q", got, test.allow)
			}
			sameJSON(t, w.Body.String(), test.want)
		})
	}
}

func TestErrorsForPeopleArePages(t *testing.T) {
	s := newServer(t, &fakePublisher{})
	html := []string{"Accept", "text/html,application/xhtml+xml,*/*;q=0.8"}
	w := send(s, http.MethodGet, "/nowhere", "", html...)
	if w.Code != 404 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") || !strings.Contains(w.Body.String(), "There is nothing at this address.") {
		t.Errorf("got %d %s\n%s", w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	if w := send(s, http.MethodGet, "/events", "", html...); w.Header().Get("Content-Type") != problemJSON {
		t.Errorf("an address of the API answers a browser with %q, want %q", w.Header().Get("Content-Type"), problemJSON)
	}
}
