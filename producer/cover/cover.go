// Package cover draws the covers of the store's books as SVG. Each shelf has a design
// of its own, a template in the folder design, which a book's palette, motif and id
// vary. The same book always gets the same cover.
package cover

import (
	"bytes"
	"embed"
	"fmt"
	"hash/fnv"
	"html/template"
	"math/rand/v2"
	"strings"

	"example.com/bookstore/producer/catalogue"
)

//go:embed design
var files embed.FS

// Size of a cover in its own units.
const (
	Width  = 200
	Height = 300
)

// palette is the colours of a cover: a dark and a light ground that carry text in each
// other, and two that go with both.
type palette struct {
	Dark, Light, Main, Second string
}

var palettes = map[string]palette{
	"rose":     {"#54172a", "#f9e9dc", "#b8394e", "#eeb08f"},
	"wine":     {"#3a1020", "#f5e6d3", "#8f2436", "#d9a35b"},
	"plum":     {"#35204a", "#f3e8ee", "#74488c", "#e0a3b4"},
	"ink":      {"#16213f", "#f1ecdd", "#33518f", "#e2b25c"},
	"sea":      {"#0c3a47", "#eef2e4", "#1e7a86", "#f0b67a"},
	"moss":     {"#22361f", "#f2efdc", "#57793b", "#d9b84f"},
	"slate":    {"#232e3a", "#eef0ee", "#52687d", "#d98e6a"},
	"charcoal": {"#211f22", "#f1ece2", "#5a5158", "#c9483c"},
	"amber":    {"#43260c", "#fbf0d6", "#d08a1d", "#b4472b"},
	"terra":    {"#451c0f", "#f9ecdb", "#a8492a", "#efb98d"},
	"indigo":   {"#171d45", "#eef0f4", "#3b4a94", "#b4c3ee"},
	"sand":     {"#3d2f20", "#f6ecd8", "#b58a55", "#7d3b2a"},
}

// drawing is what a design's template works with.
type drawing struct {
	palette
	Motif  string
	Title  text // in the design's own place
	Author string
	random *rand.Rand
}

// design is how the covers of one shelf look. The box is the room for the title.
type design struct {
	face     face
	box      box
	capitals bool
}

var designs = map[string]design{
	"cloth":    {serif, box{x: 49, y: 112, width: 102, height: 62, size: 23, centred: true}, false},
	"horizon":  {sans, box{x: 18, y: 22, width: 164, height: 82, size: 28}, true},
	"night":    {serif, box{x: 18, y: 208, width: 164, height: 60, size: 27, centred: true}, false},
	"dossier":  {sans, box{x: 18, y: 20, width: 164, height: 64, size: 24}, false},
	"papercut": {serif, box{x: 24, y: 210, width: 152, height: 50, size: 23, centred: true}, false},
	"tiles":    {serif, box{x: 18, y: 212, width: 164, height: 52, size: 23}, false},
}

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"list": func(n ...int) []int { return n },
	"add":  func(a, b int) int { return a + b },
	"mul":  func(a, b int) int { return a * b },
}).ParseFS(files, "design/*.svg"))

// Draw returns the cover of a book as an SVG document of Width by Height units, in the
// named design.
func Draw(b catalogue.Book, name string) ([]byte, error) {
	d, ok := designs[name]
	if !ok {
		return nil, fmt.Errorf("drawing the cover of %s: there is no design %q", b.ID, name)
	}
	colours, ok := palettes[b.Palette]
	if !ok {
		return nil, fmt.Errorf("drawing the cover of %s: there is no palette %q", b.ID, b.Palette)
	}
	motif := name + "-" + b.Motif
	if name != "tiles" && templates.Lookup(motif) == nil {
		return nil, fmt.Errorf("drawing the cover of %s: the design %s has no motif %q", b.ID, name, b.Motif)
	}
	title := ShortTitle(b.Title)
	if d.capitals {
		title = strings.ToUpper(title)
	}
	hash := fnv.New64a()
	hash.Write([]byte(b.ID)) // never fails
	var svg bytes.Buffer
	err := templates.ExecuteTemplate(&svg, name+".svg", drawing{
		palette: colours, Motif: motif, Title: d.box.fit(title, d.face), Author: b.Author,
		random: rand.New(rand.NewPCG(hash.Sum64(), 1)),
	})
	if err != nil {
		return nil, fmt.Errorf("drawing the cover of %s: %w", b.ID, err)
	}
	return bytes.Join(bytes.Fields(svg.Bytes()), []byte(" ")), nil
}

// ShortTitle is a title as a cover has room for it: without its subtitle.
func ShortTitle(title string) string {
	if i := strings.IndexAny(title, ";:,"); i > 0 {
		return title[:i]
	}
	return title
}

// Draw executes the template of the book's motif.
func (d drawing) Draw() (template.HTML, error) {
	var svg bytes.Buffer
	if err := templates.ExecuteTemplate(&svg, d.Motif, d); err != nil {
		return "", err
	}
	return template.HTML(svg.String()), nil //nolint:gosec // our own template
}

// Spot is a place for something small.
type Spot struct{ X, Y, Size int }

// Spots returns n places within the given bounds, spread over a jittered grid.
func (d drawing) Spots(n, left, top, right, bottom int) []Spot {
	spots := make([]Spot, n)
	columns := 6
	rows := (n + columns - 1) / columns
	for i := range spots {
		w, h := (right-left)/columns, (bottom-top)/rows
		spots[i] = Spot{
			X:    left + i%columns*w + d.random.IntN(w),
			Y:    top + i/columns*h + d.random.IntN(h),
			Size: 1 + d.random.IntN(3),
		}
	}
	return spots
}

// Wave returns the path of a rolling line from left to right, down to the bottom.
func (d drawing) Wave(y, height int) string {
	step := 50 + d.random.IntN(3)*10
	var path strings.Builder
	x := -d.random.IntN(step)
	fmt.Fprintf(&path, "M%d %d", x, y)
	for sign := -1; x < Width; sign = -sign {
		fmt.Fprintf(&path, "q%d %d %d 0", step/2, sign*height, step)
		x += step
	}
	fmt.Fprintf(&path, "V%dH0z", Height)
	return path.String()
}

// Ridge returns the path of a line of hills, down to the bottom.
func (d drawing) Ridge(y, height int) string {
	var path strings.Builder
	fmt.Fprintf(&path, "M0 %d", y)
	for x := 0; x < Width; {
		step := 24 + d.random.IntN(30)
		fmt.Fprintf(&path, "l%d %dl%d %d", step, -height/2-d.random.IntN(height), step, height/2+d.random.IntN(height))
		x += 2 * step
	}
	fmt.Fprintf(&path, "V%dH0z", Height)
	return path.String()
}

// Tile is one field of a pattern.
type Tile struct {
	X, Y, Turn, Kind int
	Ground, Shape    string
}

// Tiles returns a field of n by n tiles, each 200/n units wide, in the cover's colours.
func (d drawing) Tiles(n int) []Tile {
	grounds := []string{d.Light, d.Main, d.Dark, d.Second}
	tiles := make([]Tile, 0, n*n)
	for i := range n * n {
		g := d.random.IntN(len(grounds))
		s := (g + 1 + d.random.IntN(len(grounds)-1)) % len(grounds)
		tiles = append(tiles, Tile{
			X: i % n * Width / n, Y: i / n * Width / n, Turn: 90 * d.random.IntN(4), Kind: d.random.IntN(6),
			Ground: grounds[g], Shape: grounds[s],
		})
	}
	return tiles
}
