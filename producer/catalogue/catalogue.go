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
	Shelf       string `json:"shelf"`       // name of the genre, one of Shelves
	PriceCents  int    `json:"price_cents"` // in euro cents
	Description string `json:"description"` // plain text, three to five sentences
	Palette     string `json:"palette"`     // colours of the cover, a class of the style sheet
	Ornament    string `json:"ornament"`    // drawing on the cover, a symbol of the page
}

// Price is PriceCents as it is shown, such as "€9.90".
func (b Book) Price() string {
	return fmt.Sprintf("€%d.%02d", b.PriceCents/100, b.PriceCents%100)
}

// Shelf is the books of one genre.
type Shelf struct {
	ID    string // stable, for links within the page
	Name  string
	Books []Book // in the order of the catalogue
}

var books, byID = load()

// load panics on a malformed file: it is a part of the program, which the tests
// have read.
func load() ([]Book, map[string]Book) {
	var books []Book
	if err := json.Unmarshal(file, &books); err != nil {
		panic(fmt.Errorf("reading the embedded catalogue: %w", err))
	}
	byID := make(map[string]Book, len(books))
	for _, b := range books {
		byID[b.ID] = b
	}
	return books, byID
}

// Books returns every book, in the order in which the page shows them.
func Books() []Book { return slices.Clone(books) }

// ByID returns the book with the given id.
func ByID(id string) (Book, bool) {
	b, ok := byID[id]
	return b, ok
}

// Shelves returns the books by genre, in the order of the catalogue.
func Shelves() []Shelf {
	var shelves []Shelf
	for _, b := range books {
		i := slices.IndexFunc(shelves, func(s Shelf) bool { return s.Name == b.Shelf })
		if i < 0 {
			i = len(shelves)
			shelves = append(shelves, Shelf{ID: fmt.Sprintf("shelf-%d", i+1), Name: b.Shelf})
		}
		shelves[i].Books = append(shelves[i].Books, b)
	}
	return shelves
}
