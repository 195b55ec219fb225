package web

import (
	"cmp"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"example.com/bookstore/schema"
)

// postTrackEvent takes one event in the shape of the tutorial that this store
// follows: event_type, timestamp and details.book_id. From there on it is an
// event like any other.
func (s *Server) postTrackEvent(c echo.Context) error {
	body, err := readBody(c)
	if err != nil {
		return err
	}
	if len(body) > schema.MaxPayload {
		return cmp.Or[error](checkJSON(body), tooLarge("The event has more than 64 KiB."))
	}
	now := s.clock()
	event, errs := parseTrackEvent(body, now)
	if len(errs) > 0 {
		return cmp.Or[error](checkJSON(body), invalidEvent(errs))
	}
	event.UserID = newVisitor(c).id(event.UserID)
	return s.publishOne(c, event, now)
}

func parseTrackEvent(raw []byte, now time.Time) (schema.Event, []FieldError) {
	o, errs := parseObject(raw)
	if errs != nil {
		return schema.Event{}, errs
	}
	f := &fields{object: o}
	event := schema.Event{
		EventID: f.eventID(f.text("event_id")), EventType: f.eventType(f.text("event_type")), UserID: f.userID(f.text("user_id")),
		EventTime: bounded(now, now),
	}
	if raw, ok := o["timestamp"]; ok && string(raw) != "null" {
		at, ok := parseTimestamp(raw)
		if !ok {
			f.fail("timestamp", "is neither an ISO 8601 time nor a Unix time in seconds or milliseconds")
		}
		event.EventTime = bounded(at, now)
	}

	details := &fields{prefix: "/details"}
	switch raw, ok := o["details"]; {
	case !ok || string(raw) == "null":
		f.fail("details", "is missing")
	case json.Unmarshal(raw, &details.object) != nil:
		f.fail("details", "is not a JSON object")
	default:
		event.BookID = details.bookID(details.text("book_id"))
	}
	return event, append(f.errs, details.errs...)
}

// parseTimestamp reads what clients of the tutorial send: Date.now(), time.time(),
// toISOString() or isoformat(), which leaves the zone out where it means UTC.
func parseTimestamp(raw json.RawMessage) (time.Time, bool) {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = string(raw) // a number, perhaps
	}
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		return unixTime(n)
	}
	if !strings.HasPrefix(string(raw), `"`) {
		return time.Time{}, false
	}
	if at, err := schema.ParseTime(text); err == nil {
		return at, true
	}
	if at, err := time.Parse("2006-01-02T15:04:05", strings.Replace(text, " ", "T", 1)); err == nil {
		return at, true
	}
	return time.Time{}, false
}

// unixTime takes n as milliseconds if as seconds it would be past the year 5000.
func unixTime(n float64) (time.Time, bool) {
	if math.IsNaN(n) || math.Abs(n) > 1e15 {
		return time.Time{}, false
	}
	if math.Abs(n) < 1e11 {
		n *= 1000
	}
	return time.UnixMilli(int64(n)), true
}
