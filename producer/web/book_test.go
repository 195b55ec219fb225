package web

import (
	"html"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"example.com/bookstore/producer/catalogue"
	"example.com/bookstore/schema"
)

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([a-z_]+)" value="([^"]*)"`)

// form reads the hidden fields of the form on a page.
func form(page string) map[string]string {
	fields := map[string]string{}
	for _, m := range hiddenField.FindAllStringSubmatch(page, -1) {
		fields[m[1]] = html.UnescapeString(m[2])
	}
	return fields
}

func TestEveryBookHasAPage(t *testing.T) {
	s := newServer(t, &fakePublisher{})
	ids := map[string]bool{}
	for _, b := range catalogue.Books() {
		w := send(s, http.MethodGet, "/books/"+b.ID, "")
		page := html.UnescapeString(w.Body.String())
		if w.Code != http.StatusOK || len(w.Result().Cookies()) != 1 {
			t.Fatalf("%s: %d %v", b.ID, w.Code, w.Header())
		}
		for _, want := range []string{
			`<article class="volume" data-book-id="` + b.ID + `"`, `data-title>` + b.Title + `</h1>`, `by ` + b.Author, b.Price(),
			`<dd>` + strconv.Itoa(b.Year) + `</dd>`, b.Description, `src="/covers/` + b.ID + `.svg?v=`, `href="/shelves/` + b.Shelf + `"`,
		} {
			if !strings.Contains(page, want) {
				t.Errorf("%s: the page lacks %s", b.ID, want)
			}
		}
		fields := form(page)
		if fields["book_id"] != b.ID || !schema.ValidEventID(fields["event_id"]) || ids[fields["event_id"]] {
			t.Errorf("%s: the form has %v, want the book and an id of its own", b.ID, fields)
		}
		ids[fields["event_id"]] = true
		if got := strings.Count(page, `data-book-id="`+b.ID+`"`); got != 1 {
			t.Errorf("%s: the page has the book %d times", b.ID, got)
		}
		if got := w.Header().Get("Cache-Control"); !strings.Contains(got, "no-store") {
			t.Errorf("%s: Cache-Control = %q, but a kept page would buy the same copy again", b.ID, got)
		}
	}
}

func TestUnknownBook(t *testing.T) {
	w := send(newServer(t, &fakePublisher{}), http.MethodGet, "/books/nothing", "", "Accept", "text/html")
	if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "There is no such book here.") {
		t.Errorf("got %d\n%s", w.Code, w.Body)
	}
}

func TestNeighbours(t *testing.T) {
	shelf := []catalogue.Book{{ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "d"}}
	for id, want := range map[string]string{"a": "bc", "c": "da", "d": "ab"} {
		got := ""
		for _, b := range neighbours(shelf, catalogue.Book{ID: id}, 2) {
			got += b.ID
		}
		if got != want {
			t.Errorf("neighbours of %s = %s, want %s", id, got, want)
		}
	}
	if got := neighbours(shelf[:1], shelf[0], 2); len(got) != 0 {
		t.Errorf("a book alone has the neighbours %v", got)
	}
	if shelf[2].ID != "c" {
		t.Error("neighbours has changed the shelf")
	}
}

func TestCovers(t *testing.T) {
	s := newServer(t, &fakePublisher{})
	page := send(s, http.MethodGet, "/", "").Body.String()
	address := regexp.MustCompile(`/covers/dracula\.svg\?v=[0-9a-f]+`).FindString(page)
	w := send(s, http.MethodGet, address, "")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "image/svg+xml" ||
		!strings.Contains(w.Header().Get("Cache-Control"), "immutable") || !strings.HasPrefix(w.Body.String(), "<svg") {
		t.Errorf("%s: %d %v", address, w.Code, w.Header())
	}
	if w := send(s, http.MethodGet, "/covers/nothing.svg", ""); w.Code != http.StatusNotFound {
		t.Errorf("no such cover: %d, want 404", w.Code)
	}
}
