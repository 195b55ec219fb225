package web

import (
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"example.com/bookstore/schema"
)

const (
	visitorCookie = "user_id"
	cookieAge     = 365 * 24 * time.Hour

	// anonymous marks the ids of visitors who ask not to be tracked. Such an id
	// lasts for the visit.
	anonymous = "anonymous-"
)

// visitor is who sends a request.
type visitor struct {
	c       echo.Context
	private bool   // asks not to be tracked
	known   string // id by the cookie, or ""
}

func newVisitor(c echo.Context) *visitor {
	h := c.Request().Header
	v := &visitor{c: c, private: h.Get("DNT") == "1" || h.Get("Sec-GPC") == "1"}
	if cookie, err := c.Cookie(visitorCookie); err == nil && validID(cookie.Value) {
		// Who asks not to be tracked gets rid of an earlier, lasting id.
		if !v.private || strings.HasPrefix(cookie.Value, anonymous) {
			v.known = cookie.Value
		}
	}
	return v
}

func validID(id string) bool {
	n := utf8.RuneCountInString(id)
	return n >= 1 && n <= schema.MaxIDLength
}

// id returns the visitor's id by the cookie, else the one that the client names,
// else a new one, which it sends as a cookie.
func (v *visitor) id(named string) string {
	switch {
	case v.known != "":
		return v.known
	case named != "" && !v.private:
		return named
	}
	cookie := &http.Cookie{
		Name: visitorCookie, Value: uuid.NewString(), Path: "/",
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: v.c.Scheme() == "https",
		MaxAge: int(cookieAge.Seconds()),
	}
	if v.private {
		cookie.Value, cookie.MaxAge = anonymous+cookie.Value, 0 // ends with the browser's session
	}
	v.c.SetCookie(cookie)
	v.known = cookie.Value
	return v.known
}
