package cassandra

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gocql/gocql"
	"golang.org/x/sync/errgroup"

	"example.com/bookstore/schema"
)

var (
	//go:embed queries/event_by_id.cql
	eventByID string
	//go:embed queries/events.cql
	events string
	//go:embed queries/rejected_by_partition.cql
	rejectedByPartition string
	//go:embed queries/rejected.cql
	rejected string
)

// RejectedEvent is a row of rejected_events: a Kafka record that is no event.
type RejectedEvent struct {
	Topic      string    `json:"topic"`
	Partition  int       `json:"partition"`
	Offset     int64     `json:"offset"`
	Reason     string    `json:"reason"`      // one or more sentences, separated by "; "
	Payload    []byte    `json:"payload"`     // the record's value as it was, in JSON as Base64; nil if it had none
	ReceivedAt time.Time `json:"received_at"` // the record's timestamp, UTC
}

// FindEvents looks up events by their ids, in any order, and returns those that
// are in the table by id (in lower case).
func FindEvents(ctx context.Context, session *gocql.Session, ids []string) (map[string]schema.Event, error) {
	var mu sync.Mutex
	found := make(map[string]schema.Event, len(ids))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(32) // single-partition reads: side by side, but not all at once
	for _, id := range ids {
		group.Go(func() error {
			uuid, err := gocql.ParseUUID(id)
			if err != nil {
				return fmt.Errorf("reading event %s: %w", id, err)
			}
			event, err := scanEvent(session.Query(eventByID, uuid).WithContext(ctx))
			if errors.Is(err, gocql.ErrNotFound) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("reading event %s: %w", id, err)
			}
			mu.Lock()
			defer mu.Unlock()
			found[event.EventID] = event
			return nil
		})
	}
	return found, group.Wait()
}

type scanner interface{ Scan(dest ...any) error }

func scanEvent(row scanner) (schema.Event, error) {
	var e schema.Event
	var at time.Time
	err := row.Scan(&e.EventID, &e.EventType, &at, &e.UserID, &e.BookID)
	e.EventTime = at.UTC()
	return e, err
}

// LatestEvents returns up to limit events, the latest event_time first, among
// the first scan rows of the table. The table is kept by event_id, so that any
// other order needs a scan.
func LatestEvents(ctx context.Context, session *gocql.Session, limit, scan int) ([]schema.Event, error) {
	rows := session.Query(events, scan).WithContext(ctx).Iter().Scanner()
	var list []schema.Event
	for rows.Next() {
		event, err := scanEvent(rows)
		if err != nil {
			return nil, fmt.Errorf("reading events: %w", err)
		}
		list = append(list, event)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	slices.SortFunc(list, func(a, b schema.Event) int {
		return cmp.Or(b.EventTime.Compare(a.EventTime), cmp.Compare(a.EventID, b.EventID))
	})
	return list[:min(limit, len(list))], nil
}

// LatestRejected returns up to limit rows of rejected_events, the latest received
// first, among the first scan rows of the table.
func LatestRejected(ctx context.Context, session *gocql.Session, limit, scan int) ([]RejectedEvent, error) {
	list, err := scanRejected(session.Query(rejected, scan).WithContext(ctx))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b RejectedEvent) int {
		return cmp.Or(b.ReceivedAt.Compare(a.ReceivedAt), cmp.Compare(b.Offset, a.Offset))
	})
	return list[:min(limit, len(list))], nil
}

// RejectedInPartition returns what one partition of a topic had rejected on the
// day of at (UTC), by offset.
func RejectedInPartition(ctx context.Context, session *gocql.Session, at time.Time, topic string, partition int) ([]RejectedEvent, error) {
	day := at.UTC().Truncate(24 * time.Hour)
	return scanRejected(session.Query(rejectedByPartition, day, topic, partition).WithContext(ctx))
}

func scanRejected(query *gocql.Query) ([]RejectedEvent, error) {
	rows := query.Iter().Scanner()
	var list []RejectedEvent
	for rows.Next() {
		var r RejectedEvent
		var at time.Time
		if err := rows.Scan(&r.Topic, &r.Partition, &r.Offset, &r.Reason, &r.Payload, &at); err != nil {
			return nil, fmt.Errorf("reading rejected_events: %w", err)
		}
		r.ReceivedAt = at.UTC()
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading rejected_events: %w", err)
	}
	return list, nil
}
