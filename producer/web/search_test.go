package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestSearch(t *testing.T) {
	s := newServer(t, &fakePublisher{})
	long := strings.Repeat("é", 200)
	for _, test := range []struct {
		query string
		books []string // on the page, in this order
		says  []string
	}{
		{"bronte", []string{"jane-eyre", "wuthering-heights"}, []string{"<h1>2 books for “bronte”</h1>", `value="bronte"`}},
		{" Sōseki ", []string{"kokoro"}, []string{"<h1>1 book for “Sōseki”</h1>"}},
		{"dostoyevsky", nil, []string{"<h1>No book for “dostoyevsky”</h1>", `<a href="/search?q=Dostoevsky">Dostoevsky</a>?`}},
		{"hydroponics", nil, []string{"Nothing here has that", `href="/shelves/novels"`}},
		{"", nil, []string{"<h1>Search</h1>", `href="/shelves/novels"`}},
		{`<script>"`, nil, []string{"<h1>No book for “&lt;script&gt;&#34;”</h1>", `value="&lt;script&gt;&#34;"`}},
		{"\xff\xfe", nil, []string{"<h1>Search</h1>"}},
		{long, nil, []string{"“" + long[:2*maxQuery] + "”"}},
	} {
		w := send(s, http.MethodGet, "/search?q="+url.QueryEscape(test.query), "")
		page := w.Body.String()
		if w.Code != http.StatusOK {
			t.Errorf("%q: status = %d", test.query, w.Code)
		}
		for _, want := range test.says {
			if !strings.Contains(page, want) {
				t.Errorf("%q: the page lacks %s\n%s", test.query, want, page)
			}
		}
		if got := strings.Count(page, "data-book-id="); got != len(test.books) {
			t.Errorf("%q: the page has %d books, want %v", test.query, got, test.books)
		}
		rest := page
		for _, id := range test.books {
			_, after, ok := strings.Cut(rest, `data-book-id="`+id+`"`)
			if !ok {
				t.Errorf("%q: the page lacks %s, or has it elsewhere", test.query, id)
			}
			rest = after
		}
	}
	if w := send(s, http.MethodGet, "/search", ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "<h1>Search</h1>") {
		t.Errorf("without a query: %d\n%s", w.Code, w.Body)
	}
}
