package cassandra

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"time"

	"github.com/gocql/gocql"
)

//go:embed queries/events_written.cql
var eventsWritten string

// maxIDs bounds the ids of one request, each of which the node looks up by itself.
const maxIDs = 100

// EventsWritten returns when the rows of events were written, by id (in lower case),
// of those that are in the table. The time is Cassandra's own of the write, UTC; a
// repeated write moves it.
func EventsWritten(ctx context.Context, session *gocql.Session, ids []string) (map[string]time.Time, error) {
	written := make(map[string]time.Time, len(ids))
	for some := range slices.Chunk(ids, maxIDs) {
		rows := session.Query(eventsWritten, some).WithContext(ctx).Iter().Scanner()
		for rows.Next() {
			var id string
			var micros int64
			if err := rows.Scan(&id, &micros); err != nil {
				return nil, fmt.Errorf("looking for events: %w", err)
			}
			written[id] = time.UnixMicro(micros).UTC()
		}
		if err := rows.Err(); err != nil {
			return nil, fmt.Errorf("looking for events: %w", err)
		}
	}
	return written, nil
}
