package catalogue

import (
	"cmp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/runes"
	"golang.org/x/text/transform"
	"golang.org/x/text/unicode/norm"
)

// Search returns the books of which each word of the query begins or stands within
// a word of the title or the author's name, the closest first. Case, accents and
// punctuation make no difference: "bronte" finds Charlotte Brontë. A query without
// letters and digits finds nothing.
func Search(query string) []Book {
	terms := words(query)
	if len(terms) == 0 {
		return nil
	}
	type hit struct {
		book  Book
		score int
	}
	var hits []hit
	for _, b := range books {
		if score := score(terms, words(b.Title), words(b.Author)); score > 0 {
			hits = append(hits, hit{b, score})
		}
	}
	slices.SortStableFunc(hits, func(a, b hit) int { return cmp.Compare(b.score, a.score) })
	found := make([]Book, len(hits))
	for i, h := range hits {
		found[i] = h.book
	}
	return found
}

// score is 0 if one of the terms is nowhere, and else the higher the better they fit.
func score(terms, title, author []string) (sum int) {
	for _, term := range terms {
		best := 0
		for _, name := range slices.Concat(title, author) {
			switch {
			case name == term:
				best = max(best, 3)
			case strings.HasPrefix(name, term):
				best = max(best, 2)
			case len(term) >= 3 && strings.Contains(name, term):
				best = max(best, 1)
			}
		}
		if best == 0 {
			return 0
		}
		sum += best
	}
	if slices.Contains(title, terms[0]) {
		sum++ // a title before an author of the same name
	}
	return sum
}

// Suggest returns a word of a title or an author's name that is spelled nearly as a
// word of the query which nothing matches, or "" if there is none.
func Suggest(query string) string {
	for _, term := range words(query) {
		if len(term) < 4 || len(Search(term)) > 0 {
			continue
		}
		limit := 1 + len(term)/5
		best, nearest := limit+1, ""
		for _, b := range books {
			for _, name := range strings.FieldsFunc(b.Title+" "+b.Author, separates) {
				if d := distance(term, fold(name)); d < best && len(name) > 3 {
					best, nearest = d, name
				}
			}
		}
		if nearest != "" {
			return nearest
		}
	}
	return ""
}

// words takes a text apart into folded words. An apostrophe is part of its word and
// left out, so that "alices" finds Alice's.
func words(text string) []string {
	return strings.FieldsFunc(fold(text), separates)
}

func separates(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !isApostrophe(r) }

func isApostrophe(r rune) bool { return r == '\'' || r == '’' }

// ligatures are letters that no decomposition takes apart.
var ligatures = strings.NewReplacer("æ", "ae", "œ", "oe", "ø", "o", "ß", "ss", "ł", "l", "đ", "d", "ı", "i")

// fold makes texts equal that differ in case, accents and apostrophes alone.
func fold(text string) string {
	marks := transform.Chain(norm.NFKD, runes.Remove(runes.In(unicode.Mn)), runes.Remove(runes.Predicate(isApostrophe)))
	plain, _, err := transform.String(marks, strings.ToLower(text))
	if err != nil { // not UTF-8, which no title is
		return ""
	}
	return ligatures.Replace(plain)
}

// distance is how many letters must be changed, inserted or left out to make b of a.
func distance(a, b string) int {
	previous := make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			row[j+1] = previous[j]
			if a[i] != b[j] {
				row[j+1] = 1 + min(previous[j], previous[j+1], row[j])
			}
		}
		previous = row
	}
	return previous[len(b)]
}
