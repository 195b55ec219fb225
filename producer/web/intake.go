package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"example.com/bookstore/producer/catalogue"
	"example.com/bookstore/producer/publisher"
	"example.com/bookstore/schema"
)

const (
	maxBody  = "1MiB"
	maxBatch = 500

	// A visitor's clock may be this far off the store's. Beyond it the store's
	// own time is the better one.
	maxAhead  = 5 * time.Minute
	maxBehind = 24 * time.Hour
)

// object is a JSON object whose fields are yet to be read. Other than decoding
// into a struct, this keeps to the exact case of names and reports every field.
type object map[string]json.RawMessage

// readBody returns the JSON text of a request.
func readBody(c echo.Context) ([]byte, error) {
	r := c.Request()
	if err := checkMediaType(r.Header); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(r.Body)
	var echoErr *echo.HTTPError
	switch {
	case errors.As(err, &echoErr):
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &Problem{Status: http.StatusRequestTimeout, Detail: "The body did not arrive in time."}
	case err != nil:
		return nil, invalidJSON("The body ended too early.")
	case !utf8.Valid(body):
		return nil, invalidJSON("The body is not valid UTF-8.")
	}
	if !json.Valid(body) {
		err := json.Unmarshal(body, new(json.RawMessage)) // which says where
		return nil, invalidJSON("The body is not JSON: " + err.Error() + ".")
	}
	return body, nil
}

func checkMediaType(h http.Header) error {
	if !takesMediaType(h.Get(echo.HeaderContentType)) {
		return &Problem{
			Type: "unsupported-type", Status: http.StatusUnsupportedMediaType,
			Detail: "Send application/json, or a beacon's text/plain, in UTF-8.",
		}
	}
	if coding := h.Get(echo.HeaderContentEncoding); coding != "" && coding != "identity" {
		return &Problem{
			Type: "unsupported-type", Status: http.StatusUnsupportedMediaType,
			Detail: "Send the body without a content coding.",
		}
	}
	return nil
}

// takesMediaType takes JSON, also as the text/plain that a browser's beacon has to call
// it.
func takesMediaType(given string) bool {
	if given == echo.MIMEApplicationJSON { // as most have it
		return true
	}
	kind, params, err := mime.ParseMediaType(given)
	charset := strings.ToLower(params["charset"])
	return err == nil && (kind == echo.MIMEApplicationJSON || kind == echo.MIMETextPlain) && (charset == "" || charset == "utf-8")
}

func invalidJSON(detail string) *Problem {
	return &Problem{Type: "invalid-json", Title: "Not readable as JSON", Status: http.StatusBadRequest, Detail: detail}
}

func invalidEvent(errs []FieldError) *Problem {
	return &Problem{
		Type: "invalid-event", Title: "Not a valid event", Status: http.StatusBadRequest,
		Detail: summary(errs), Errors: errs,
	}
}

// summary says in one sentence what errs say in a list.
func summary(errs []FieldError) string {
	details := make([]string, len(errs))
	for i, e := range errs {
		details[i] = e.Detail
	}
	return strings.Join(details, "; ") + "."
}

// fields reads an object's values and collects what is wrong with them.
type fields struct {
	object object
	prefix string // JSON Pointer of the object
	errs   []FieldError
}

func (f *fields) fail(name, format string, args ...any) {
	f.errs = append(f.errs, FieldError{Pointer: "#" + f.prefix + "/" + name, Detail: name + " " + fmt.Sprintf(format, args...)})
}

// text returns the string called name, and whether it is there. null is absent.
func (f *fields) text(name string) (value string, ok bool) {
	raw, ok := f.object[name]
	if !ok || string(raw) == "null" {
		return "", false
	}
	if raw[0] == '"' && bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		return string(raw[1 : len(raw)-1]), true // as it stands, which most do
	}
	if err := json.Unmarshal(raw, &value); err != nil {
		f.fail(name, "is not a string")
		return "", false
	}
	return value, true
}

// required is text that must be there.
func (f *fields) required(name string) string {
	before := len(f.errs)
	value, ok := f.text(name)
	if !ok && len(f.errs) == before {
		f.fail(name, "is missing")
	}
	return value
}

func (f *fields) eventID() string {
	id, ok := f.text("event_id")
	switch {
	case !ok:
		return schema.NewEventID()
	case !schema.ValidEventID(id):
		f.fail("event_id", "is not a UUID")
	}
	return strings.ToLower(id) // one spelling, since the same id is the same event
}

func (f *fields) eventType() schema.EventType {
	before := len(f.errs)
	kind := schema.EventType(f.required("event_type"))
	if len(f.errs) == before && !slices.Contains(schema.EventTypes(), kind) {
		f.fail("event_type", "is not one of description_open, description_close, purchase")
	}
	return kind
}

func (f *fields) bookID() string {
	before := len(f.errs)
	id := f.required("book_id")
	if _, ok := catalogue.ByID(id); !ok && len(f.errs) == before {
		f.fail("book_id", "is not in the catalogue")
	}
	return id
}

// userID returns the visitor that the client names, or "".
func (f *fields) userID() string {
	id, ok := f.text("user_id")
	if n := utf8.RuneCountInString(id); ok && (n < 1 || n > schema.MaxIDLength) {
		f.fail("user_id", "has %d characters, not 1 to %d", n, schema.MaxIDLength)
	}
	return id
}

// bounded returns at if it can be right by the store's clock, else that clock's
// time.
func bounded(at, now time.Time) time.Time {
	if at.After(now.Add(maxAhead)) || at.Before(now.Add(-maxBehind)) {
		at = now
	}
	return at.UTC().Truncate(time.Millisecond)
}

// parseObject reads one JSON value as an object.
func parseObject(raw []byte) (object, []FieldError) {
	var o object
	if err := json.Unmarshal(raw, &o); err != nil || o == nil {
		return nil, []FieldError{{Pointer: "#", Detail: "the event is not a JSON object"}}
	}
	return o, nil
}

// parseEvent reads an event in the store's own shape. Its UserID is what the
// client names, or empty.
func parseEvent(raw []byte, now time.Time) (schema.Event, []FieldError) {
	o, errs := parseObject(raw)
	if errs != nil {
		return schema.Event{}, errs
	}
	f := &fields{object: o}
	event := schema.Event{EventID: f.eventID(), EventType: f.eventType(), EventTime: bounded(now, now)}
	if text, ok := f.text("event_time"); ok {
		at, err := schema.ParseTime(text)
		if err != nil {
			f.fail("event_time", "is not an RFC 3339 time such as %s", schema.TimeLayout)
		}
		event.EventTime = bounded(at, now)
	}
	event.UserID, event.BookID = f.userID(), f.bookID()
	return event, f.errs
}

// record makes of an event what goes to the topic.
func record(event schema.Event, now time.Time, traceParent string) (publisher.Record, error) {
	value, err := json.Marshal(event)
	if err != nil {
		return publisher.Record{}, fmt.Errorf("encoding an event: %w", err)
	}
	return publisher.Record{
		Key: event.UserID, Value: value, Time: now, TraceParent: traceParent, Type: string(event.EventType),
	}, nil
}

// publishOne publishes one event and answers 202.
func (s *Server) publishOne(c echo.Context, event schema.Event, now time.Time) error {
	r, err := record(event, now, traceParent(c.Request().Header))
	if err != nil {
		return err
	}
	if err := s.publisher.Publish(c.Request().Context(), []publisher.Record{r})[0]; err != nil {
		problem := notAcknowledged(err)
		problem.EventID = event.EventID
		return problem
	}
	return c.JSON(http.StatusAccepted, struct {
		EventID string `json:"event_id"`
	}{event.EventID})
}

// notAcknowledged explains an error of the publisher.
func notAcknowledged(err error) *Problem {
	problem := &Problem{
		Type: "not-acknowledged", Title: "Not acknowledged", Status: http.StatusServiceUnavailable, RetryAfter: 2 * time.Second,
		Detail: "The event was not confirmed in time. Send it again with the same event_id.",
	}
	switch {
	case errors.Is(err, publisher.ErrQueueFull):
		problem.Type, problem.Title, problem.RetryAfter = "busy", "Too many events at once", time.Second
		problem.Detail = "Too many events wait already. Send it again a little later."
	case errors.Is(err, publisher.ErrClosed), errors.Is(err, publisher.ErrFatal):
		problem.Type, problem.Title = "stopping", "The store is stopping"
		problem.Detail = "This store takes no more events. Send it again a little later."
	}
	return problem
}
