package web

import (
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"
)

func TestRateOfAVisitor(t *testing.T) {
	at := now
	s, err := New(Config{Publisher: &fakePublisher{}, Logger: slog.New(slog.DiscardHandler), RateLimit: 5, Clock: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	post := func(path, visitor string) int {
		t.Helper()
		header := []string{}
		if visitor != "" {
			header = append(header, "Cookie", "user_id="+visitor)
		}
		w := send(s, http.MethodPost, path, good, header...)
		if w.Code == http.StatusTooManyRequests {
			if w.Header().Get("Retry-After") != "1" {
				t.Errorf("Retry-After = %q, want 1", w.Header().Get("Retry-After"))
			}
			sameJSON(t, w.Body.String(), `{"type":"urn:bookstore:problem:too-many-requests","title":"Too Many Requests","status":429,"detail":"These are too many requests at once. Send it again a little later.","instance":"`+path+`"}`)
		}
		return w.Code
	}
	for _, visitor := range []string{"a", "b", ""} { // each has a rate of its own, and so has an address
		for i := range 10 { // two seconds' worth at once
			if code := post("/events", visitor); code != http.StatusAccepted {
				t.Fatalf("request %d of %q: %d, want 202", i, visitor, code)
			}
		}
		for _, path := range []string{"/events", "/track-event", "/purchases"} {
			if code := post(path, visitor); code != http.StatusTooManyRequests {
				t.Errorf("%s of %q after that: %d, want 429", path, visitor, code)
			}
		}
	}
	if code := send(s, http.MethodGet, "/", "", "Cookie", "user_id=a").Code; code != http.StatusOK {
		t.Errorf("the page: %d, want 200", code)
	}
	at = at.Add(200 * time.Millisecond)
	if first, second := post("/events", "a"), post("/events", "a"); first != http.StatusAccepted || second != http.StatusTooManyRequests {
		t.Errorf("a fifth of a second later: %d and %d, want one of 5 a second", first, second)
	}
}

func TestWithoutRateLimit(t *testing.T) {
	s := newServer(t, &fakePublisher{})
	for i := range 1000 {
		if code := send(s, http.MethodPost, "/events", good).Code; code != http.StatusAccepted {
			t.Fatalf("request %d: %d", i, code)
		}
	}
}

func TestLimiterForgets(t *testing.T) {
	l := newLimiter(1)
	l.generationSize = 10
	for i := range 1000 {
		l.wait(fmt.Sprint(i), now)
		// Who keeps sending is remembered.
		if delay := l.wait("busy", now); i >= burst && delay == 0 {
			t.Fatalf("the busy visitor was forgotten after %d others", i)
		}
		if n := len(l.current) + len(l.former); n > 20 {
			t.Fatalf("%d visitors are remembered, want at most 20", n)
		}
	}
}

// Memory follows how many visitors there are at a time, not how many have ever come.
func TestLimiterRemembersForABurstOnly(t *testing.T) {
	l := newLimiter(10)
	for i := range 10_000 { // a hundred new visitors a second
		at := now.Add(time.Duration(i) * 10 * time.Millisecond)
		l.wait(fmt.Sprint(i), at)
		if n, most := len(l.current)+len(l.former), 2*burst*100+2; n > most {
			t.Fatalf("%d visitors are remembered after %d, want at most %d", n, i, most)
		}
	}
	at := now.Add(time.Hour)
	for range burst * 10 {
		l.wait("busy", at)
	}
	for i := range 39 { // 3.9 seconds, in which generations end, give one request each 100 ms
		at = at.Add(100 * time.Millisecond)
		if delay := l.wait("busy", at); delay != 0 {
			t.Fatalf("request %d must wait for %v", i, delay)
		}
		if delay := l.wait("busy", at); delay == 0 {
			t.Fatalf("two requests at once after request %d", i)
		}
	}
}
