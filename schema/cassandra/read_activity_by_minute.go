package cassandra

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/gocql/gocql"

	"example.com/bookstore/schema"
)

//go:embed queries/activity_by_minute.cql
var activityByMinute string

// ActivityByMinute returns what was done with one book in each minute of the day of
// day (UTC), the earliest first, and within a minute by event type. A minute without
// an event of a type has no Activity of it, nor has one that the watermark has not
// closed yet: schema.ActivityTopic has those.
func ActivityByMinute(ctx context.Context, session *gocql.Session, bookID string, day time.Time) ([]schema.Activity, error) {
	rows := session.Query(activityByMinute, bookID, dayOf(day)).WithContext(ctx).Iter().Scanner()
	var list []schema.Activity
	for rows.Next() {
		var a schema.Activity
		var start time.Time
		if err := rows.Scan(&start, &a.BookID, &a.EventType, &a.Events); err != nil {
			return nil, fmt.Errorf("reading activity_by_minute: %w", err)
		}
		a.WindowStart = start.UTC()
		list = append(list, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading activity_by_minute: %w", err)
	}
	return list, nil
}
