//go:build integration

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"example.com/bookstore/producer/catalogue"
	"example.com/bookstore/producer/live"
	"example.com/bookstore/producer/visitors"
	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/sparkjob/job"
)

// visible is within which a purchase shows on the live page.
const visible = 3 * time.Second

// What happens in the store shows on the live page, seconds later and without asking,
// and so does what happens to the job.
func TestLive(t *testing.T) {
	p := newPipeline(t)
	queries := []string{"bookstore_activity", "events", "events_by_user"}
	if os.Getenv("SCREENSHOTS_DIR") != "" { // a full page takes them all, and a machine its time
		queries = job.Names
	}
	p.env = p.with("SPARK_QUERIES=" + strings.Join(queries, ","))
	url, _ := p.store(t)
	driver := p.submit(t)
	books := catalogue.Books()
	traffic(t, url, books[:20])
	produce(t, p.topic, []record{{value: []byte("purchase;dracula")}, {value: []byte(`{"event_type": "page_view", "book_id": "dracula"}`)}})

	watcher := tab{t, browser(t)}
	second, cancel := chromedp.NewContext(watcher.ctx)
	t.Cleanup(cancel)
	visitor := tab{t, second}
	if err := chromedp.Do(watcher.ctx, chromedp.Navigate(url+"/live"), chromedp.WaitVisible(chromedp.CSS(`[data-connection="open"]`))); err != nil {
		t.Fatal(err)
	}

	// The first micro-batches of a query are slow, and a test machine may be busy, so
	// that one purchase of several must show in time.
	patience := time.Now().Add(75 * time.Second)
	var bought catalogue.Book
	var took []time.Duration
	for _, bought = range books[20:] { // which nobody else buys
		took = append(took, showsAfter(watcher, visitor, url, bought.ID))
		if took[len(took)-1] <= visible {
			break
		}
		if time.Now().After(patience) {
			t.Errorf("a purchase shows on the live page after %v, want one within %v", took, visible)
			break
		}
	}
	t.Logf("from the click to the live page: %v", took)

	// The visitor's own page has it from the table.
	eventually(t, 30*time.Second, func() error {
		if err := chromedp.Do(visitor.ctx, chromedp.Navigate(url+"/me")); err != nil {
			t.Fatal(err)
		}
		text := visitor.words("main")
		if !strings.Contains(text, "You bought "+bought.Title) || strings.Contains(text, "on its way") {
			return errors.New("the visitor's own page: " + text)
		}
		return nil
	})
	// What stands in the store's memory, and what another query counts.
	eventually(t, 60*time.Second, func() error {
		var s live.Snapshot
		if err := getJSON(t, url+"/live/snapshot.json", &s); err != nil {
			return err
		}
		if len(s.Problems) != 0 || len(s.Opened) != 5 || len(s.Bought) == 0 || s.Rate.PerSecond == 0 ||
			s.Reading.Now.Closed == 0 || s.Latency.Samples < 20 || len(s.Queries) != len(queries) || s.Queries[0].Lag == nil {
			text, _ := json.Marshal(s)
			return fmt.Errorf("the snapshot is not complete: %s", text)
		}
		t.Logf("from Kafka to Cassandra: half of the events within %.2f s, 95 of 100 within %.2f s, of %d", s.Latency.P50, s.Latency.P95, s.Latency.Samples)
		return nil
	})
	watcher.shoot("live", "", true)
	visitor.shoot("me", "", false)

	// A driver that is killed cannot say that it ends.
	killed := time.Now()
	driver.end(t, syscall.SIGKILL)
	watcher.awaitProblem(live.JobGone, 20*time.Second)
	t.Logf("after the driver was killed the page said so within %v", time.Since(killed).Round(time.Millisecond))
	watcher.shoot("live", "-gone", false)

	driver = p.submit(t)
	watcher.awaitProblem("", 20*time.Second)
	if code := driver.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("sparkjob submit ended with %d", code)
	}
	watcher.awaitProblem(live.JobStopped, 10*time.Second)

	// A query that has stalled, by its driver's word.
	session := openCassandra(t)
	err := cassandra.WriteStreamingQuery(t.Context(), session, cassandra.StreamingQuery{
		Job: p.topic, Query: "events", State: cassandra.QueryStalled, Message: "no micro-batch for 60 s", Topic: p.topic, ReportedAt: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	watcher.awaitProblem(live.JobStalled, 8*time.Second)
}

// traffic lets visitors come until the test ends.
func traffic(t *testing.T, url string, books []catalogue.Book) {
	t.Helper()
	var ids []string
	for _, b := range books {
		ids = append(ids, b.ID)
	}
	plan, err := visitors.NewPlan(visitors.PlanConfig{
		Books: ids, Seed: 1, Rate: 1, Reading: 2 * time.Second, Buying: 0.3, LatePhones: visitors.None, BadClients: visitors.None,
	})
	if err != nil {
		t.Fatal(err)
	}
	runner, err := visitors.NewRunner(visitors.RunConfig{StoreURL: url, Grace: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- runner.Run(ctx, plan.Steps()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the visitors ended with %v", err)
		}
	})
}

// tab is a tab of a browser.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// showsAfter buys a book in one tab and returns how long after the click the purchase
// shows in another; ten seconds if it does not.
func showsAfter(watcher, visitor tab, url, book string) time.Duration {
	t := visitor.t
	t.Helper()
	if err := chromedp.Do(visitor.ctx, chromedp.Navigate(url+"/books/"+book)); err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf(`document.querySelector('.feed [data-event-type=%q][data-book-id=%q]') !== null`, schema.Purchase, book)
	clicked := time.Now()
	if err := chromedp.Do(visitor.ctx, chromedp.Click(chromedp.CSS(`.volume [data-action="buy"]`))); err != nil {
		t.Fatal(err)
	}
	for time.Since(clicked) < 10*time.Second {
		ok, err := chromedp.Run(watcher.ctx, chromedp.Evaluate[bool](shown))
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(clicked).Round(time.Millisecond)
}

// awaitProblem waits until the live page shows a problem as the first, or none if
// its kind is "".
func (b tab) awaitProblem(kind string, timeout time.Duration) {
	b.t.Helper()
	eventually(b.t, timeout, func() error {
		first, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.querySelector('[role="alert"] [data-problem]')?.dataset.problem ?? ""`))
		if err != nil {
			b.t.Fatal(err)
		}
		if first != kind {
			return fmt.Errorf("the page shows the problem %q, want %q: %s", first, kind, b.words("[data-part=problems]"))
		}
		return nil
	})
}

// words is what an element says.
func (b tab) words(selector string) string {
	b.t.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.TextContent(chromedp.CSS(selector)))
	if err != nil {
		b.t.Fatal(err)
	}
	return strings.Join(strings.Fields(text), " ")
}

// shoot keeps what the tab shows on a desk and on a phone, if the environment names a
// folder for it; the whole page as well, if asked.
func (b tab) shoot(name, state string, whole bool) {
	b.t.Helper()
	folder := os.Getenv("SCREENSHOTS_DIR")
	if folder == "" {
		return
	}
	for _, look := range []struct {
		device        string
		width, height int64
		scheme        string
	}{
		{"desktop", 1280, 900, "light"}, {"desktop", 1280, 900, "dark"}, {"phone", 390, 844, "light"}, {"phone", 390, 844, "dark"},
	} {
		call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: look.width, Height: look.height, DeviceScaleFactor: 1, Mobile: look.device == "phone",
		})
		call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: look.scheme}}})
		for _, beyond := range []bool{false, true} {
			suffix := state
			if beyond {
				suffix += "-whole"
			}
			if beyond && !whole {
				continue
			}
			picture := call(b, page.CaptureScreenshot, page.CaptureScreenshotParams{CaptureBeyondViewport: &beyond})
			file := filepath.Join(folder, name+suffix+"-"+look.device+"-"+look.scheme+".png")
			if err := os.WriteFile(file, picture.Data, 0o644); err != nil {
				b.t.Fatal(err)
			}
		}
	}
}

// call runs a command of the browser's protocol in a tab.
func call[P, R any](b tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	result, err := chromedp.Call(b.ctx, command, params)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}
