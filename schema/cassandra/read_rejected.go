package cassandra

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/gocql/gocql"
)

var (
	//go:embed queries/rejected_partitions.cql
	rejectedPartitions string
	//go:embed queries/rejected_at.cql
	rejectedAt string
)

// RejectedPartition is where rows of rejected_events are kept together: those of one
// partition of a topic that Kafka received on one day.
type RejectedPartition struct {
	Day       time.Time // its midnight, UTC
	Topic     string
	Partition int
}

// RejectedPartitions lists the partitions of rejected_events, in no order.
func RejectedPartitions(ctx context.Context, session *gocql.Session) ([]RejectedPartition, error) {
	rows := session.Query(rejectedPartitions).WithContext(ctx).Iter().Scanner()
	var list []RejectedPartition
	for rows.Next() {
		var p RejectedPartition
		if err := rows.Scan(&p.Day, &p.Topic, &p.Partition); err != nil {
			return nil, fmt.Errorf("listing the partitions of rejected_events: %w", err)
		}
		list = append(list, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing the partitions of rejected_events: %w", err)
	}
	return list, nil
}

// RejectedAt returns the row of one record, which Kafka received on the day of at (UTC),
// and when it was written; false if there is none.
func RejectedAt(ctx context.Context, session *gocql.Session, at time.Time, topic string, partition int, offset int64) (r RejectedEvent, written time.Time, ok bool, err error) {
	var micros int64
	err = session.Query(rejectedAt, at.UTC().Truncate(24*time.Hour), topic, partition, offset).WithContext(ctx).
		Scan(&r.Topic, &r.Partition, &r.Offset, &r.Reason, &r.Payload, &r.ReceivedAt, &micros)
	if errors.Is(err, gocql.ErrNotFound) {
		return r, written, false, nil
	}
	if err != nil {
		return r, written, false, fmt.Errorf("reading rejected_events: %w", err)
	}
	r.ReceivedAt = r.ReceivedAt.UTC()
	return r, time.UnixMicro(micros).UTC(), true, nil
}
