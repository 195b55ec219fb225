package web

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/labstack/echo/v4"

	"example.com/bookstore/producer/publisher"
	"example.com/bookstore/schema"
)

// Result is what became of one item of an array of events.
type Result struct {
	EventID string       `json:"event_id,omitempty"` // absent if the item is no valid event
	Status  int          `json:"status"`             // as if it had been sent alone
	Detail  string       `json:"detail,omitempty"`
	Errors  []FieldError `json:"errors,omitempty"`
}

// postEvents takes one event, or an array of up to 500, and answers when the
// brokers have them, or the spool.
//
// One event: 202 with its event_id, or a problem. An array: 202 with a result per
// item if all were stored, 207 if only some were, 400 if none was valid, 503 if
// some were valid and none was stored.
func (s *Server) postEvents(c echo.Context) error {
	body, err := readBody(c)
	if err != nil {
		return err
	}
	if body[0] == '[' {
		return s.postBatch(c, body)
	}
	if len(body) > schema.MaxPayload {
		return cmp.Or[error](checkJSON(body), tooLarge("The event has more than 64 KiB."))
	}
	now := s.clock()
	event, errs := parseEvent(body, now)
	if len(errs) > 0 {
		return cmp.Or[error](checkJSON(body), invalidEvent(errs))
	}
	event.UserID = newVisitor(c).id(event.UserID)
	return s.publishOne(c, event, now)
}

func (s *Server) postBatch(c echo.Context, body []byte) error {
	now := s.clock()
	items, err := parseArray(body, now)
	if err != nil {
		return err
	}
	visitor, trace := newVisitor(c), traceParent(c.Request().Header)
	results := make([]Result, len(items))
	records := make([]publisher.Record, 0, len(items))
	indexes := make([]int, 0, len(items)) // of the items that the records are of
	for i, item := range items {
		if item.tooLarge {
			results[i] = Result{Status: http.StatusRequestEntityTooLarge, Detail: "The event has more than 64 KiB."}
			s.metrics.refused.WithLabelValues("too-large", unknownType).Inc()
			continue
		}
		if len(item.errs) > 0 {
			results[i] = Result{Status: http.StatusBadRequest, Detail: summary(item.errs), Errors: item.errs}
			s.metrics.refused.WithLabelValues("invalid-event", unknownType).Inc()
			continue
		}
		event := item.event
		event.UserID = visitor.id(event.UserID)
		r, err := record(event, now, trace)
		if err != nil {
			return err
		}
		results[i] = Result{EventID: event.EventID, Status: http.StatusAccepted}
		records, indexes = append(records, r), append(indexes, i)
	}
	if len(records) == 0 {
		return &Problem{
			Type: "invalid-event", Title: "Not a valid event", Status: http.StatusBadRequest,
			Detail: "None of the events is valid; see the results.", Results: results,
		}
	}

	var failure *Problem
	stored := 0
	for n, err := range s.publisher.Publish(c.Request().Context(), records) {
		if err == nil {
			stored++
			continue
		}
		failure = notAcknowledged(err)
		result := &results[indexes[n]]
		result.Status, result.Detail = failure.Status, failure.Detail
	}
	if stored == 0 {
		failure.Detail, failure.Results = "None of the events was confirmed; see the results.", results
		return failure
	}
	status := http.StatusAccepted
	if stored < len(items) {
		status = http.StatusMultiStatus
	}
	if failure != nil {
		c.Response().Header().Set(echo.HeaderRetryAfter, strconv.Itoa(int(failure.RetryAfter.Seconds())))
	}
	answer, err := jsonv2.Marshal(struct {
		Results []Result `json:"results"`
	}{results})
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	return c.JSONBlob(status, answer)
}

// item is one of an array.
type item struct {
	event    schema.Event
	errs     []FieldError // what is wrong with it
	tooLarge bool
}

// parseArray reads the items of a JSON array: in one go, if each of them is an object with
// what an event may have. Its error is a Problem.
func parseArray(body []byte, now time.Time) ([]item, error) {
	var list []given
	if len(body) > schema.MaxPayload || jsonv2.Unmarshal(body, &list, asJSON) != nil || slices.Contains(list, given{}) {
		return parseItems(body, now)
	}
	if err := checkLength(len(list)); err != nil {
		return nil, err
	}
	items := make([]item, len(list))
	for i, g := range list {
		items[i].event, items[i].errs = g.event(&fields{}, now)
	}
	return items, nil
}

// parseItems reads them one by one.
func parseItems(body []byte, now time.Time) ([]item, error) {
	var list []jsontext.Value
	if err := jsonv2.Unmarshal(body, &list, asJSON); err != nil {
		return nil, cmp.Or[error](checkJSON(body), invalidJSON("The body is not JSON: "+err.Error()+"."))
	}
	if err := checkLength(len(list)); err != nil {
		return nil, err
	}
	items := make([]item, len(list))
	for i, raw := range list {
		if items[i].tooLarge = len(raw) > schema.MaxPayload; !items[i].tooLarge {
			items[i].event, items[i].errs = parseEvent(raw, now)
		}
	}
	return items, nil
}

// checkLength refuses an array for its length, before anything is made of its items.
func checkLength(items int) error {
	switch {
	case items == 0:
		return &Problem{Type: "invalid-event", Title: "Not a valid event", Status: http.StatusBadRequest, Detail: "The array is empty."}
	case items > maxBatch:
		return tooLarge(fmt.Sprintf("The array has %d events, more than %d.", items, maxBatch))
	}
	return nil
}
