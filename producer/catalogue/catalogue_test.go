package catalogue

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"example.com/bookstore/schema"
)

var idForm = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func TestBooks(t *testing.T) {
	books := Books()
	if len(books) < 24 {
		t.Errorf("the catalogue has %d books, want at least 24", len(books))
	}
	ids, titles := map[string]bool{}, map[string]bool{}
	for _, b := range books {
		t.Run(b.ID, func(t *testing.T) {
			if !idForm.MatchString(b.ID) || utf8.RuneCountInString(b.ID) > schema.MaxIDLength {
				t.Errorf("id %q is no slug of at most %d characters", b.ID, schema.MaxIDLength)
			}
			if ids[b.ID] || titles[b.Title] {
				t.Errorf("the catalogue has %q twice", b.Title)
			}
			ids[b.ID], titles[b.Title] = true, true
			for field, value := range map[string]string{
				"title": b.Title, "author": b.Author, "language": b.Language, "shelf": b.Shelf,
				"description": b.Description, "palette": b.Palette,
			} {
				if strings.TrimSpace(value) == "" || value != strings.TrimSpace(value) {
					t.Errorf("%s is %q, want text without spaces around it", field, value)
				}
			}
			// Old enough for its copyright to have ended; the youngest is of 1914.
			if b.Year < 1500 || b.Year > 1914 {
				t.Errorf("year = %d, want one that is in the public domain", b.Year)
			}
			if b.PriceCents < 100 || b.PriceCents > 10000 {
				t.Errorf("price = %s, want between €1 and €100", b.Price())
			}
			if n := len(regexp.MustCompile(`[.?!](\s|$)`).FindAllString(b.Description, -1)); n < 3 || n > 5 {
				t.Errorf("the description has %d sentences, want 3 to 5", n)
			}
			if got, ok := ByID(b.ID); !ok || got != b {
				t.Errorf("ByID(%q) = %v, %v", b.ID, got, ok)
			}
		})
	}
}

func TestByIDUnknown(t *testing.T) {
	if b, ok := ByID("no-such-book"); ok {
		t.Errorf("ByID of an unknown id = %v", b)
	}
}

func TestShelfByIDUnknown(t *testing.T) {
	if s, ok := ShelfByID("no-such-shelf"); ok {
		t.Errorf("ShelfByID of an unknown id = %v", s)
	}
}

func TestShelvesHoldEveryBookOnce(t *testing.T) {
	seen := map[string]int{}
	for _, s := range Shelves() {
		if !idForm.MatchString(s.ID) || s.Name == "" || s.About == "" || s.Design == "" {
			t.Errorf("shelf %+v lacks something", s)
		}
		if got, ok := ShelfByID(s.ID); !ok || got.Name != s.Name {
			t.Errorf("ShelfByID(%q) = %v, %v", s.ID, got, ok)
		}
		if len(s.Books) < 2 {
			t.Errorf("shelf %q has %d books, want a shelf worth its name", s.Name, len(s.Books))
		}
		for _, b := range s.Books {
			seen[b.ID]++
			if b.Shelf != s.ID {
				t.Errorf("%s of shelf %q stands on %q", b.ID, b.Shelf, s.Name)
			}
		}
	}
	for _, b := range Books() {
		if seen[b.ID] != 1 {
			t.Errorf("%s stands on %d shelves, want 1", b.ID, seen[b.ID])
		}
	}
}

func TestPrice(t *testing.T) {
	if got := (Book{PriceCents: 1205}).Price(); got != "€12.05" {
		t.Errorf("price of 1205 cents = %q, want €12.05", got)
	}
}
