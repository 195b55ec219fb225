package web

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"example.com/bookstore/producer/catalogue"
)

type shelfPage struct {
	layout
	Shelf   catalogue.Shelf
	Shelves []catalogue.Shelf // all of them
}

// shelves shows what shelves there are.
func (s *Server) shelves(c echo.Context) error { return listing(c, s.pages.shelves) }

// shelf shows the books of one shelf.
func (s *Server) shelf(c echo.Context) error {
	f, ok := s.pages.shelf[c.Param("id")]
	if !ok {
		return &Problem{Status: http.StatusNotFound, Detail: "There is no such shelf."}
	}
	return listing(c, f)
}
