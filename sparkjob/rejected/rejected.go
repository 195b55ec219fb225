// Package rejected finds the records that are no events, and sends them again once they
// are mended. It stands at the end of the data's path, at the table rejected_events, and
// leads from there back to its beginning.
package rejected

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gocql/gocql"
	"golang.org/x/sync/errgroup"

	"example.com/bookstore/schema/cassandra"
)

// ErrNotFound says that no such record was rejected.
var ErrNotFound = errors.New("no such record was rejected")

// Position of a record in a topic, written PARTITION:OFFSET.
type Position struct {
	Partition int
	Offset    int64
}

// UnmarshalText reads PARTITION:OFFSET.
func (p *Position) UnmarshalText(text []byte) error {
	partition, offset, ok := strings.Cut(string(text), ":")
	var err error
	if ok {
		p.Partition, err = strconv.Atoi(partition)
	}
	if ok && err == nil {
		p.Offset, err = strconv.ParseInt(offset, 10, 64)
	}
	if !ok || err != nil || p.Partition < 0 || p.Offset < 0 {
		return fmt.Errorf("%q is not PARTITION:OFFSET such as 3:1042", text)
	}
	return nil
}

// String returns PARTITION:OFFSET.
func (p Position) String() string { return fmt.Sprintf("%d:%d", p.Partition, p.Offset) }

// Filter selects rejected records.
type Filter struct {
	Topic  string
	Since  time.Time // received since then; zero for all
	Reason string    // part of a reason, in any case; "" for all
}

func (f Filter) takes(r cassandra.RejectedEvent) bool {
	return !r.ReceivedAt.Before(f.Since) && strings.Contains(strings.ToLower(r.Reason), strings.ToLower(f.Reason))
}

// days returns the partitions of the table that the filter is about, by day, the latest
// first.
func (f Filter) days(ctx context.Context, session *gocql.Session) ([][]cassandra.RejectedPartition, error) {
	all, err := cassandra.RejectedPartitions(ctx, session)
	if err != nil {
		return nil, err
	}
	byDay := map[time.Time][]cassandra.RejectedPartition{}
	for _, p := range all {
		if p.Topic == f.Topic && p.Day.Add(24*time.Hour).After(f.Since) {
			byDay[p.Day] = append(byDay[p.Day], p)
		}
	}
	var days [][]cassandra.RejectedPartition
	for _, day := range byDay {
		days = append(days, day)
	}
	slices.SortFunc(days, func(a, b []cassandra.RejectedPartition) int { return b[0].Day.Compare(a[0].Day) })
	return days, nil
}

// parallel bounds the requests under way at once.
const parallel = 16

// List returns up to limit of the records that the filter selects, the latest first.
func List(ctx context.Context, session *gocql.Session, f Filter, limit int) ([]cassandra.RejectedEvent, error) {
	days, err := f.days(ctx, session)
	if err != nil {
		return nil, err
	}
	var list []cassandra.RejectedEvent
	for _, day := range days {
		var mu sync.Mutex
		group, groupCtx := errgroup.WithContext(ctx)
		group.SetLimit(parallel)
		for _, p := range day {
			group.Go(func() error {
				var rows []cassandra.RejectedEvent
				var err error
				if f.Reason == "" {
					rows, err = cassandra.LatestRejectedInPartition(groupCtx, session, p.Day, p.Topic, p.Partition, limit)
				} else {
					rows, err = cassandra.RejectedInPartition(groupCtx, session, p.Day, p.Topic, p.Partition)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, row := range rows {
					if f.takes(row) {
						list = append(list, row)
					}
				}
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return nil, err
		}
		if len(list) >= limit { // no earlier day has later ones
			break
		}
	}
	slices.SortFunc(list, func(a, b cassandra.RejectedEvent) int {
		return cmp.Or(b.ReceivedAt.Compare(a.ReceivedAt), cmp.Compare(a.Partition, b.Partition), cmp.Compare(b.Offset, a.Offset))
	})
	return list[:min(limit, len(list))], nil
}

// Count counts the records that the filter selects, all and by reason.
func Count(ctx context.Context, session *gocql.Session, f Filter) (cassandra.Rejections, error) {
	total := cassandra.Rejections{Reasons: map[string]int64{}}
	days, err := f.days(ctx, session)
	if err != nil {
		return total, err
	}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, p := range slices.Concat(days...) {
		group.Go(func() error {
			counted, err := f.count(ctx, session, p)
			mu.Lock()
			defer mu.Unlock()
			total.Records += counted.Records
			for reason, n := range counted.Reasons {
				total.Reasons[reason] += n
			}
			return err
		})
	}
	return total, group.Wait()
}

// count counts what the filter selects in one partition of the table. Where it selects
// everything, the payloads need not be read.
func (f Filter) count(ctx context.Context, session *gocql.Session, p cassandra.RejectedPartition) (cassandra.Rejections, error) {
	if f.Reason == "" && !f.Since.After(p.Day) {
		return cassandra.CountRejections(ctx, session, []time.Time{p.Day}, p.Topic, p.Partition, 0, math.MaxInt64)
	}
	counted := cassandra.Rejections{Reasons: map[string]int64{}}
	rows, err := cassandra.RejectedInPartition(ctx, session, p.Day, p.Topic, p.Partition)
	for _, row := range rows {
		if f.takes(row) {
			counted.Records++
			for reason := range strings.SplitSeq(row.Reason, "; ") {
				counted.Reasons[reason]++
			}
		}
	}
	return counted, err
}

// Find returns one record and when its row was written. The error is ErrNotFound if it
// was not rejected.
func Find(ctx context.Context, session *gocql.Session, topic string, at Position) (cassandra.RejectedEvent, time.Time, error) {
	days, err := Filter{Topic: topic}.days(ctx, session)
	if err != nil {
		return cassandra.RejectedEvent{}, time.Time{}, err
	}
	for _, day := range days {
		for _, p := range day {
			if p.Partition != at.Partition {
				continue
			}
			row, written, ok, err := cassandra.RejectedAt(ctx, session, p.Day, topic, at.Partition, at.Offset)
			if ok || err != nil {
				return row, written, err
			}
		}
	}
	return cassandra.RejectedEvent{}, time.Time{}, fmt.Errorf("looking for record %v of topic %s: %w; `sparkjob rejected list` shows which were", at, topic, ErrNotFound)
}
