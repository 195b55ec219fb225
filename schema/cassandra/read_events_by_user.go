package cassandra

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/gocql/gocql"

	"example.com/bookstore/schema"
)

//go:embed queries/events_by_user.cql
var eventsByUser string

// EventsByUser returns up to limit events of one visitor, the latest event_time
// first, of the days (UTC) from that of from to that of to, both included. Each day
// is a read of its own, so that a narrow range is a quick one.
func EventsByUser(ctx context.Context, session *gocql.Session, userID string, from, to time.Time, limit int) ([]schema.Event, error) {
	var list []schema.Event
	for day := dayOf(to); !day.Before(dayOf(from)) && len(list) < limit; day = day.AddDate(0, 0, -1) {
		rows := session.Query(eventsByUser, userID, day, limit-len(list)).WithContext(ctx).Iter().Scanner()
		for rows.Next() {
			event, err := scanEvent(rows)
			if err != nil {
				return nil, fmt.Errorf("reading events_by_user: %w", err)
			}
			list = append(list, event)
		}
		if err := rows.Err(); err != nil {
			return nil, fmt.Errorf("reading events_by_user: %w", err)
		}
	}
	return list, nil
}

// dayOf returns the start of a time's day in UTC, as the tables' column day has it.
func dayOf(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }
