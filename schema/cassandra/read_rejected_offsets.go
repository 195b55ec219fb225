package cassandra

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/gocql/gocql"
)

//go:embed queries/rejected_offsets.cql
var rejectedOffsets string

// RejectedOffsets returns the offsets of what one partition of a topic had rejected on
// the day of at (UTC), the lowest first, without what the records held.
func RejectedOffsets(ctx context.Context, session *gocql.Session, at time.Time, topic string, partition int) ([]int64, error) {
	rows := session.Query(rejectedOffsets, dayOf(at), topic, partition).WithContext(ctx).Iter().Scanner()
	var offsets []int64
	for rows.Next() {
		var offset int64
		if err := rows.Scan(&offset); err != nil {
			return nil, fmt.Errorf("reading rejected_events: %w", err)
		}
		offsets = append(offsets, offset)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading rejected_events: %w", err)
	}
	return offsets, nil
}
