package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"example.com/bookstore/producer/publisher"
	"example.com/bookstore/schema"
)

const formType = "application/x-www-form-urlencoded"

// buy sends the form of a book's page as a browser without scripts does. fields is a
// list of names and values.
func buy(s http.Handler, header []string, fields ...string) *httptest.ResponseRecorder {
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return send(s, http.MethodPost, "/purchases", form.Encode(), append([]string{"Content-Type", formType, "Accept", "text/html"}, header...)...)
}

func TestPurchaseByForm(t *testing.T) {
	p := &fakePublisher{}
	s := newServer(t, p)
	fields := form(send(s, http.MethodGet, "/books/dracula", "").Body.String())
	w := buy(s, []string{"Cookie", "user_id=bob", "Sec-Fetch-Site", "same-origin"}, "book_id", fields["book_id"], "event_id", fields["event_id"])
	address := "/purchases/" + fields["event_id"]
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != address {
		t.Fatalf("got %d %v, want a redirection to %s", w.Code, w.Header(), address)
	}
	want := schema.Event{
		EventID: fields["event_id"], EventType: schema.Purchase, EventTime: now.Truncate(time.Millisecond), UserID: "bob", BookID: "dracula",
	}
	if got := p.events(t); len(got) != 1 || got[0] != want {
		t.Errorf("published %v, want %v", got, want)
	}
	cookies := w.Result().Cookies()
	if len(cookies) != 1 || cookies[0].Path != address || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteLaxMode || cookies[0].MaxAge != 3600 {
		t.Fatalf("cookies = %v", cookies)
	}

	confirmation := send(s, http.MethodGet, address, "", "Cookie", cookies[0].Name+"="+cookies[0].Value)
	page := confirmation.Body.String()
	if confirmation.Code != http.StatusOK || !strings.Contains(page, "<h1>“Dracula” is yours</h1>") || !strings.Contains(page, fields["event_id"]) {
		t.Errorf("got %d\n%s", confirmation.Code, page)
	}
	if len(p.events(t)) != 1 {
		t.Error("the confirmation buys once more")
	}
}

// A confirmation is no proof for whoever makes up an address.
func TestConfirmationIsForTheBuyer(t *testing.T) {
	s := newServer(t, &fakePublisher{})
	id := schema.NewEventID()
	for path, cookie := range map[string]string{
		"/purchases/" + id:       "user_id=bob",
		"/purchases/" + id + "?": "purchase=no-such-book",
		"/purchases/x":           "purchase=dracula",
	} {
		w := send(s, http.MethodGet, path, "", "Accept", "text/html", "Cookie", cookie)
		if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "This browser knows of no purchase with this number.") {
			t.Errorf("%s with %s: %d\n%s", path, cookie, w.Code, w.Body)
		}
	}
}

// The same form, sent again by a double click or a reload, is one event and one record.
func TestFormSentTwiceIsOnePurchase(t *testing.T) {
	p := &fakePublisher{}
	s := newServer(t, p)
	id := schema.NewEventID()
	var clicks sync.WaitGroup
	for range 8 {
		clicks.Go(func() {
			if w := buy(s, []string{"Cookie", "user_id=bob"}, "book_id", "dracula", "event_id", strings.ToUpper(id)); w.Code != http.StatusSeeOther {
				t.Errorf("status = %d, want 303", w.Code)
			}
		})
	}
	clicks.Wait()
	if got := p.events(t); len(got) != 1 || got[0].EventID != id {
		t.Errorf("published %v, want %s once", got, id)
	}
	// Another form is another purchase, and so is another book.
	buy(s, nil, "book_id", "dracula", "event_id", schema.NewEventID())
	buy(s, nil, "book_id", "kokoro", "event_id", id)
	if got := p.events(t); len(got) != 3 {
		t.Errorf("published %v, want 3 events", got)
	}
}

func TestUnconfirmedPurchaseCanBeSentAgain(t *testing.T) {
	s := newServer(t, &fakePublisher{errs: map[int]error{0: publisher.ErrNotDelivered}})
	bought := now.Add(-time.Minute).Truncate(time.Millisecond)
	s.clock = func() time.Time { return bought }
	id := schema.NewEventID()
	w := buy(s, []string{"Cookie", "user_id=bob"}, "book_id", "dracula", "event_id", id)
	page := w.Body.String()
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "2" || !strings.Contains(page, "will count only once") {
		t.Fatalf("got %d %v\n%s", w.Code, w.Header(), page)
	}
	fields := form(page)
	want := map[string]string{"book_id": "dracula", "event_id": id, "event_time": bought.Format(schema.TimeLayout)}
	if fmt.Sprint(fields) != fmt.Sprint(want) {
		t.Fatalf("the form has %v, want %v", fields, want)
	}

	// A while later, perhaps at another store: still the same event.
	p := &fakePublisher{}
	s = newServer(t, p)
	if w := buy(s, []string{"Cookie", "user_id=bob"}, "book_id", fields["book_id"], "event_id", fields["event_id"], "event_time", fields["event_time"]); w.Code != http.StatusSeeOther {
		t.Fatalf("status = %d, want 303", w.Code)
	}
	event := schema.Event{EventID: id, EventType: schema.Purchase, EventTime: bought, UserID: "bob", BookID: "dracula"}
	if got := p.events(t); len(got) != 1 || got[0] != event {
		t.Errorf("published %v, want %v", got, event)
	}
}

func TestRefusedForms(t *testing.T) {
	id := schema.NewEventID()
	for _, test := range []struct {
		fields []string
		detail string
	}{
		{nil, "book_id is missing; event_id is missing."},
		{[]string{"book_id", "dracula"}, "event_id is missing."},
		{[]string{"book_id", "dracula", "event_id", "7"}, "event_id is not a UUID."},
		{[]string{"book_id", "nothing", "event_id", id}, "book_id is not in the catalogue."},
		{[]string{"book_id", "dracula", "event_id", id, "event_time", "soon"}, "event_time is not an RFC 3339 time"},
	} {
		p := &fakePublisher{}
		w := buy(newServer(t, p), nil, test.fields...)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), test.detail) || len(p.events(t)) != 0 {
			t.Errorf("%v: %d, want 400 and %q\n%s", test.fields, w.Code, test.detail, w.Body)
		}
	}
	s := newServer(t, &fakePublisher{})
	if w := send(s, http.MethodPost, "/purchases", `{"book_id":"dracula"}`); w.Code != http.StatusUnsupportedMediaType {
		t.Errorf("JSON = %d, want 415", w.Code)
	}
	if w := buy(s, []string{"Sec-Fetch-Site", "cross-site"}, "book_id", "dracula", "event_id", id); w.Code != http.StatusForbidden {
		t.Errorf("from another site = %d, want 403", w.Code)
	}
	if w := send(s, http.MethodPost, "/purchases", "book_id=%zz", "Content-Type", formType); w.Code != http.StatusBadRequest {
		t.Errorf("a broken form = %d, want 400", w.Code)
	}
	if w := send(s, http.MethodPost, "/purchases", "x="+strings.Repeat("x", 2<<20), "Content-Type", formType); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("2 MiB = %d, want 413", w.Code)
	}
}

// What is remembered of purchases has bounds, within which the recent ones stay.
func TestPurchasesAreForgotten(t *testing.T) {
	var p purchases
	published := 0
	once := func(id string, at time.Time) {
		t.Helper()
		event := schema.Event{EventID: id, BookID: "dracula", EventTime: at}
		if _, err := p.once(event, at, func(schema.Event) error { published++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	for range maxPurchases - 1 {
		once(uuid.NewString(), now)
	}
	later := now.Add(purchaseRetry + time.Second)
	once("recent", later)
	once("one more", later)
	if len(p.recent) != 2 {
		t.Errorf("%d purchases are remembered, want the 2 recent ones", len(p.recent))
	}
	before := published
	once("recent", later)
	if published != before {
		t.Error("a recent purchase is forgotten")
	}
	for range 2 * maxPurchases {
		once(uuid.NewString(), later)
	}
	if len(p.recent) > maxPurchases {
		t.Errorf("%d purchases are remembered, want at most %d", len(p.recent), maxPurchases)
	}
}

func TestPurchaseIsTriedAgainAfterAFailure(t *testing.T) {
	var p purchases
	event := schema.Event{EventID: "x", BookID: "dracula", EventTime: now}
	failure := errors.New("made by the test")
	if _, err := p.once(event, now, func(schema.Event) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("err = %v, want the publisher's", err)
	}
	again := event
	again.EventTime = now.Add(time.Second)
	got, err := p.once(again, now, func(e schema.Event) error {
		if e != event {
			t.Errorf("published %v, want %v as at first", e, event)
		}
		return nil
	})
	if err != nil || got != event {
		t.Errorf("got %v, %v", got, err)
	}
}
