package web

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"example.com/bookstore/producer/catalogue"
)

func TestIndexShowsEveryBook(t *testing.T) {
	s := newServer(t, &fakePublisher{})
	w := send(s, http.MethodGet, "/", "")
	page := w.Body.String()
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		t.Fatalf("got %d %s", w.Code, w.Header().Get("Content-Type"))
	}
	for _, b := range catalogue.Books() {
		for _, hook := range []string{
			`data-book-id="` + b.ID + `"`, `id="title-` + b.ID + `"`, `href="/books/` + b.ID + `"`, b.Price(),
			`src="/covers/` + b.ID + `.svg?v=`,
		} {
			if !strings.Contains(page, hook) {
				t.Errorf("%s: the page lacks %s", b.ID, hook)
			}
		}
	}
	for _, shelf := range catalogue.Shelves() {
		if !strings.Contains(page, `href="/shelves/`+shelf.ID+`"`) {
			t.Errorf("the page does not lead to shelf %s", shelf.ID)
		}
	}
	for hook, want := range map[string]int{
		`data-action="open"`: len(catalogue.Books()), `data-action="buy"`: len(catalogue.Books()), `data-status`: 1,
	} {
		if got := strings.Count(page, hook); got != want {
			t.Errorf("the page has %d of %s, want %d", got, hook, want)
		}
	}
}

// What the security policy forbids would silently not work.
func TestPagesKeepToTheSecurityPolicy(t *testing.T) {
	s := newServer(t, &fakePublisher{})
	for _, path := range []string{"/", "/nowhere"} {
		page := send(s, http.MethodGet, path, "", "Accept", "text/html").Body.String()
		for _, forbidden := range []string{`<style`, `style="`, `<script>`, `javascript:`, `http://`, `https://`, ` onclick`} {
			if strings.Contains(page, forbidden) {
				t.Errorf("%s contains %s", path, forbidden)
			}
		}
	}
}

func TestAssetsArePresentAndCached(t *testing.T) {
	s := newServer(t, &fakePublisher{})
	page := send(s, http.MethodGet, "/", "").Body.String()
	links := regexp.MustCompile(`(?:src|href)="(/assets/[^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(links) != 3 {
		t.Fatalf("the page links to %v, want a style sheet, a script and an icon", links)
	}
	for _, link := range links {
		w := send(s, http.MethodGet, link[1], "")
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") == "" || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", link[1], w.Code, w.Header())
		}
		stale := send(s, http.MethodGet, strings.Split(link[1], "?")[0], "")
		if got := stale.Header().Get("Cache-Control"); got != "no-cache" {
			t.Errorf("%s without its hash: Cache-Control = %q, want no-cache", link[1], got)
		}
	}
}

func TestIndexRevalidates(t *testing.T) {
	s := newServer(t, &fakePublisher{})
	tag := send(s, http.MethodGet, "/", "").Header().Get("ETag")
	w := send(s, http.MethodGet, "/", "", "If-None-Match", tag, "Accept-Encoding", "gzip")
	if w.Code != http.StatusNotModified || w.Body.Len() != 0 {
		t.Errorf("got %d with %d bytes, want 304 without a body", w.Code, w.Body.Len())
	}
	if w := send(s, http.MethodHead, "/", ""); w.Code != http.StatusOK {
		t.Errorf("HEAD = %d, want 200", w.Code)
	}
}

func TestPagesAreCompressed(t *testing.T) {
	w := send(newServer(t, &fakePublisher{}), http.MethodGet, "/", "", "Accept-Encoding", "gzip")
	if w.Header().Get("Content-Encoding") != "gzip" || w.Body.Len() == 0 {
		t.Errorf("got %v", w.Header())
	}
}
