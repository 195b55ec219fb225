package live

import (
	"cmp"
	"slices"
	"time"

	"example.com/bookstore/producer/catalogue"
	"example.com/bookstore/schema"
)

const (
	countedMinutes = 60
	// maxKeys bounds a minute: the topic may name books that nobody sells.
	maxKeys = 3000
)

type countKey struct {
	book string
	kind schema.EventType
}

// counts keeps the live counts of the last hour. The topic tells each count anew
// whenever it grows, so that the latest of a key is the one that holds.
type counts struct {
	minutes map[time.Time]map[countKey]int64
	at      time.Time // of the latest one told
}

func (c *counts) set(a schema.Activity, at, now time.Time) {
	minute := a.WindowStart.UTC()
	oldest := now.Truncate(time.Minute).Add(-countedMinutes * time.Minute)
	if minute.Before(oldest) || minute.After(now.Add(recently)) {
		return
	}
	if c.minutes == nil {
		c.minutes = map[time.Time]map[countKey]int64{}
	}
	if c.minutes[minute] == nil {
		for m := range c.minutes {
			if m.Before(oldest) {
				delete(c.minutes, m)
			}
		}
		c.minutes[minute] = map[countKey]int64{}
	}
	key := countKey{a.BookID, a.EventType}
	if _, known := c.minutes[minute][key]; known || len(c.minutes[minute]) < maxKeys {
		c.minutes[minute][key] = a.Events
	}
	if at.After(c.at) {
		c.at = at
	}
}

// top is the books with the most events of a kind, at most n.
func (c *counts) top(kind schema.EventType, n int, now time.Time) []BookCount {
	oldest := now.Add(-countedMinutes * time.Minute)
	sums := map[string]int64{}
	for minute, keys := range c.minutes {
		if minute.Before(oldest) {
			continue
		}
		for key, events := range keys {
			if key.kind == kind {
				sums[key.book] += events
			}
		}
	}
	list := make([]BookCount, 0, len(sums))
	for book, events := range sums {
		list = append(list, BookCount{BookID: book, Title: title(book), Events: events})
	}
	slices.SortFunc(list, func(a, b BookCount) int {
		return cmp.Or(cmp.Compare(b.Events, a.Events), cmp.Compare(a.Title, b.Title), cmp.Compare(a.BookID, b.BookID))
	})
	return list[:min(n, len(list))]
}

// title is that of a book, or its id if the store does not sell it.
func title(id string) string {
	if book, ok := catalogue.ByID(id); ok {
		return book.Title
	}
	return id
}
