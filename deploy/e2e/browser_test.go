//go:build integration

package e2e

import (
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
)

// browser starts a real Chromium without a window.
func browser(t *testing.T) context.Context {
	t.Helper()
	var program string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		t.Fatal("no browser: install the package chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 900))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // the browser lives as long as this context
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// A visitor opens a description, closes it and buys the book; the three rows in
// Cassandra are what the browser sent.
func TestClickToRow(t *testing.T) {
	p := newPipeline(t)
	url, _ := p.store(t)
	p.submit(t)

	const book = `[data-book-id="pride-and-prejudice"]`
	acknowledged := func(kind schema.EventType) chromedp.Action[chromedp.Void] {
		return chromedp.WaitVisible(chromedp.CSS(book + `[data-last-event-type="` + string(kind) + `"]`))
	}
	ctx := browser(t)
	err := chromedp.Do(ctx,
		chromedp.Navigate(url),
		chromedp.Evaluate[chromedp.Void](`window.sent = []; addEventListener("bookstore:acknowledged", (e) => { window.sent.push(e.detail) })`),
		chromedp.Click(chromedp.CSS(book+` [data-action="open"]`)),
		acknowledged(schema.DescriptionOpen),
		chromedp.WaitVisible(chromedp.CSS(book+` details[open] p`)),
		chromedp.Click(chromedp.CSS(book+` [data-action="open"]`)),
		acknowledged(schema.DescriptionClose),
		chromedp.Click(chromedp.CSS(book+` [data-action="buy"]`)),
		acknowledged(schema.Purchase),
		chromedp.WaitVisible(chromedp.CSS(`[data-status][data-kind="confirmed"]`)),
	)
	if err != nil {
		t.Fatal(err)
	}
	notice, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS(`[data-status]`)))
	if err != nil {
		t.Fatal(err)
	}
	sent, err := chromedp.Run(ctx, chromedp.Evaluate[string](`JSON.stringify(window.sent)`))
	if err != nil {
		t.Fatal(err)
	}
	jar, err := chromedp.Call(ctx, network.GetCookies, network.GetCookiesParams{})
	if err != nil {
		t.Fatal(err)
	}
	cookies := jar.Cookies
	if !strings.Contains(notice, "Pride and Prejudice") {
		t.Errorf("the page says %q", notice)
	}
	if len(cookies) != 1 || cookies[0].Name != "user_id" || !cookies[0].HTTPOnly {
		t.Fatalf("the store's cookies: %+v", cookies)
	}

	var events []struct {
		EventID   string           `json:"event_id"`
		EventType schema.EventType `json:"event_type"`
		EventTime string           `json:"event_time"`
		BookID    string           `json:"book_id"`
	}
	if err := json.Unmarshal([]byte(sent), &events); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range events {
		ids = append(ids, e.EventID)
	}
	if len(ids) != 3 {
		t.Fatalf("the browser had %d events acknowledged, want 3: %s", len(ids), sent)
	}
	awaitStored(t, ids)
	stored, err := cassandra.FindEvents(t.Context(), openCassandra(t), ids)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range events {
		at, err := schema.ParseTime(e.EventTime)
		if err != nil {
			t.Fatal(err)
		}
		want := schema.Event{
			EventID: e.EventID, EventType: schema.EventTypes()[i], EventTime: at,
			UserID: cookies[0].Value, BookID: "pride-and-prejudice",
		}
		if got := stored[e.EventID]; got != want || e.EventType != want.EventType || e.BookID != want.BookID {
			t.Errorf("event %d: stored %+v, want %+v, sent %+v", i, got, want, e)
		}
		out, errOut, code := run(t, p.env, "sparkjob", "peek", "--event-id", e.EventID)
		shown := strings.NewReplacer("T", " ", "Z", "").Replace(e.EventTime)
		if code != 0 || !strings.Contains(out, shown) || !strings.Contains(out, cookies[0].Value) {
			t.Errorf("sparkjob peek: exit code %d, want the time %s and the visitor:\n%s%s", code, shown, out, errOut)
		}
	}
}
