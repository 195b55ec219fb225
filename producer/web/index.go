package web

import (
	"fmt"

	"github.com/labstack/echo/v4"

	"example.com/bookstore/producer/catalogue"
)

// scripts of the pages that show books.
var scripts = []string{"store.js"}

type indexPage struct {
	layout
	Shelves  []catalogue.Shelf
	Featured []catalogue.Book // one of each shelf, for the page's head
	Count    int              // of books
}

// renderListings renders the pages that need nothing of a request.
func (p *pages) renderListings() error {
	shelves := catalogue.Shelves()
	index := indexPage{
		layout:  layout{Title: "Bookstore", Section: "home", Scripts: scripts},
		Shelves: shelves, Count: len(catalogue.Books()),
	}
	for _, shelf := range shelves {
		if len(shelf.Books) > 0 {
			index.Featured = append(index.Featured, shelf.Books[0])
		}
	}
	var err error
	html := func(name string, data any) file {
		var body []byte
		if err == nil {
			body, err = p.render(name, data)
		}
		return newFile(body, echo.MIMETextHTMLCharsetUTF8)
	}
	p.index = html("index.html", index)
	index.Title, index.Section = "Shelves – Bookstore", "shelves"
	p.shelves = html("shelves.html", index)
	for _, shelf := range shelves {
		p.shelf[shelf.ID] = html("shelf.html", shelfPage{
			layout{Title: shelf.Name + " – Bookstore", Section: "shelves", Scripts: scripts}, shelf, shelves,
		})
	}
	if err != nil {
		return fmt.Errorf("rendering the catalogue: %w", err)
	}
	return nil
}

// index shows the whole catalogue, shelf by shelf.
func (s *Server) index(c echo.Context) error { return listing(c, s.pages.index) }
