package web

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"example.com/bookstore/producer/catalogue"
	"example.com/bookstore/schema"
)

type bookPage struct {
	layout
	Book    catalogue.Book
	Shelf   catalogue.Shelf
	More    []catalogue.Book // of the same shelf
	EventID string           // of the purchase that the page's form makes
}

// maxMore is how many other books of its shelf a book's page shows.
const maxMore = 6

// book shows one book. The page holds the id of the purchase that its form makes, so
// that sending the form twice is one purchase; for another one it is asked for anew.
func (s *Server) book(c echo.Context) error {
	b, ok := catalogue.ByID(c.Param("id"))
	if !ok {
		return &Problem{Status: http.StatusNotFound, Detail: "There is no such book here."}
	}
	shelf, _ := catalogue.ShelfByID(b.Shelf)
	newVisitor(c).id("")
	return s.show(c, http.StatusOK, "book.html", bookPage{
		layout: layout{Title: b.Title + " by " + b.Author + " – Bookstore", Section: "shelves", Scripts: scripts},
		Book:   b, Shelf: shelf, More: neighbours(shelf.Books, b, maxMore), EventID: schema.NewEventID(),
	})
}

// neighbours returns up to n books that follow b on its shelf, which is a ring.
func neighbours(shelf []catalogue.Book, b catalogue.Book, n int) []catalogue.Book {
	at := slices.Index(shelf, b)
	others := slices.Concat(shelf[at+1:], shelf[:at])
	return others[:min(n, len(others))]
}
