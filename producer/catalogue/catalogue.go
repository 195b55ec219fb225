// Package catalogue holds the books that the store sells. It stands at the very
// start of the data's path: every event is about one of these books, and the
// store refuses an event about any other.
package catalogue

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
)

//go:embed books.json
var file []byte

// Book is one title of the catalogue.
type Book struct {
	ID          string `json:"id"` // stable, made of a-z, 0-9 and '-'; an event's BookID
	Title       string `json:"title"`
	Author      string `json:"author"`
	Year        int    `json:"year"`        // first publication as a book
	Language    string `json:"language"`    // that it was written in
	Shelf       string `json:"shelf"`       // ID of its Shelf
	PriceCents  int    `json:"price_cents"` // in euro cents
	Palette     string `json:"palette"`     // colours of the cover
	Motif       string `json:"motif"`       // drawing on the cover, where the shelf's design has one
	Description string `json:"description"` // plain text, three to five sentences
}

// Price is PriceCents as it is shown, such as "€9.90".
func (b Book) Price() string {
	return fmt.Sprintf("€%d.%02d", b.PriceCents/100, b.PriceCents%100)
}

// Shelf is the books of one genre.
type Shelf struct {
	ID     string `json:"id"` // stable, of the same form as a book's; part of the shelf's address
	Name   string `json:"name"`
	About  string `json:"about"`  // a sentence or two
	Design string `json:"design"` // that its books' covers share
	Books  []Book `json:"-"`      // in the order of the catalogue
}

var (
	shelves []Shelf
	books   []Book // shelf by shelf
	byID    = map[string]Book{}
)

// init panics on a malformed file: it is a part of the program, which the tests
// have read.
func init() {
	var content struct {
		Shelves []Shelf `json:"shelves"`
		Books   []Book  `json:"books"`
	}
	if err := json.Unmarshal(file, &content); err != nil {
		panic(fmt.Errorf("reading the embedded catalogue: %w", err))
	}
	shelves, books = content.Shelves, content.Books
	for _, b := range books {
		byID[b.ID] = b
		if i := slices.IndexFunc(shelves, func(s Shelf) bool { return s.ID == b.Shelf }); i >= 0 {
			shelves[i].Books = append(shelves[i].Books, b)
		}
	}
}

// Books returns every book, in the order in which the page shows them.
func Books() []Book { return slices.Clone(books) }

// ByID returns the book with the given id.
func ByID(id string) (Book, bool) {
	b, ok := byID[id]
	return b, ok
}

// Shelves returns the shelves with their books, in the order in which the page
// shows them.
func Shelves() []Shelf { return slices.Clone(shelves) }

// ShelfByID returns the shelf with the given id.
func ShelfByID(id string) (Shelf, bool) {
	i := slices.IndexFunc(shelves, func(s Shelf) bool { return s.ID == id })
	if i < 0 {
		return Shelf{}, false
	}
	return shelves[i], true
}
