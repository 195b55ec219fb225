package cover

import (
	"math"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// face is a kind of type: the fonts that a cover asks for, and how wide their letters
// are in about all of them. Which font there is differs from machine to machine; the
// SVG states the width of each line, so that it fits with any of them.
type face struct {
	Family string
	Weight int
	widths map[rune]int // thousandths of the size; the letters without accents
	other  int
}

var serif = face{
	"'Iowan Old Style','Palatino Linotype',Palatino,Georgia,'Liberation Serif',serif", 600,
	widths("A722 B667 C667 D722 E611 F556 G722 H722 I333 J389 K722 L611 M889 N722 O722 P556 Q722 R667 S556 T611 U722 V722 W944 X722 Y722 Z611 " +
		"a470 b530 c444 d530 e450 f333 g500 h540 i278 j300 k530 l278 m800 n540 o510 p530 q530 r400 s389 t310 u540 v500 w722 x500 y500 z444 " +
		"_250 .250 -333 '300 ’300"), 500,
}

var sans = face{
	"'Helvetica Neue',Helvetica,Arial,'Liberation Sans',sans-serif", 700,
	widths("A722 B722 C722 D722 E667 F611 G778 H722 I278 J556 K722 L611 M833 N722 O778 P667 Q778 R722 S667 T611 U722 V667 W944 X667 Y667 Z611 " +
		"a556 b611 c556 d611 e556 f333 g611 h611 i278 j278 k556 l278 m889 n611 o611 p611 q611 r389 s556 t333 u611 v556 w778 x556 y556 z500 " +
		"_278 .278 -333 '278 ’278"), 580,
}

// widths reads a list of letters and widths, where _ is the space.
func widths(list string) map[rune]int {
	m := map[rune]int{}
	for _, entry := range strings.Fields(list) {
		var letter rune
		width := 0
		for i, r := range entry {
			if i == 0 {
				letter = r
			} else {
				width = 10*width + int(r-'0')
			}
		}
		if letter == '_' {
			letter = ' '
		}
		m[letter] = width
	}
	return m
}

// width is that of a text in thousandths of its size.
func (f face) width(text string) int {
	sum := 0
	for _, r := range norm.NFD.String(text) {
		if unicode.Is(unicode.Mn, r) {
			continue
		}
		if w, ok := f.widths[r]; ok {
			sum += w
		} else {
			sum += f.other
		}
	}
	return sum
}

// box is room for a text.
type box struct {
	x, y, width, height int
	size                float64 // of the type, at most
	centred             bool
}

// text is a text set in lines.
type text struct {
	face
	Size   float64
	Anchor string // of the lines, as SVG's text-anchor
	Lines  []line
}

type line struct {
	Text  string
	X     int
	Y     float64 // of the base line
	Width float64
}

const (
	leading  = 1.12 // from line to line, in sizes
	smallest = 11
)

// fit breaks a text into lines and sets them as large as the box allows. The lines
// stand in the middle of the box's height, or at its top if they are not centred.
func (b box) fit(title string, f face) text {
	words := strings.Fields(title)
	best := text{face: f, Anchor: "start"}
	var lines []string
	for n := 1; n <= len(words); n++ {
		broken, widest := breakLines(words, n, f)
		size := math.Min(b.size, math.Min(float64(b.width)*1000/float64(widest), float64(b.height)/(leading*float64(n))))
		if size > best.Size+0.5 { // a further line only if it gains something
			best.Size, lines = size, broken
		}
	}
	best.Size = math.Floor(2*best.Size) / 2
	x := b.x
	top := float64(b.y)
	if b.centred {
		best.Anchor = "middle"
		x += b.width / 2
		top += (float64(b.height) - leading*best.Size*float64(len(lines))) / 2
	}
	for i, l := range lines {
		y := top + best.Size*(0.85+leading*float64(i))
		best.Lines = append(best.Lines, line{
			Text: l, X: x, Y: math.Round(10*y) / 10, Width: math.Round(float64(f.width(l))*best.Size/100) / 10,
		})
	}
	return best
}

// breakLines breaks words into n lines whose widest is as narrow as can be.
func breakLines(words []string, n int, f face) (lines []string, widest int) {
	if n == 1 {
		whole := strings.Join(words, " ")
		return []string{whole}, f.width(whole)
	}
	widest = math.MaxInt
	for first := 1; first <= len(words)-n+1; first++ {
		head := strings.Join(words[:first], " ")
		rest, w := breakLines(words[first:], n-1, f)
		if w = max(w, f.width(head)); w < widest {
			lines, widest = append([]string{head}, rest...), w
		}
	}
	return lines, widest
}
