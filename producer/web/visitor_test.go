package web

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
)

func TestVisitorCookie(t *testing.T) {
	const event = `{"event_type":"purchase","user_id":"named","book_id":"middlemarch"}`
	anonymousID := anonymous + uuid.NewString()
	for _, test := range []struct {
		name   string
		body   string // of an event; the page is asked for if it is empty
		header []string
		user   string // of the event; any new one if empty
		cookie bool   // a new one comes
		lasts  bool
	}{
		{name: "a new visitor of the page", cookie: true, lasts: true},
		{name: "a visitor who returns to the page", header: []string{"Cookie", "user_id=bob"}},
		{name: "no tracking on the page", header: []string{"DNT", "1"}, cookie: true},
		{name: "privacy control on the page", header: []string{"Sec-GPC", "1"}, cookie: true},
		{name: "DNT: 0", header: []string{"DNT", "0"}, cookie: true, lasts: true},
		{name: "no tracking, with a lasting cookie", header: []string{"DNT", "1", "Cookie", "user_id=bob"}, cookie: true},
		{name: "no tracking, in the same visit", header: []string{"DNT", "1", "Cookie", "user_id=" + anonymousID}},
		{name: "a cookie that is no id", header: []string{"Cookie", "user_id=" + strings.Repeat("x", 65)}, cookie: true, lasts: true},
		{name: "the cookie wins over the event", body: event, header: []string{"Cookie", "user_id=bob"}, user: "bob"},
		{name: "a client without cookies names its user", body: event, user: "named"},
		{name: "no tracking wins over the event", body: event, header: []string{"Sec-GPC", "1"}, cookie: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &fakePublisher{}
			s := newServer(t, p)
			method, path, status := http.MethodGet, "/", http.StatusOK
			if test.body != "" {
				method, path, status = http.MethodPost, "/events", http.StatusAccepted
			}
			w := send(s, method, path, test.body, test.header...)
			if w.Code != status {
				t.Fatalf("status = %d\n%s", w.Code, w.Body)
			}
			user := test.user
			if cookies := w.Result().Cookies(); len(cookies) != 0 != test.cookie {
				t.Fatalf("cookies = %v, want one: %v", cookies, test.cookie)
			} else if test.cookie {
				c := cookies[0]
				user = c.Value
				if c.Name != "user_id" || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Secure {
					t.Errorf("cookie = %v", c)
				}
				age, prefix := 0, anonymous
				if test.lasts {
					age, prefix = 365*24*60*60, ""
				}
				id, isAnonymous := strings.CutPrefix(c.Value, anonymous)
				if _, err := uuid.Parse(id); err != nil || isAnonymous != (prefix != "") || c.MaxAge != age {
					t.Errorf("cookie = %v, want a UUID with prefix %q and Max-Age %d", c, prefix, age)
				}
			}
			if test.body != "" {
				if got := p.events(t)[0].UserID; got != user {
					t.Errorf("user_id = %q, want %q", got, user)
				}
			}
		})
	}
}

func TestCookieIsSecureOverHTTPS(t *testing.T) {
	s := newServer(t, &fakePublisher{})
	if c := send(s, http.MethodGet, "https://store.example/", "").Result().Cookies()[0]; !c.Secure {
		t.Errorf("cookie = %v, want Secure", c)
	}
}
