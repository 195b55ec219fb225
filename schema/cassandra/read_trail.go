package cassandra

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/gocql/gocql"

	"example.com/bookstore/schema"
)

var (
	//go:embed queries/written_events_by_user.cql
	writtenEventsByUser string
	//go:embed queries/written_late_events.cql
	writtenLateEvents string
	//go:embed queries/written_activity_by_minute.cql
	writtenActivityByMinute string
)

// Trail returns when the rows that an event belongs to were last written, by table, of
// those tables where that can be told: a row of reads belongs to two events, and one of
// funnel has nothing but its key. A table without such a row is not in it.
func Trail(ctx context.Context, session *gocql.Session, e schema.Event) (map[string]time.Time, error) {
	id, err := gocql.ParseUUID(e.EventID)
	if err != nil {
		return nil, fmt.Errorf("looking for event %s: %w", e.EventID, err)
	}
	at := e.EventTime.UTC()
	day := at.Truncate(24 * time.Hour)
	trail, err := EventsWritten(ctx, session, []string{id.String()})
	if err != nil {
		return nil, err
	}
	written := map[string]time.Time{}
	if when, ok := trail[id.String()]; ok {
		written["events"] = when
	}
	for _, row := range []struct {
		table, query string
		key          []any
	}{
		{"events_by_user", writtenEventsByUser, []any{e.UserID, day, at, id}},
		{"late_events", writtenLateEvents, []any{e.BookID, day, at, id}},
		{"activity_by_minute", writtenActivityByMinute, []any{e.BookID, day, at.Truncate(time.Minute), string(e.EventType)}},
	} {
		var micros int64
		err := session.Query(row.query, row.key...).WithContext(ctx).Scan(&micros)
		if errors.Is(err, gocql.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking for event %s in %s: %w", e.EventID, row.table, err)
		}
		written[row.table] = time.UnixMicro(micros).UTC()
	}
	return written, nil
}
