//go:build integration

package browser

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/uuid"

	"example.com/bookstore/schema"
)

// events returns what is on the topic, in the order in which it came.
func (s store) events(t testing.TB) []schema.Event {
	t.Helper()
	consumer, err := kafka.NewConsumer(&kafka.ConfigMap{
		"bootstrap.servers": os.Getenv("KAFKA_BOOTSTRAP_SERVERS"), "group.id": uuid.NewString(),
		"enable.auto.commit": false, "enable.partition.eof": true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	if err := consumer.Assign(kafka.TopicPartitions{{Topic: &s.topic, Partition: 0, Offset: kafka.OffsetBeginning}}); err != nil {
		t.Fatal(err)
	}
	var events []schema.Event
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		switch message := consumer.Poll(100).(type) {
		case *kafka.Message:
			event, err := schema.Decode(message.Value)
			if err != nil {
				t.Fatalf("%v\n%s", err, message.Value)
			}
			events = append(events, event)
		case kafka.PartitionEOF:
			return events
		}
	}
	t.Fatal("the end of the topic did not come")
	return nil
}

// await waits until the topic holds exactly these events, and returns them. Each is
// told by its type and book.
func (s store) await(t testing.TB, want ...string) (events []schema.Event) {
	t.Helper()
	eventually(t, 20*time.Second, func() error {
		events = s.events(t)
		var got []string
		for _, e := range events {
			got = append(got, fmt.Sprint(e.EventType, " ", e.BookID))
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("the topic holds %q, want %q", got, want)
		}
		return nil
	})
	for _, e := range events {
		if e.UserID != events[0].UserID {
			t.Errorf("%s is by %s, the others by %s", e.EventID, e.UserID, events[0].UserID)
		}
	}
	return events
}

// acknowledged waits until the store has answered an event of the element.
func acknowledged(element string, kind schema.EventType) chromedp.Action[chromedp.Void] {
	return chromedp.WaitVisible(chromedp.CSS(element + `[data-last-event-type="` + string(kind) + `"]`))
}

// A visitor looks for a book, reads its page, buys it there and goes on.
func TestPurchaseWithScripts(t *testing.T) {
	s := startStore(t)
	b := openBrowser(t)
	b.as(looks[0])
	b.do(
		chromedp.Navigate(s.url),
		chromedp.SendKeys(chromedp.CSS(`#q`), "bronte wuthering"),
		chromedp.Click(chromedp.CSS(`.search button`)),
		chromedp.WaitVisible(chromedp.CSS(`[data-book-id="wuthering-heights"]`)),
		chromedp.Click(chromedp.CSS(`[data-book-id="wuthering-heights"] h3 a`)),
		acknowledged(`.volume`, schema.DescriptionOpen),
		chromedp.Click(chromedp.CSS(`.volume [data-action="buy"]`)),
		acknowledged(`.volume`, schema.Purchase),
		chromedp.WaitVisible(chromedp.CSS(`[data-status][data-kind="confirmed"]`)),
		chromedp.WaitVisible(chromedp.CSS(`.volume [data-bought]`)),
	)
	b.screenshot("purchase-desktop-light")
	if got, want := b.text("[data-status]"), "Your purchase of “Wuthering Heights” is confirmed."; got != want {
		t.Errorf("the page says %q, want %q", got, want)
	}
	if got := strings.TrimPrefix(b.address(), s.url); got != "/books/wuthering-heights" {
		t.Errorf("the purchase leads to %s, want to stay on the book's page", got)
	}
	// Leaving the page closes the book, and coming back opens it again.
	b.do(chromedp.Click(chromedp.CSS(`.name a`)), chromedp.WaitVisible(chromedp.CSS(`.hero`)))
	const book = "wuthering-heights"
	events := s.await(t, "description_open "+book, "purchase "+book, "description_close "+book)
	if read := events[2].EventTime.Sub(events[0].EventTime); read <= 0 || read > time.Minute {
		t.Errorf("the book was read for %v, want a moment", read)
	}
	eval[bool](b, `history.back() ?? true`)
	s.await(t, "description_open "+book, "purchase "+book, "description_close "+book, "description_open "+book)
	if strangers := b.strangers(s); len(strangers) > 0 {
		t.Errorf("requests have left the store: %q", strangers)
	}
}

// The same without JavaScript: by links and forms alone.
func TestPurchaseWithoutScripts(t *testing.T) {
	s := startStore(t)
	b := openBrowser(t)
	b.withoutScripts()
	b.do(
		chromedp.Navigate(s.url),
		chromedp.SendKeys(chromedp.CSS(`#q`), "soseki"+kb.Enter),
		chromedp.WaitVisible(chromedp.CSS(`[data-book-id="kokoro"]`)),
		chromedp.Click(chromedp.CSS(`[data-book-id="kokoro"] summary`)), // opens all the same
		chromedp.WaitVisible(chromedp.CSS(`[data-book-id="kokoro"] details p`)),
		chromedp.Click(chromedp.CSS(`[data-book-id="kokoro"] [data-action="buy"]`)),
		chromedp.WaitVisible(chromedp.CSS(`.volume[data-book-id="kokoro"]`)),
	)
	if events := s.events(t); len(events) > 0 {
		t.Errorf("the topic holds %v before the purchase", events)
	}
	form := map[string]string{}
	for _, name := range []string{"book_id", "event_id"} {
		form[name] = eval[string](b, `document.querySelector(".volume form").elements["`+name+`"].value`)
	}
	b.do(chromedp.Click(chromedp.CSS(`.volume [data-action="buy"]`)), chromedp.WaitVisible(chromedp.CSS(`.verdict.good`)))
	if got, want := strings.TrimPrefix(b.address(), s.url), "/purchases/"+form["event_id"]; got != want {
		t.Errorf("the confirmation is at %s, want %s", got, want)
	}
	if got := b.text("h1"); got != "“Kokoro” is yours" {
		t.Errorf("the confirmation says %q", got)
	}
	first := s.await(t, "purchase kokoro")[0]
	if first.EventID != form["event_id"] {
		t.Errorf("event_id = %s, want the form's %s", first.EventID, form["event_id"])
	}

	// Neither loading the confirmation again nor sending the form again buys again.
	b.do(chromedp.Reload(), chromedp.WaitVisible(chromedp.CSS(`.verdict.good`)))
	jar, err := chromedp.Call(b.ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{s.url}})
	if err != nil {
		t.Fatal(err)
	}
	again, err := http.NewRequest(http.MethodPost, s.url+"/purchases", strings.NewReader(url.Values{
		"book_id": {form["book_id"]}, "event_id": {form["event_id"]},
	}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	again.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, cookie := range jar.Cookies {
		again.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
	}
	answer, err := http.DefaultTransport.RoundTrip(again)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != "/purchases/"+first.EventID {
		t.Errorf("the form sent again is answered %s to %s, want a redirection to the confirmation", answer.Status, answer.Header.Get("Location"))
	}
	// But the book's page, opened anew, is for another copy.
	b.do(chromedp.Click(chromedp.CSS(`.outcome a[href="/books/kokoro"]`)), chromedp.WaitVisible(chromedp.CSS(`.volume`)),
		chromedp.Click(chromedp.CSS(`.volume [data-action="buy"]`)), chromedp.WaitVisible(chromedp.CSS(`.verdict.good`)))
	events := s.await(t, "purchase kokoro", "purchase kokoro")
	if events[0].EventID == events[1].EventID {
		t.Errorf("both purchases are %s", events[0].EventID)
	}
}

// Everything can be reached and used by the keyboard alone.
func TestKeyboard(t *testing.T) {
	s := startStore(t)
	b := openBrowser(t)
	b.as(looks[2])
	focused := func() string {
		return eval[string](b, `document.activeElement.textContent.trim().replace(/\s+/g, " ") || document.activeElement.id`)
	}
	tabTo := func(what string) {
		t.Helper()
		for range 40 {
			b.do(chromedp.KeyEvent(kb.Tab))
			if focused() == what {
				outline := eval[string](b, `getComputedStyle(document.activeElement).outlineStyle`)
				if outline == "none" {
					t.Errorf("the focus on %q cannot be seen", what)
				}
				return
			}
		}
		t.Fatalf("the key Tab does not reach %q, but %q", what, focused())
	}
	b.do(chromedp.Navigate(s.url), chromedp.KeyEvent(kb.Tab))
	if got := focused(); got != "Skip to the content" {
		t.Errorf("the first stop is %q, want the link to the content", got)
	}
	b.do(chromedp.KeyEvent(kb.Enter))
	tabTo("Novels") // not the header's links
	tabTo("Buy Pride and Prejudice")
	b.do(chromedp.KeyEvent(kb.Enter), acknowledged(`[data-book-id="pride-and-prejudice"]`, schema.Purchase))
	if got := focused(); !strings.HasPrefix(got, "Buy") {
		t.Errorf("after the purchase the focus is on %q, want it to stay", got)
	}
	tabTo("Description of Pride and Prejudice")
	b.do(chromedp.KeyEvent(" "), acknowledged(`[data-book-id="pride-and-prejudice"]`, schema.DescriptionOpen))
	b.screenshot("description-phone-light")
	b.do(chromedp.KeyEvent(" "), acknowledged(`[data-book-id="pride-and-prejudice"]`, schema.DescriptionClose))
	s.await(t, "purchase pride-and-prejudice", "description_open pride-and-prejudice", "description_close pride-and-prejudice")
}

// A store without a spool whose brokers do not answer says so, keeps the purchase, and
// offers to send it again.
func TestUnconfirmedPurchase(t *testing.T) {
	axe := axe(t)
	s := startStore(t, "KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1", "STORE_SPOOL_LIMIT=0", "STORE_DELIVERY_TIMEOUT=500ms")
	b := openBrowser(t)
	b.withoutScripts()
	b.do(chromedp.Navigate(s.url + "/books/emma"))
	if got := b.text("h1"); got == "" {
		t.Error("an unknown book has a page without a heading")
	}
	b.do(chromedp.Navigate(s.url + "/books/dracula"))
	id := eval[string](b, `document.querySelector(".volume form").elements.event_id.value`)
	for _, button := range []string{`.volume [data-action="buy"]`, `.outcome button`} { // and once more
		b.do(chromedp.Click(chromedp.CSS(button)), chromedp.WaitVisible(chromedp.CSS(`.verdict.bad`)))
		if got := eval[string](b, `document.querySelector(".outcome form").elements.event_id.value`); got != id {
			t.Errorf("the page would send %s again, want %s", got, id)
		}
	}
	if events := s.events(t); len(events) > 0 {
		t.Errorf("the topic holds %v", events)
	}
	b.withScripts()
	for _, l := range looks {
		b.as(l)
		eval[int](b, axe+"; 1")
		if got := eval[string](b, report); got != "[]" {
			t.Errorf("%s: %s", l, got)
		}
		b.screenshot("unconfirmed-" + l.String())
	}
}
