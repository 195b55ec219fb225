package web

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"example.com/bookstore/producer/catalogue"
	"example.com/bookstore/producer/publisher"
	"example.com/bookstore/schema"
)

// The confirmation is shown to the browser that has bought the book, as long as this.
const (
	purchaseCookie = "purchase"
	confirmedFor   = time.Hour
)

// postPurchase takes the form of a book's page: book_id and event_id, and event_time
// where the form is sent again. Once the brokers have the event it redirects to the
// confirmation. If they do not take it, the page says so and holds the same event.
func (s *Server) postPurchase(c echo.Context) error {
	kind, _, err := mime.ParseMediaType(c.Request().Header.Get(echo.HeaderContentType))
	if err != nil || kind != echo.MIMEApplicationForm {
		return &Problem{
			Type: "unsupported-type", Status: http.StatusUnsupportedMediaType,
			Detail: "Send the form of a book's page as application/x-www-form-urlencoded, or an event to /events.",
		}
	}
	if err := c.Request().ParseForm(); err != nil {
		var echoErr *echo.HTTPError
		if errors.As(err, &echoErr) {
			return echoErr
		}
		return &Problem{Status: http.StatusBadRequest, Detail: "The form did not arrive whole. Go back to the book and buy it from there."}
	}
	now := s.clock()
	event, errs := parsePurchase(c.Request().PostForm, now)
	if len(errs) > 0 {
		problem := invalidEvent(errs)
		problem.Detail = "The form is not one of this store: " + problem.Detail + " Go back to the book and buy it from there."
		return problem
	}
	event.UserID = newVisitor(c).id("")

	event, err = s.purchases.once(event, now, func(e schema.Event) error {
		r, err := record(e, now, traceParent(c.Request().Header))
		if err != nil {
			return err
		}
		return s.publisher.Publish(c.Request().Context(), []publisher.Record{r})[0]
	})
	if err != nil {
		return s.unconfirmed(c, event, notAcknowledged(err))
	}
	address := "/purchases/" + event.EventID
	c.SetCookie(&http.Cookie{
		Name: purchaseCookie, Value: event.BookID, Path: address, MaxAge: int(confirmedFor.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: c.Scheme() == "https",
	})
	return c.Redirect(http.StatusSeeOther, address)
}

// parsePurchase reads the form as the event that it stands for, without its visitor.
func parsePurchase(form url.Values, now time.Time) (schema.Event, []FieldError) {
	fields := map[string]string{"event_type": string(schema.Purchase)}
	for _, name := range []string{"event_id", "event_time", "book_id"} {
		if value := form.Get(name); value != "" {
			fields[name] = value
		}
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		return schema.Event{}, []FieldError{{Pointer: "#", Detail: err.Error()}}
	}
	event, errs := parseEvent(raw, now)
	if fields["event_id"] == "" { // an event may come without, a form is given one
		errs = append(errs, FieldError{Pointer: "#/event_id", Detail: "event_id is missing"})
	}
	return event, errs
}

type unconfirmedPage struct {
	layout
	Book  catalogue.Book
	Event schema.Event
	Time  string // of the event, as its form sends it
}

// unconfirmed says that a purchase has not been acknowledged, and offers to send it
// again as the same event.
func (s *Server) unconfirmed(c echo.Context, event schema.Event, problem *Problem) error {
	b, _ := catalogue.ByID(event.BookID)
	c.Response().Header().Set(echo.HeaderRetryAfter, strconv.Itoa(int(problem.RetryAfter.Seconds())))
	return s.show(c, problem.Status, "unconfirmed.html", unconfirmedPage{
		layout: layout{Title: "Not confirmed yet – Bookstore"},
		Book:   b, Event: event, Time: event.EventTime.Format(schema.TimeLayout),
	})
}

type confirmationPage struct {
	layout
	Book    catalogue.Book
	Shelf   catalogue.Shelf
	EventID string
	More    []catalogue.Book
}

// purchase shows the confirmation of a purchase, to the browser that has made it.
func (s *Server) purchase(c echo.Context) error {
	cookie, err := c.Cookie(purchaseCookie)
	if err != nil {
		return noConfirmation()
	}
	b, ok := catalogue.ByID(cookie.Value)
	id := strings.ToLower(c.Param("id"))
	if !ok || !schema.ValidEventID(id) {
		return noConfirmation()
	}
	shelf, _ := catalogue.ShelfByID(b.Shelf)
	return s.show(c, http.StatusOK, "confirmation.html", confirmationPage{
		layout: layout{Title: "Purchase confirmed – Bookstore", Scripts: scripts},
		Book:   b, Shelf: shelf, EventID: id, More: neighbours(shelf.Books, b, maxMore),
	})
}

func noConfirmation() error {
	return &Problem{
		Status: http.StatusNotFound,
		Detail: "This browser knows of no purchase with this number. A confirmation is shown for an hour, where the book was bought.",
	}
}

// purchases remembers what was bought a little while ago. A form that comes twice, by
// a double click or a reload, is then one event at one time, and one record.
type purchases struct {
	mu     sync.Mutex
	recent map[purchaseKey]*attempt
}

type purchaseKey struct{ eventID, bookID string }

type attempt struct {
	mu           sync.Mutex // held while the event is published
	began        time.Time
	event        schema.Event
	acknowledged bool
}

// maxPurchases bounds what is remembered; beyond it only the last minutes' are.
const (
	maxPurchases  = 10_000
	purchaseRetry = 10 * time.Minute
)

// once publishes the event, unless that has been done. It returns the event as it was
// when it first came.
func (p *purchases) once(event schema.Event, now time.Time, publish func(schema.Event) error) (schema.Event, error) {
	a := p.attempt(event, now)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.acknowledged {
		return a.event, nil
	}
	err := publish(a.event)
	a.acknowledged = err == nil
	return a.event, err
}

func (p *purchases) attempt(event schema.Event, now time.Time) *attempt {
	key := purchaseKey{event.EventID, event.BookID}
	p.mu.Lock()
	defer p.mu.Unlock()
	if a, ok := p.recent[key]; ok {
		return a
	}
	if len(p.recent) >= maxPurchases {
		for key, a := range p.recent {
			if now.Sub(a.began) > purchaseRetry {
				delete(p.recent, key)
			}
		}
	}
	if p.recent == nil || len(p.recent) >= maxPurchases {
		p.recent = map[purchaseKey]*attempt{}
	}
	a := &attempt{began: now, event: event}
	p.recent[key] = a
	return a
}
