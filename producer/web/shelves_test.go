package web

import (
	"net/http"
	"strings"
	"testing"

	"example.com/bookstore/producer/catalogue"
)

func TestShelves(t *testing.T) {
	s := newServer(t, &fakePublisher{})
	overview := send(s, http.MethodGet, "/shelves", "").Body.String()
	for _, shelf := range catalogue.Shelves() {
		if !strings.Contains(overview, `<a href="/shelves/`+shelf.ID+`">`+shelf.Name+`</a>`) {
			t.Errorf("/shelves does not lead to %s", shelf.ID)
		}
		w := send(s, http.MethodGet, "/shelves/"+shelf.ID, "")
		page := w.Body.String()
		if w.Code != http.StatusOK || !strings.Contains(page, "<h1>"+shelf.Name+"</h1>") || len(w.Result().Cookies()) != 1 {
			t.Errorf("%s: %d %v\n%s", shelf.ID, w.Code, w.Header(), page)
		}
		for _, b := range catalogue.Books() {
			if got := strings.Contains(page, `data-book-id="`+b.ID+`"`); got != (b.Shelf == shelf.ID) {
				t.Errorf("%s stands on shelf %s: %v", b.ID, shelf.ID, got)
			}
		}
		if w := send(s, http.MethodGet, "/shelves/"+shelf.ID, "", "If-None-Match", w.Header().Get("ETag")); w.Code != http.StatusNotModified {
			t.Errorf("%s again = %d, want 304", shelf.ID, w.Code)
		}
	}
}

func TestUnknownShelf(t *testing.T) {
	w := send(newServer(t, &fakePublisher{}), http.MethodGet, "/shelves/cookery", "", "Accept", "text/html")
	if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "There is no such shelf.") {
		t.Errorf("got %d\n%s", w.Code, w.Body)
	}
}
