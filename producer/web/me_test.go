package web

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/bookstore/producer/live"
	"example.com/bookstore/schema"
)

func TestMe(t *testing.T) {
	const open, shut, buy = schema.DescriptionOpen, schema.DescriptionClose, schema.Purchase
	at := func(ago time.Duration, kind schema.EventType, book string) schema.Event {
		return schema.Event{EventID: schema.NewEventID(), EventType: kind, EventTime: now.Add(-ago).UTC(), UserID: "4b1d2c00-aaaa", BookID: book}
	}
	f := &fakeLive{timeline: live.Timeline{
		Stored: []schema.Event{ // the latest first
			at(20*time.Second, shut, "jane-eyre"), // also waiting, below
			at(30*time.Second, open, "dracula"),
			at(62*time.Second, open, "jane-eyre"),
			at(70*time.Second, buy, "no-such-book"),
			at(80*time.Second, shut, "middlemarch"), // too late to be of the opening
			at(20*time.Minute, open, "middlemarch"),
			at(24*time.Hour, buy, "moby-dick"),
		},
		Waiting: []live.Arrived{{Event: at(5*time.Second, buy, "dracula"), Received: now}},
	}}
	s := newLiveServer(t, f)
	w := send(s, http.MethodGet, "/me", "", "Cookie", "user_id=4b1d2c00-aaaa")
	text := textOf(w.Body.String())
	if w.Code != http.StatusOK || f.user != "4b1d2c00-aaaa" || len(w.Result().Cookies()) != 0 || w.Header().Get("Cache-Control") != "private, no-store" {
		t.Fatalf("/me = %d, of %q, %v", w.Code, f.user, w.Header())
	}
	for _, want := range []string{
		"under your number, 4b1d2c… , in the last 14 days: 8 events.",
		"1 event is on the way",
		"Sunday, 1 March 2026 11:59:55 You bought Dracula on its way 11:59:30 You opened Dracula and have not closed it yet " +
			"11:58:58 You read about Jane Eyre for 42 s 11:58:50 You bought no-such-book 11:58:40 You closed Middlemarch " +
			"11:40:00 You opened Middlemarch and did not close it Saturday, 28 February 2026 12:00:00 You bought Moby-Dick",
		"It lasts for a year.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(w.Body.String(), "4b1d2c00-aaaa") {
		t.Error("the page shows the whole number")
	}
}

func TestMeOfNobody(t *testing.T) {
	f := &fakeLive{}
	s := newLiveServer(t, f)
	for header, want := range map[string]string{"DNT": "as your browser asks", "X-None": "you have no cookie of it yet"} {
		w := send(s, http.MethodGet, "/me", "", header, "1")
		if text := textOf(w.Body.String()); w.Code != http.StatusOK || !strings.Contains(text, want) || f.user != "" || len(w.Result().Cookies()) != 0 {
			t.Errorf("/me = %d, of %q, %v\n%s", w.Code, f.user, w.Header(), text)
		}
	}
}

func TestMeWithoutCassandra(t *testing.T) {
	f := &fakeLive{unread: live.ErrUnreachable, timeline: live.Timeline{
		Waiting: []live.Arrived{{Event: schema.Event{EventID: "x", EventType: schema.Purchase, EventTime: now, BookID: "dracula"}, Received: now}},
	}}
	w := send(newLiveServer(t, f), http.MethodGet, "/me", "", "Cookie", "user_id=anonymous-4b1d2c00")
	text := textOf(w.Body.String())
	for _, want := range []string{"cannot be read now", "You bought Dracula on its way", "it ends with this visit"} {
		if w.Code != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("/me = %d lacks %q:\n%s", w.Code, want, text)
		}
	}
}
