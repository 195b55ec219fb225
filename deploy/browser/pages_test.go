//go:build integration

package browser

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// kinds are the pages of the store, one of each kind. The confirmation of a purchase
// has no address of its own beforehand; see confirm.
var kinds = []struct {
	name, path string
	optional   bool // may be switched off, and is then not there
}{
	{"catalogue", "/", false},
	{"shelves", "/shelves", false},
	{"shelf", "/shelves/adventure-and-the-sea", false},
	{"search", "/search?q=bront%C3%AB", false},
	{"search-in-vain", "/search?q=dostoyevsky", false},
	{"search-for-nothing", "/search", false},
	{"book", "/books/moby-dick", false},
	{"confirmation", "", false},
	{"error", "/nowhere", false},
	{"me", "/me", true},
	{"live", "/live", true},
}

const missingAxe = `axe-core is not installed: run "npm ci --prefix deploy/browser", or name its file axe.min.js in AXE_CORE`

// axe returns the program that looks for barriers.
func axe(t testing.TB) string {
	t.Helper()
	path := os.Getenv("AXE_CORE")
	if path == "" {
		path = filepath.Join("node_modules", "axe-core", "axe.min.js")
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%s (%v)", missingAxe, err)
	}
	return string(program)
}

// violation is a rule that a page breaks, as axe reports it.
type violation struct {
	ID     string   `json:"id"`
	Impact string   `json:"impact"`
	Help   string   `json:"help"`
	Nodes  []string `json:"nodes"`
}

// report runs every rule, those of best practice too.
const report = `axe.run(document, {resultTypes: ["violations"]}).then((r) => JSON.stringify(r.violations.map((v) => (
	{id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.map((n) => n.target.join(" ") + ": " + n.failureSummary)}))))`

// Every kind of page, in every look: axe finds no barrier, nothing is wider than the
// screen, and no request leaves the store.
func TestPages(t *testing.T) {
	axe := axe(t)
	s := startStore(t)
	b := openBrowser(t)
	confirmation := b.confirm(s, "treasure-island")
	for _, kind := range kinds {
		path := kind.path
		if kind.name == "confirmation" {
			path = confirmation
		}
		if kind.optional && !answers(t, s.url+path) {
			t.Logf("%s: there is no such page", path)
			continue
		}
		for _, l := range looks {
			t.Run(kind.name+"-"+l.String(), func(t *testing.T) {
				b := &tab{ctx: b.ctx, t: t}
				b.as(l)
				b.do(chromedp.Navigate(s.url+path), chromedp.Evaluate[chromedp.Void](axe))
				var violations []violation
				if err := json.Unmarshal([]byte(eval[string](b, report)), &violations); err != nil {
					t.Fatal(err)
				}
				for _, v := range violations {
					t.Errorf("%s (%s): %s\n%q", v.ID, v.Impact, v.Help, v.Nodes)
				}
				if width := eval[int64](b, `document.documentElement.scrollWidth`); width > l.width {
					t.Errorf("the page is %d px wide on a screen of %d px: %s", width, l.width, eval[string](b, fmt.Sprintf(widest, l.width)))
				}
				b.screenshot(kind.name + "-" + l.String())
			})
		}
	}
	if strangers := b.strangers(s); len(strangers) > 0 {
		t.Errorf("requests have left the store: %q", strangers)
	}
}

// widest names what sticks out of the page at its right.
const widest = `Array.from(document.querySelectorAll("body *")).filter((e) => e.getBoundingClientRect().right > %d)
	.map((e) => e.tagName + "." + e.className).slice(0, 5).join(" ")`

func answers(t *testing.T, url string) bool {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// confirm buys a book by its form, without scripts, and returns the path of the
// confirmation.
func (b *tab) confirm(s store, book string) string {
	b.t.Helper()
	b.withoutScripts()
	b.do(chromedp.Navigate(s.url+"/books/"+book), chromedp.Click(chromedp.CSS(`.volume [data-action="buy"]`)),
		chromedp.WaitVisible(chromedp.CSS(`.verdict.good`)))
	b.withScripts()
	return b.address()[len(s.url):]
}

// BenchmarkFirstPage opens the catalogue in a browser that has never been there. The
// milliseconds are the browser's own: until the page's first and last byte, until it is
// laid out, and until every picture in sight has come; bytes are all that came until
// then.
func BenchmarkFirstPage(b *testing.B) {
	s := startStore(b)
	visitor := openBrowser(b)
	visitor.as(looks[0])
	sums := make([]float64, 5)
	for b.Loop() {
		if _, err := chromedp.Call(visitor.ctx, network.ClearBrowserCache, cdp.Empty{}); err != nil {
			b.Fatal(err)
		}
		visitor.do(chromedp.Navigate(s.url+"/healthz"), chromedp.Navigate(s.url)) // no page, of the same origin
		for i, value := range eval[[]float64](visitor, timing) {
			sums[i] += value
		}
	}
	for i, unit := range []string{"ms-to-first-byte", "ms-to-last-byte", "ms-to-layout", "ms-to-load", "bytes"} {
		b.ReportMetric(sums[i]/float64(b.N), unit)
	}
}

const timing = `(() => {
	const page = performance.getEntriesByType("navigation")[0];
	const files = performance.getEntriesByType("resource");
	return [page.responseStart, page.responseEnd, page.domContentLoadedEventEnd, page.loadEventEnd,
		[page, ...files].reduce((sum, file) => sum + file.transferSize, 0)];
})()`
