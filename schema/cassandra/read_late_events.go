package cassandra

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/gocql/gocql"

	"example.com/bookstore/schema"
)

//go:embed queries/late_events.cql
var lateEvents string

// LateEvent is a row of late_events: a valid event that came too late, or from a
// clock too far ahead, to be counted in windows of event time.
type LateEvent struct {
	Event      schema.Event `json:"event"`
	ReceivedAt time.Time    `json:"received_at"` // the record's timestamp, UTC
}

// LateEvents returns what came late for one book, of the day of day (UTC) by event
// time, the earliest event time first.
func LateEvents(ctx context.Context, session *gocql.Session, bookID string, day time.Time) ([]LateEvent, error) {
	rows := session.Query(lateEvents, bookID, dayOf(day)).WithContext(ctx).Iter().Scanner()
	var list []LateEvent
	for rows.Next() {
		var late LateEvent
		var at, received time.Time
		e := &late.Event
		if err := rows.Scan(&e.EventID, &e.EventType, &at, &e.UserID, &e.BookID, &received); err != nil {
			return nil, fmt.Errorf("reading late_events: %w", err)
		}
		e.EventTime, late.ReceivedAt = at.UTC(), received.UTC()
		list = append(list, late)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading late_events: %w", err)
	}
	return list, nil
}
