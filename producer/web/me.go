package web

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"example.com/bookstore/producer/catalogue"
	"example.com/bookstore/producer/live"
	"example.com/bookstore/schema"
)

// rememberedDays is how far back a visitor's own page goes.
const rememberedDays = 14

// longestReading is the pause after which a description counts as never closed.
const longestReading = 10 * time.Minute

// mePage is what the store knows of one visitor.
type mePage struct {
	layout
	Visitor   string // beginning of the id; "" for one that the store does not know
	Anonymous bool   // the id ends with the visit
	Private   bool   // the browser asks not to be tracked
	Days      []visitDay
	Unread    bool // Cassandra cannot be read
	Waiting   int  // events on their way
	Events    int
	Range     int // days
}

// visitDay is what was done on one day, UTC.
type visitDay struct {
	Day   time.Time
	Items []visitItem // the latest first
}

// visitItem is one thing that a visitor did; an opening and its closing are one.
type visitItem struct {
	At      time.Time
	Kind    schema.EventType
	Did     string
	Title   string
	BookID  string // "" if the store does not sell it
	Then    string // what became of it, such as for how long it was read
	Waiting bool   // on its way to Cassandra
}

// me shows a visitor what the store has noted under the visitor's own cookie. It
// gives none to who has none.
func (s *Server) me(c echo.Context) error {
	if s.liveSource == nil {
		return liveOff()
	}
	visitor := newVisitor(c)
	page := mePage{
		layout:  layout{Title: "Your visit – Bookstore", Section: "me", Styles: []string{"live.css"}, Scripts: []string{"me.js"}},
		Private: visitor.private, Range: rememberedDays,
	}
	if visitor.known != "" {
		page.Visitor, page.Anonymous = live.Short(visitor.known), strings.HasPrefix(visitor.known, anonymous)
		timeline, err := s.liveSource.Timeline(c.Request().Context(), visitor.known, rememberedDays)
		page.Unread = err != nil // the live page says why
		page.Waiting, page.Events = len(timeline.Waiting), len(timeline.Waiting)+len(timeline.Stored)
		page.Days = days(timeline, s.clock())
	}
	return s.show(c, http.StatusOK, "me.html", page)
}

// timed is an event of a timeline.
type timed struct {
	schema.Event
	waiting bool
}

// days groups a timeline by day, the latest first, with each opening and the closing
// that followed it as one.
func days(timeline live.Timeline, now time.Time) []visitDay {
	var events []timed
	for _, e := range timeline.Stored {
		events = append(events, timed{e, false})
	}
	for _, a := range timeline.Waiting {
		events = append(events, timed{a.Event, true})
	}
	slices.SortStableFunc(events, func(a, b timed) int { return a.EventTime.Compare(b.EventTime) })

	var items []visitItem
	open := map[string]int{} // place in items of a book's opening
	for _, e := range events {
		if at, ok := open[e.BookID]; ok && e.EventType != schema.Purchase {
			delete(open, e.BookID)
			took := e.EventTime.Sub(items[at].At)
			if e.EventType == schema.DescriptionClose && took < longestReading {
				items[at].Did, items[at].Then = "read about", "for "+duration(took.Seconds())
				items[at].Waiting = items[at].Waiting || e.waiting
				continue
			}
		}
		item := visitItem{At: e.EventTime, Kind: e.EventType, Did: did(e.EventType), Title: e.BookID, Waiting: e.waiting}
		if book, ok := catalogue.ByID(e.BookID); ok {
			item.Title, item.BookID = book.Title, book.ID
		}
		if e.EventType == schema.DescriptionOpen {
			open[e.BookID] = len(items)
			item.Then = "and did not close it"
			if now.Sub(e.EventTime) < longestReading {
				item.Then = "and have not closed it yet"
			}
		}
		items = append(items, item)
	}
	slices.Reverse(items)

	var list []visitDay
	for _, item := range items {
		day := item.At.UTC().Truncate(24 * time.Hour)
		if n := len(list); n == 0 || !list[n-1].Day.Equal(day) {
			list = append(list, visitDay{Day: day})
		}
		last := &list[len(list)-1]
		last.Items = append(last.Items, item)
	}
	return list
}
