package catalogue

import (
	"slices"
	"testing"
)

func TestSearch(t *testing.T) {
	for query, want := range map[string][]string{
		"bronte":              {"jane-eyre", "wuthering-heights"},
		"BRONTË":              {"jane-eyre", "wuthering-heights"},
		"soseki":              {"kokoro"},
		"bras cubas":          {"the-posthumous-memoirs-of-bras-cubas"},
		"alices":              {"alices-adventures-in-wonderland"},
		"Alice’s Adventures":  {"alices-adventures-in-wonderland"},
		"moby dick":           {"moby-dick"},
		"moby-dick":           {"moby-dick"},
		"austen prejudice":    {"pride-and-prejudice"},
		"  emily   wuthering": {"wuthering-heights"},
		"frankenst":           {"frankenstein"},
		"quix":                {"don-quixote"},
		"ixote":               {"don-quixote"}, // within a word
		"jane":                {"jane-eyre", "pride-and-prejudice"},
		"shelley austen":      nil, // each word must be there
		"x-ray":               nil,
		"":                    nil,
		" ?! ":                nil,
		"\xff":                nil,
	} {
		var got []string
		for _, b := range Search(query) {
			got = append(got, b.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("Search(%q) = %v, want %v", query, got, want)
		}
	}
}

func TestSuggest(t *testing.T) {
	for query, want := range map[string]string{
		"dostoyevsky":  "Dostoevsky",
		"brnote":       "Brontë",
		"jane austin":  "Austen",
		"frankenstien": "Frankenstein",
		"dracula":      "", // there is such a book
		"hydroponics":  "",
		"zz":           "",
		"":             "",
	} {
		if got := Suggest(query); got != want {
			t.Errorf("Suggest(%q) = %q, want %q", query, got, want)
		}
	}
}
