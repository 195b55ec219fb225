package live

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/gocql/gocql"
	"golang.org/x/sync/errgroup"

	"example.com/bookstore/producer/catalogue"
	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
)

const (
	// readsOfBook bounds how many of a book's readings are looked at.
	readsOfBook = 500
	// eventsOfVisitor bounds how many events a visitor's own page shows.
	eventsOfVisitor = 500

	latestRejected = 8
	topReasons     = 8
)

// tables is what the hub reads of Cassandra. Days are those of a time, in UTC.
type tables interface {
	// Written returns when the rows of events were written, by id, of those that
	// are there.
	Written(ctx context.Context, ids []string) (map[string]time.Time, error)
	Queries(ctx context.Context, job string) ([]cassandra.StreamingQuery, error)
	Funnel(ctx context.Context, day time.Time) (Funnel, error)
	Reads(ctx context.Context, day time.Time) (ReadingTime, error)
	Rejected(ctx context.Context, day time.Time, topic string, partitions int) (Rejected, error)
	// EventsOf returns the events of a visitor in so many days up to a last one, the
	// latest first.
	EventsOf(ctx context.Context, user string, last time.Time, days int) ([]schema.Event, error)
	Close()
}

// sessionTables reads them over one session.
type sessionTables struct{ *gocql.Session }

func openTables(ctx context.Context, c cassandra.Config) (tables, error) {
	session, err := c.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := cassandra.Check(ctx, session); err != nil {
		session.Close()
		return nil, err
	}
	return sessionTables{session}, nil
}

func (t sessionTables) Written(ctx context.Context, ids []string) (map[string]time.Time, error) {
	return cassandra.EventsWritten(ctx, t.Session, ids)
}

func (t sessionTables) Queries(ctx context.Context, job string) ([]cassandra.StreamingQuery, error) {
	return cassandra.StreamingQueries(ctx, t.Session, job)
}

// Funnel adds up the catalogue's books, each of which has a partition a day.
func (t sessionTables) Funnel(ctx context.Context, day time.Time) (Funnel, error) {
	var sum Funnel
	books := catalogue.Books()
	err := forEach(ctx, len(books), func(ctx context.Context, i int, lock sync.Locker) error {
		counts, err := cassandra.FunnelCounts(ctx, t.Session, books[i].ID, day)
		lock.Lock()
		defer lock.Unlock()
		sum.Opened += int64(counts.Opened)
		sum.Read += int64(counts.Read)
		sum.Bought += int64(counts.Bought)
		return err
	})
	return sum, err
}

// Reads sums up each book's latest readings of the day.
func (t sessionTables) Reads(ctx context.Context, day time.Time) (ReadingTime, error) {
	var sum ReadingTime
	var seconds []float64
	books := catalogue.Books()
	err := forEach(ctx, len(books), func(ctx context.Context, i int, lock sync.Locker) error {
		reads, err := cassandra.Reads(ctx, t.Session, books[i].ID, day, readsOfBook)
		lock.Lock()
		defer lock.Unlock()
		for _, r := range reads {
			if r.ClosedAt.IsZero() {
				sum.Unended++
			} else {
				seconds = append(seconds, r.Seconds)
			}
		}
		return err
	})
	slices.Sort(seconds)
	sum.Closed, sum.Median = len(seconds), quantile(seconds, 0.5)
	return sum, err
}

func (t sessionTables) EventsOf(ctx context.Context, user string, last time.Time, days int) ([]schema.Event, error) {
	return cassandra.EventsByUser(ctx, t.Session, user, last.AddDate(0, 0, 1-days), last, eventsOfVisitor)
}

// forEach calls read for each of n things, some at a time, and adds up under a lock.
func forEach(ctx context.Context, n int, read func(ctx context.Context, i int, lock sync.Locker) error) error {
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i := range n {
		group.Go(func() error { return read(ctx, i, &mu) })
	}
	return group.Wait()
}

func (t sessionTables) Rejected(ctx context.Context, day time.Time, topic string, partitions int) (Rejected, error) {
	rejected := Rejected{Reasons: []ReasonCount{}, Latest: []RejectedRecord{}}
	reasons := map[string]int64{}
	err := forEach(ctx, partitions, func(ctx context.Context, partition int, lock sync.Locker) error {
		counted, err := cassandra.CountRejections(ctx, t.Session, []time.Time{day.UTC().Truncate(24 * time.Hour)}, topic, partition, 0, math.MaxInt64)
		if err != nil {
			return err
		}
		latest, err := cassandra.LatestRejectedInPartition(ctx, t.Session, day, topic, partition, latestRejected)
		if err != nil {
			return err
		}
		lock.Lock()
		defer lock.Unlock()
		rejected.Today += counted.Records
		for reason, n := range counted.Reasons {
			reasons[reason] += n
		}
		for _, r := range latest {
			rejected.Latest = append(rejected.Latest, RejectedRecord{r.Partition, r.Offset, r.Reason, r.ReceivedAt})
		}
		return nil
	})
	for reason, n := range reasons {
		rejected.Reasons = append(rejected.Reasons, ReasonCount{reason, n})
	}
	slices.SortFunc(rejected.Reasons, func(a, b ReasonCount) int {
		return cmp.Or(cmp.Compare(b.Records, a.Records), cmp.Compare(a.Reason, b.Reason))
	})
	rejected.Reasons = rejected.Reasons[:min(topReasons, len(rejected.Reasons))]
	slices.SortFunc(rejected.Latest, func(a, b RejectedRecord) int {
		return cmp.Or(b.ReceivedAt.Compare(a.ReceivedAt), cmp.Compare(a.Partition, b.Partition), cmp.Compare(b.Offset, a.Offset))
	})
	rejected.Latest = rejected.Latest[:min(latestRejected, len(rejected.Latest))]
	return rejected, err
}

func (t sessionTables) Close() { t.Session.Close() }
