package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

const (
	problemJSON   = "application/problem+json"
	problemPrefix = "urn:bookstore:problem:"
)

// Problem is an answer other than success, as RFC 9457 has it. A handler returns
// it as its error.
type Problem struct {
	Type       string        // last part of the type's URN; "about:blank" if empty
	Title      string        // the status's own text if empty
	Status     int           // HTTP status
	Detail     string        // a sentence about this occurrence
	Errors     []FieldError  // what is wrong with the event, field by field
	EventID    string        // of an event that was not acknowledged, to send it again
	Results    []Result      // of an array, item by item
	RetryAfter time.Duration // header, in whole seconds; none if zero
}

// FieldError is one thing that is wrong with an event.
type FieldError struct {
	Pointer string `json:"pointer"` // JSON Pointer to the field, as a URI fragment
	Detail  string `json:"detail"`
}

// Error makes a Problem an error.
func (p *Problem) Error() string { return fmt.Sprintf("%d %s", p.Status, p.Detail) }

func (p *Problem) body(instance string) ([]byte, error) {
	kind := "about:blank"
	if p.Type != "" {
		kind = problemPrefix + p.Type
	}
	title := p.Title
	if title == "" {
		title = http.StatusText(p.Status)
	}
	return json.Marshal(struct {
		Type     string       `json:"type"`
		Title    string       `json:"title"`
		Status   int          `json:"status"`
		Detail   string       `json:"detail,omitempty"`
		Instance string       `json:"instance"`
		Errors   []FieldError `json:"errors,omitempty"`
		EventID  string       `json:"event_id,omitempty"`
		Results  []Result     `json:"results,omitempty"`
	}{kind, title, p.Status, p.Detail, instance, p.Errors, p.EventID, p.Results})
}

// handleError answers a request whose handler returned an error: with a page
// where a person looks for one, else with a problem.
func (s *Server) handleError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	problem := s.problemOf(err, c)
	s.metrics.countRefusal(problem, c)
	if problem.RetryAfter > 0 {
		c.Response().Header().Set(echo.HeaderRetryAfter, strconv.Itoa(int(problem.RetryAfter.Seconds())))
	}
	if wantsPage(c.Request()) {
		err = s.show(c, problem.Status, "error.html", errorPage{layout{Title: problem.heading() + " – Bookstore"}, problem.heading(), problem.Detail})
	} else {
		var body []byte
		if body, err = problem.body(c.Request().URL.EscapedPath()); err == nil {
			err = c.Blob(problem.Status, problemJSON, body)
		}
	}
	if err != nil {
		s.logger.Debug("answering a request", "error", err) // the client is gone
	}
}

func (s *Server) problemOf(err error, c echo.Context) *Problem {
	var problem *Problem
	var echoErr *echo.HTTPError
	switch {
	case errors.As(err, &problem):
		return problem
	case errors.As(err, &echoErr):
		problem := &Problem{Status: echoErr.Code}
		switch echoErr.Code {
		case http.StatusNotFound:
			problem.Detail = "There is nothing at this address."
		case http.StatusMethodNotAllowed:
			problem.Detail = fmt.Sprintf("%s is not possible here; use %s.", c.Request().Method, c.Response().Header().Get(echo.HeaderAllow))
		case http.StatusRequestEntityTooLarge:
			return tooLarge("The body has more than 1 MiB.")
		}
		return problem
	default:
		s.logger.Error("answering a request", "method", c.Request().Method, "path", c.Path(), "error", err)
		return &Problem{Status: http.StatusInternalServerError}
	}
}

type errorPage struct {
	layout
	Heading, Detail string
}

// heading is the title as a person reads it.
func (p *Problem) heading() string {
	switch {
	case p.Title != "":
		return p.Title
	case p.Status == http.StatusNotFound:
		return "This page is not in the store"
	case p.Status == http.StatusInternalServerError:
		return "Something went wrong here"
	default:
		return http.StatusText(p.Status)
	}
}

func wantsPage(r *http.Request) bool {
	switch r.URL.Path {
	case "/events", "/track-event", "/healthz", "/readyz", "/metrics":
		return false
	}
	return strings.Contains(r.Header.Get(echo.HeaderAccept), "text/html")
}

func tooLarge(detail string) *Problem {
	return &Problem{Type: "too-large", Status: http.StatusRequestEntityTooLarge, Detail: detail}
}
