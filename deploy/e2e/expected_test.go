//go:build integration

package e2e

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.com/bookstore/schema"
)

// This file says once more what the job's queries mean, in plain Go, over all records
// at once. It shares nothing with their SQL, so that each can be held against the other.

// input is a record of a topic of events.
type input struct {
	key, value []byte
	received   time.Time // the record's timestamp

	partition int // where it landed, once written
	offset    int64
}

// tables are what the job made of a topic: by table, and in it by key, a row. Keys and
// rows are texts, so that a difference can be read.
type tables map[string]map[string]string

func (t tables) put(table, row string, key ...any) {
	if t[table] == nil {
		t[table] = map[string]string{}
	}
	t[table][keyOf(key...)] = row
}

func keyOf(parts ...any) string {
	texts := make([]string, 0, len(parts))
	for _, part := range parts {
		if at, ok := part.(time.Time); ok {
			part = clock(at)
		}
		texts = append(texts, fmt.Sprint(part))
	}
	return strings.Join(texts, " ")
}

// clock writes a time, "never" for the zero one.
func clock(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return at.UTC().Format("2006-01-02T15:04:05.000")
}

func day(at time.Time) string { return at.UTC().Format(time.DateOnly) }

// expect returns what the tables and the topic of the activity must hold of records,
// once the watermark has passed end. What is still open then is in no window.
func expect(records []input, end time.Time) tables {
	t := tables{}
	minutes := map[string]map[string]bool{} // ids by minute, type and book
	steps := map[string][]step{}            // by visitor and book
	for _, record := range records {
		event, err := schema.Decode(record.value)
		if err != nil {
			t.put("rejected_events", strings.ReplaceAll(err.Error(), "\n", "; ")+" "+string(record.value), record.partition, record.offset)
			continue
		}
		id, at, user, book := strings.ToLower(event.EventID), event.EventTime, event.UserID, event.BookID
		t.put("events", keyOf(event.EventType, at, user, book), id)
		t.put("events_by_user", keyOf(event.EventType, book), user, day(at), at, id)
		switch event.EventType {
		case schema.DescriptionOpen:
			t.put("funnel", "", book, day(at), "opened", user)
		case schema.Purchase:
			t.put("funnel", "", book, day(at), "bought", user)
		}
		if record.received.Sub(at) > 2*time.Minute || at.Sub(record.received) > time.Minute {
			// Not when it was received, since copies of an event share a row.
			t.put("late_events", keyOf(event.EventType, user), book, day(at), at, id)
			continue
		}
		minute := keyOf(at.Truncate(time.Minute), event.EventType, book)
		if minutes[minute] == nil {
			minutes[minute] = map[string]bool{}
		}
		minutes[minute][id] = true
		t.put("bookstore_activity", fmt.Sprint(len(minutes[minute])), minute)
		if start := at.Truncate(time.Minute); !start.Add(time.Minute).After(end) {
			t.put("activity_by_minute", fmt.Sprint(len(minutes[minute])), book, day(start), start, event.EventType)
		}
		if event.EventType != schema.Purchase {
			visit := keyOf(user, book)
			steps[visit] = append(steps[visit], step{at, event.EventType == schema.DescriptionClose, user, book})
		}
	}
	for _, list := range steps {
		readings(t, list, end)
	}
	return t
}

// step is the opening or closing of a description.
type step struct {
	at         time.Time
	closes     bool
	user, book string
}

// readings pairs the steps of one visitor with one book.
func readings(t tables, list []step, end time.Time) {
	slices.SortFunc(list, func(a, b step) int {
		rank := map[bool]int{true: 1}
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(rank[a.closes], rank[b.closes]))
	})
	list = slices.Compact(list)
	const quiet = 10 * time.Minute
	last := len(list) - 1
	for i, s := range list {
		// The visit that it is part of ends with the first step that nothing follows
		// soon, and is complete a while after that.
		j := i
		for j < last && list[j+1].at.Sub(list[j].at) <= quiet {
			j++
		}
		if s.closes || list[j].at.Add(quiet).After(end) {
			continue
		}
		row := "never closed"
		if i < j && list[i+1].closes {
			took := list[i+1].at.Sub(s.at)
			row = keyOf(list[i+1].at, float64(took.Milliseconds())/1000)
			if took >= 10*time.Second {
				t.put("funnel", "", s.book, day(s.at), "read", s.user)
			}
		}
		t.put("reads", row, s.book, day(s.at), s.at, s.user)
	}
}

// difference lists what differs between two sets of tables, by key, at most some of
// each table.
func difference(want, have tables) (list []string) {
	names := slices.Concat(slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(have)))
	slices.Sort(names)
	for _, table := range slices.Compact(names) {
		rows := want[table]
		var lines []string
		for key, row := range rows {
			if got, ok := have[table][key]; !ok {
				lines = append(lines, fmt.Sprintf("%s: %s is missing: %q", table, key, row))
			} else if got != row {
				lines = append(lines, fmt.Sprintf("%s: %s is %q, want %q", table, key, got, row))
			}
		}
		for key, row := range have[table] {
			if _, ok := rows[key]; !ok {
				lines = append(lines, fmt.Sprintf("%s: %s should not be there: %q", table, key, row))
			}
		}
		slices.Sort(lines)
		const most = 5
		if len(lines) > most {
			lines = append(lines[:most], fmt.Sprintf("%s: %d more differ", table, len(lines)-most))
		}
		list = append(list, lines...)
	}
	return list
}
