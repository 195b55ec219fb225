package cassandra

import (
	"context"
	_ "embed"
	"time"

	"github.com/gocql/gocql"
)

//go:embed queries/rejected_latest.cql
var rejectedLatest string

// LatestRejectedInPartition returns up to limit rows of what one partition of a topic
// had rejected on the day of at (UTC), the latest offset first.
func LatestRejectedInPartition(ctx context.Context, session *gocql.Session, at time.Time, topic string, partition, limit int) ([]RejectedEvent, error) {
	day := at.UTC().Truncate(24 * time.Hour)
	return scanRejected(session.Query(rejectedLatest, day, topic, partition, limit).WithContext(ctx))
}
