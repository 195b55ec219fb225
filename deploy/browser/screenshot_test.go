//go:build integration

package browser

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// screenshot keeps what the tab shows, if the environment names a folder for it.
func (b *tab) screenshot(name string) {
	b.t.Helper()
	folder := os.Getenv("SCREENSHOTS_DIR")
	if folder == "" {
		return
	}
	// Pictures are decoded beside the page's own work.
	eval[int](b, `Promise.all(Array.from(document.images).filter((i) => i.getBoundingClientRect().top < innerHeight)
		.map((i) => { i.loading = "eager"; return i.decode(); })).then((all) => all.length)`)
	result, err := chromedp.Call(b.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{})
	if err != nil {
		b.t.Fatal(err)
	}
	shot, err := png.Decode(bytes.NewReader(result.Data))
	if err != nil {
		b.t.Fatal(err)
	}
	var small bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, inPalette(shot)); err != nil {
		b.t.Fatal(err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), small.Bytes(), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// inPalette returns the picture in the 256 colours that it has most of: a fraction of
// the size, for documents that are read over a network. Of colours that differ in the
// lowest bits alone it takes one.
func inPalette(shot image.Image) *image.Paletted {
	exact := func(x, y int) color.RGBA { return color.RGBAModel.Convert(shot.At(x, y)).(color.RGBA) }
	rough := func(c color.RGBA) color.RGBA { return color.RGBA{c.R | 3, c.G | 3, c.B | 3, 255} }
	bounds := shot.Bounds()
	each := func(do func(x, y int, c color.RGBA)) {
		for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
			for x := bounds.Min.X; x < bounds.Max.X; x++ {
				do(x, y, exact(x, y))
			}
		}
	}
	count := map[color.RGBA]int{}
	each(func(_, _ int, c color.RGBA) { count[c]++ })
	colours := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int { return count[b] - count[a] })
	var palette color.Palette
	index := map[color.RGBA]uint8{} // of a rough colour in the palette
	for _, c := range colours {
		if _, ok := index[rough(c)]; !ok && len(palette) < 256 {
			index[rough(c)] = uint8(len(palette))
			palette = append(palette, c)
		}
	}
	small := image.NewPaletted(bounds, palette)
	each(func(x, y int, c color.RGBA) {
		i, ok := index[rough(c)]
		if !ok {
			i = uint8(palette.Index(c))
			index[rough(c)] = i
		}
		small.SetColorIndex(x, y, i)
	})
	return small
}
