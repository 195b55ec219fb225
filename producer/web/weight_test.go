package web

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"regexp"
	"testing"
)

var resource = regexp.MustCompile(`(?:src|href)="(/(?:assets|covers)/[^"]+)"`)

// The first page, with everything that it shows, is under 100 KB on the wire: style
// sheet, script, icon and every cover, and the headers of all of them.
func TestFirstPageIsLight(t *testing.T) {
	server := httptest.NewServer(newServer(t, &fakePublisher{}))
	defer server.Close()
	var wire, content, requests int
	get := func(path string) []byte {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept-Encoding", "gzip") // so that the client does not unpack it
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		sent, err := httputil.DumpResponse(response, true)
		if err != nil || response.StatusCode != http.StatusOK || response.Header.Get("Content-Encoding") != "gzip" {
			t.Fatalf("%s: %s %v (%v)", path, response.Status, response.Header, err)
		}
		unzip, err := gzip.NewReader(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(unzip)
		if err != nil {
			t.Fatal(err)
		}
		wire, content, requests = wire+len(sent), content+len(body), requests+1
		return body
	}
	page := get("/")
	seen := map[string]bool{}
	for _, match := range resource.FindAllSubmatch(page, -1) {
		if path := string(match[1]); !seen[path] {
			seen[path] = true
			get(path)
		}
	}
	t.Logf("%d answers: %d bytes on the wire, %d before compression", requests, wire, content)
	if wire >= 100_000 {
		t.Errorf("the first page has %d bytes on the wire, want under 100 KB", wire)
	}
}

func BenchmarkPages(b *testing.B) {
	s, err := New(Config{Publisher: &fakePublisher{}})
	if err != nil {
		b.Fatal(err)
	}
	for _, path := range []string{"/", "/shelves/novels", "/search?q=bronte", "/search?q=dostoyevsky", "/books/dracula", "/covers/dracula.svg"} {
		b.Run(path, func(b *testing.B) {
			for b.Loop() {
				if w := send(s, http.MethodGet, path, "", "Accept-Encoding", "gzip"); w.Code != http.StatusOK {
					b.Fatal(w.Code)
				}
			}
		})
	}
}
