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

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
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

// readBody returns what should be the JSON text of a request, without white space around
// it.
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
	if body = bytes.Trim(body, " \t\r\n"); len(body) == 0 {
		return nil, checkJSON(body)
	}
	return body, nil
}

// checkJSON says where a body is not JSON. Only one that could not be read is looked at
// a second time.
func checkJSON(body []byte) error {
	if err := json.Unmarshal(body, new(json.RawMessage)); err != nil {
		return invalidJSON("The body is not JSON: " + err.Error() + ".")
	}
	return nil
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

// given are the values of an event in the store's own shape, nil for what is absent.
type given struct {
	EventID   *string `json:"event_id"`
	EventType *string `json:"event_type"`
	EventTime *string `json:"event_time"`
	UserID    *string `json:"user_id"`
	BookID    *string `json:"book_id"`
}

// asJSON reads JSON as encoding/json does, but in one pass, and names in their exact case.
var asJSON = jsonv2.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// fields reads an object's values and collects what is wrong with them.
type fields struct {
	object object
	prefix string // JSON Pointer of the object
	errs   []FieldError
}

func (f *fields) fail(name, format string, args ...any) {
	f.errs = append(f.errs, FieldError{Pointer: f.pointer(name), Detail: name + " " + fmt.Sprintf(format, args...)})
}

func (f *fields) pointer(name string) string { return "#" + f.prefix + "/" + name }

// failed tells whether something is wrong with a value already.
func (f *fields) failed(name string) bool {
	return slices.ContainsFunc(f.errs, func(e FieldError) bool { return e.Pointer == f.pointer(name) })
}

// text returns the string called name, nil if it is absent or no string. null is absent.
func (f *fields) text(name string) *string {
	raw, ok := f.object[name]
	if !ok || string(raw) == "null" {
		return nil
	}
	var value string
	if err := json.Unmarshal(raw, &value); err != nil {
		f.fail(name, "is not a string")
		return nil
	}
	return &value
}

// required is the text of a value that must be there.
func (f *fields) required(name string, value *string) string {
	if value != nil {
		return *value
	}
	if !f.failed(name) {
		f.fail(name, "is missing")
	}
	return ""
}

func (f *fields) eventID(id *string) string {
	switch {
	case id == nil:
		return schema.NewEventID()
	case !schema.ValidEventID(*id):
		f.fail("event_id", "is not a UUID")
	}
	return strings.ToLower(*id) // one spelling, since the same id is the same event
}

func (f *fields) eventType(kind *string) schema.EventType {
	t := schema.EventType(f.required("event_type", kind))
	if !f.failed("event_type") && !slices.Contains(schema.EventTypes(), t) {
		f.fail("event_type", "is not one of description_open, description_close, purchase")
	}
	return t
}

func (f *fields) bookID(id *string) string {
	book := f.required("book_id", id)
	if _, ok := catalogue.ByID(book); !ok && !f.failed("book_id") {
		f.fail("book_id", "is not in the catalogue")
	}
	return book
}

// userID returns the visitor that the client names, or "".
func (f *fields) userID(id *string) string {
	if id == nil {
		return ""
	}
	if n := utf8.RuneCountInString(*id); n < 1 || n > schema.MaxIDLength {
		f.fail("user_id", "has %d characters, not 1 to %d", n, schema.MaxIDLength)
	}
	return *id
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
	var g given
	if raw[0] == '{' && jsonv2.Unmarshal(raw, &g, asJSON) == nil {
		return g.event(&fields{}, now)
	}
	// Something in it is no string: find out all that is wrong.
	o, errs := parseObject(raw)
	if errs != nil {
		return schema.Event{}, errs
	}
	f := &fields{object: o}
	g = given{f.text("event_id"), f.text("event_type"), f.text("event_time"), f.text("user_id"), f.text("book_id")}
	return g.event(f, now)
}

// event makes an event of what was given, and collects what is wrong with it in f.
func (g given) event(f *fields, now time.Time) (schema.Event, []FieldError) {
	event := schema.Event{EventID: f.eventID(g.EventID), EventType: f.eventType(g.EventType), EventTime: bounded(now, now)}
	if g.EventTime != nil {
		at, err := schema.ParseTime(*g.EventTime)
		if err != nil {
			f.fail("event_time", "is not an RFC 3339 time such as %s", schema.TimeLayout)
		}
		event.EventTime = bounded(at, now)
	}
	event.UserID, event.BookID = f.userID(g.UserID), f.bookID(g.BookID)
	return event, f.errs
}

// record makes of an event what goes to the topic.
func record(event schema.Event, now time.Time, traceParent string) (publisher.Record, error) {
	value, err := event.MarshalJSON()
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
	body, err := json.Marshal(struct {
		EventID string `json:"event_id"`
	}{event.EventID})
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	return c.JSONBlob(http.StatusAccepted, body)
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
