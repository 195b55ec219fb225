package cover

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"

	"example.com/bookstore/producer/catalogue"
)

func TestEveryBookHasACover(t *testing.T) {
	drawn := map[string]string{}
	for _, shelf := range catalogue.Shelves() {
		for _, b := range shelf.Books {
			t.Run(b.ID, func(t *testing.T) {
				svg, err := Draw(b, shelf.Design)
				if err != nil {
					t.Fatal(err)
				}
				if again, err := Draw(b, shelf.Design); err != nil || !bytes.Equal(svg, again) {
					t.Errorf("the cover is another one when it is drawn again (%v)", err)
				}
				if other, ok := drawn[string(svg)]; ok {
					t.Errorf("the cover is the same as that of %s", other)
				}
				drawn[string(svg)] = b.ID
				if len(svg) > 12<<10 {
					t.Errorf("the cover has %d bytes, want at most 12 KiB", len(svg))
				}
				checkDrawing(t, svg, b)
			})
		}
	}
}

// checkDrawing reads a cover as XML: it must be whole, show title and author within
// its edges, and refer to nothing outside of itself.
func checkDrawing(t *testing.T, svg []byte, b catalogue.Book) {
	t.Helper()
	text := ""
	decoder := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the cover is no XML: %v\n%s", err, svg)
		}
		switch token := token.(type) {
		case xml.CharData:
			text += " " + string(token)
		case xml.StartElement:
			checkElement(t, token)
		}
	}
	text = strings.Join(strings.Fields(text), " ")
	if !strings.EqualFold(text, ShortTitle(b.Title)+" "+b.Author) && !strings.EqualFold(text, b.Author+" "+ShortTitle(b.Title)) {
		t.Errorf("the cover says %q, want the title and %s", text, b.Author)
	}
}

func checkElement(t *testing.T, e xml.StartElement) {
	t.Helper()
	values := map[string]string{}
	for _, a := range e.Attr {
		values[a.Name.Local] = a.Value
		switch {
		case strings.Contains(a.Value, "ZgotmplZ") || a.Value == "":
			t.Errorf("<%s> has %s=%q", e.Name.Local, a.Name.Local, a.Value)
		case a.Name.Local == "href" && !strings.HasPrefix(a.Value, "#"),
			strings.Contains(a.Value, "url(") && !strings.HasPrefix(a.Value, "url(#"):
			t.Errorf("<%s> refers to %s", e.Name.Local, a.Value)
		}
	}
	if e.Name.Local != "text" || values["textLength"] == "" {
		return
	}
	x, _ := strconv.ParseFloat(values["x"], 64)
	width, _ := strconv.ParseFloat(values["textLength"], 64)
	left, right := x, x+width // from the start; half of it on each side if it is centred
	if x == Width/2 {
		left, right = x-width/2, x+width/2
	}
	if left < 10 || right > Width-10 {
		t.Errorf("a line of the title reaches from %.1f to %.1f of %d", left, right, Width)
	}
}

func TestDrawRefusesWhatItCannotDraw(t *testing.T) {
	good := catalogue.Book{ID: "x", Title: "X", Author: "Y", Palette: "rose", Motif: "feather"}
	for _, test := range []struct {
		design string
		change func(*catalogue.Book)
		want   string
	}{
		{"woodcut", func(*catalogue.Book) {}, `drawing the cover of x: there is no design "woodcut"`},
		{"cloth", func(b *catalogue.Book) { b.Palette = "plaid" }, `drawing the cover of x: there is no palette "plaid"`},
		{"cloth", func(b *catalogue.Book) { b.Motif = "tractor" }, `drawing the cover of x: the design cloth has no motif "tractor"`},
	} {
		b := good
		test.change(&b)
		if _, err := Draw(b, test.design); err == nil || err.Error() != test.want {
			t.Errorf("err = %v, want %s", err, test.want)
		}
	}
	if _, err := Draw(good, "cloth"); err != nil {
		t.Error(err)
	}
}

func TestTitleIsEscaped(t *testing.T) {
	svg, err := Draw(catalogue.Book{ID: "x", Title: "War & <Peace>", Author: "\"Z\"", Palette: "rose"}, "tiles")
	if err != nil {
		t.Fatal(err)
	}
	checkDrawing(t, svg, catalogue.Book{Title: "War & <Peace>", Author: "\"Z\""})
}

func TestShortTitle(t *testing.T) {
	for title, want := range map[string]string{
		"Dracula": "Dracula", "Walden; or, Life in the Woods": "Walden", "Gitanjali: Song Offerings": "Gitanjali",
	} {
		if got := ShortTitle(title); got != want {
			t.Errorf("ShortTitle(%q) = %q, want %q", title, got, want)
		}
	}
}

func TestFit(t *testing.T) {
	b := box{x: 10, y: 20, width: 100, height: 60, size: 30}
	for title, want := range map[string]int{"Emma": 1, "Bleak House": 2, "Twenty Thousand Leagues Under the Seas": 3} {
		set := b.fit(title, serif)
		if len(set.Lines) != want {
			t.Errorf("%q is set in %d lines, want %d: %+v", title, len(set.Lines), want, set.Lines)
		}
		for _, l := range set.Lines {
			if l.Width > 100.5 || l.Y > 80 {
				t.Errorf("%q: line %+v does not fit", title, l)
			}
		}
	}
	if w := serif.width("Brontë"); w != serif.width("Bronte") {
		t.Errorf("an accent makes a word wider: %d", w)
	}
}
