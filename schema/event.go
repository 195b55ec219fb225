// Package schema defines the bookstore event, the one thing that travels the
// whole path: the store writes it to Kafka as JSON, Spark reads it from there,
// and Cassandra keeps it in a table with the same five columns.
//
// The definition stands in four files that a test holds against each other: the
// Go type here, event.schema.json for any producer, event.ddl for Spark and
// cassandra/migrations for Cassandra. To add a field, change all four.
package schema

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

const (
	// Topic is the Kafka topic of the events. The record key is the event's
	// UserID, so that one visitor's events stay in order.
	Topic = "bookstore_events"

	// Version is the value of the VersionHeader of each record. It grows only
	// when a reader of the former version could misread the new one; an added
	// field is no such change.
	Version = "1"

	// VersionHeader is the Kafka header of each record that has the Version.
	VersionHeader = "schema_version"

	// TraceHeader is the Kafka header of each record that has the W3C trace
	// context of the request.
	TraceHeader = "traceparent"

	// MaxIDLength is the longest UserID and BookID, in Unicode code points.
	MaxIDLength = 64

	// MaxPayload is the largest record value, in bytes, that is read as an event.
	MaxPayload = 64 << 10

	// TimeLayout is how EventTime is written: RFC 3339, UTC, milliseconds.
	TimeLayout = "2006-01-02T15:04:05.000Z"
)

// JSONSchema is the JSON Schema (draft 2020-12) of a record's value.
//
//go:embed event.schema.json
var JSONSchema []byte

// SparkDDL names and types the columns of the table events in Spark's DDL, as
// DataStreamReader.Schema and from_json take it.
//
//go:embed event.ddl
var SparkDDL string

// EventType says what the visitor did.
type EventType string

// The event types, all that there are.
const (
	DescriptionOpen  EventType = "description_open"
	DescriptionClose EventType = "description_close"
	Purchase         EventType = "purchase"
)

// EventTypes lists every valid EventType.
func EventTypes() []EventType {
	return []EventType{DescriptionOpen, DescriptionClose, Purchase}
}

// Event is one thing a visitor did. The zero value is not valid.
type Event struct {
	EventID   string    `json:"event_id"`   // UUID in its 36-character form; see NewEventID
	EventType EventType `json:"event_type"` // one of EventTypes
	EventTime time.Time `json:"event_time"` // when it happened at the visitor's side; kept to the millisecond
	UserID    string    `json:"user_id"`    // 1 to MaxIDLength code points
	BookID    string    `json:"book_id"`    // 1 to MaxIDLength code points
}

// wireEvent is an Event as JSON has it, by MarshalJSON and Decode: every field text, so
// that the layout of the time is ours and a bad one is reported like any other bad field.
type wireEvent struct {
	EventID, EventType, EventTime, UserID, BookID string
}

// NewEventID returns a new UUIDv7, whose first 48 bits are the present time, so
// that ids sort by the time they were made.
func NewEventID() string {
	return uuid.Must(uuid.NewV7()).String()
}

// MarshalJSON writes e as a record's value. It does not validate.
func (e Event) MarshalJSON() ([]byte, error) {
	raw := make([]byte, 0, 256)
	raw = append(raw, `{"event_id":`...)
	raw = appendText(raw, e.EventID)
	raw = append(raw, `,"event_type":`...)
	raw = appendText(raw, string(e.EventType))
	raw = append(raw, `,"event_time":"`...)
	if !e.EventTime.IsZero() {
		raw = appendTime(raw, e.EventTime)
	}
	raw = append(raw, `","user_id":`...)
	raw = appendText(raw, e.UserID)
	raw = append(raw, `,"book_id":`...)
	raw = appendText(raw, e.BookID)
	return append(raw, '}'), nil
}

// appendTime appends a time in TimeLayout, for which Go has a quick way only without the
// milliseconds.
func appendTime(raw []byte, t time.Time) []byte {
	t = t.UTC()
	raw = bytes.TrimSuffix(t.AppendFormat(raw, time.RFC3339), []byte("Z"))
	millis := t.Nanosecond() / int(time.Millisecond)
	return append(raw, '.', byte('0'+millis/100), byte('0'+millis/10%10), byte('0'+millis%10), 'Z')
}

// appendText appends a JSON string. Bytes that are no UTF-8 become the replacement
// character, as with encoding/json.
func appendText(raw []byte, text string) []byte {
	raw, _ = jsontext.AppendQuote(raw, text)
	return raw
}

func (e Event) wire() wireEvent {
	w := wireEvent{EventID: e.EventID, EventType: string(e.EventType), UserID: e.UserID, BookID: e.BookID}
	if !e.EventTime.IsZero() {
		w.EventTime = e.EventTime.UTC().Format(TimeLayout)
	}
	return w
}

// Decode reads and validates the value of one record. Its error says everything
// that is wrong, in the words that the job puts into rejected_events, one a line.
// Unknown fields are ignored.
func Decode(value []byte) (Event, error) {
	if len(value) > MaxPayload {
		return Event{}, fmt.Errorf("the payload has more than %d bytes", MaxPayload)
	}
	if !utf8.Valid(value) {
		return Event{}, errors.New("the payload is not valid UTF-8")
	}
	// A map, since decoding into a struct would match names in any case.
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(value, &fields); err != nil || fields == nil {
		return Event{}, errors.New("the payload is not a JSON object")
	}
	var w wireEvent
	notString := map[string]bool{}
	for name, into := range map[string]*string{
		"event_id": &w.EventID, "event_type": &w.EventType, "event_time": &w.EventTime,
		"user_id": &w.UserID, "book_id": &w.BookID,
	} {
		raw, ok := fields[name]
		if !ok || string(raw) == "null" {
			continue
		}
		if err := json.Unmarshal(raw, into); err != nil {
			notString[name] = true
		}
	}
	return w.parse(notString)
}

// Validate reports every rule that e breaks, or nil.
func (e Event) Validate() error {
	_, err := e.wire().parse(nil)
	return err
}

// parse checks every rule of an event. It is told which fields were there but not
// text.
func (w wireEvent) parse(notString map[string]bool) (Event, error) {
	var errs []error
	report := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	switch {
	case w.EventID == "" && !notString["event_id"]:
		report("event_id is missing or empty")
	case !ValidEventID(w.EventID):
		report("event_id is not a UUID")
	}
	switch {
	case w.EventType == "" && !notString["event_type"]:
		report("event_type is missing or empty")
	case !slices.Contains(EventTypes(), EventType(w.EventType)):
		report("event_type is not description_open, description_close or purchase")
	}
	var at time.Time
	if w.EventTime == "" && !notString["event_time"] {
		report("event_time is missing or empty")
	} else {
		var err error
		if at, err = ParseTime(w.EventTime); err != nil {
			report("event_time is not an RFC 3339 time such as 2026-01-31T12:00:00.000Z")
		}
	}
	for _, id := range []struct{ name, value string }{{"user_id", w.UserID}, {"book_id", w.BookID}} {
		switch {
		case notString[id.name]:
			report("%s is not a string", id.name)
		case id.value == "":
			report("%s is missing or empty", id.name)
		case utf8.RuneCountInString(id.value) > MaxIDLength:
			report("%s has more than %d characters", id.name, MaxIDLength)
		}
	}
	if len(errs) > 0 {
		return Event{}, errors.Join(errs...)
	}
	return Event{
		EventID: w.EventID, EventType: EventType(w.EventType), EventTime: at, UserID: w.UserID, BookID: w.BookID,
	}, nil
}

// ValidEventID reports whether s is a UUID of any version in its 36-character form.
func ValidEventID(s string) bool { return len(s) == 36 && uuid.Validate(s) == nil }

// ParseTime reads an RFC 3339 time and returns it in UTC, cut to the millisecond.
func ParseTime(s string) (time.Time, error) {
	var t time.Time
	err := t.UnmarshalText([]byte(strings.ToUpper(s)))
	if err != nil || strings.Contains(s, ",") { // which Go takes before the fraction
		return time.Time{}, fmt.Errorf("%q is not an RFC 3339 time such as 2026-01-31T12:00:00.000Z", s)
	}
	return t.UTC().Truncate(time.Millisecond), nil
}
