package web

import (
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"example.com/bookstore/producer/catalogue"
)

// maxQuery is how many characters of a query count, as many as the field takes.
const maxQuery = 100

type searchPage struct {
	layout
	Books   []catalogue.Book
	Suggest string // a word that may have been meant, or ""
	Shelves []catalogue.Shelf
}

// search shows the books that the parameter q finds. Without q it asks for one.
func (s *Server) search(c echo.Context) error {
	query := strings.TrimSpace(strings.ToValidUTF8(c.QueryParam("q"), ""))
	if utf8.RuneCountInString(query) > maxQuery {
		query = string([]rune(query)[:maxQuery])
	}
	page := searchPage{
		layout: layout{Title: "Search – Bookstore", Query: query, Scripts: scripts},
		Books:  catalogue.Search(query), Shelves: catalogue.Shelves(),
	}
	if query != "" {
		page.Title = query + " – Search – Bookstore"
	}
	if len(page.Books) == 0 {
		page.Suggest = catalogue.Suggest(query)
	}
	newVisitor(c).id("")
	return s.show(c, http.StatusOK, "search.html", page)
}
