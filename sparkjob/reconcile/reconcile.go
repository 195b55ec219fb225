// Package reconcile holds both ends of the data's path against each other: what its
// senders were told was taken, and what Kafka and Cassandra have. It changes nothing.
//
// Sent and acknowledged are what the ledgers say. An acknowledged event must have a
// row in the table events that says the same, and a record in the topic, unless Kafka
// has deleted it since. A record that is no event must have a row in rejected_events.
// What the sender has no answer of may be there or not, and is never lost.
//
// The key of events is event_id, so an event cannot be there twice. It can in
// events_by_user, whose key has the visitor and the time as well, if it came to the
// topic twice with one id and two contents. So the partitions of events_by_user where
// it belongs, by what was acknowledged and by each of its records, are looked
// through for further rows of the same id. The tables that count, and late_events,
// are not looked at.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/gocql/gocql"
	"golang.org/x/sync/errgroup"

	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/ledger"
	"example.com/bookstore/schema/topic"
	"example.com/bookstore/sparkjob/checkpoint"
	"example.com/bookstore/sparkjob/driver"
	"example.com/bookstore/sparkjob/records"
)

const (
	// pause is the time between two looks at what is not there yet.
	pause = time.Second
	// requestTimeout bounds each question to Kafka.
	requestTimeout = 10 * time.Second
	// atOnce is how many events are looked up before their rows are forgotten again.
	atOnce = 10_000
	// sideBySide bounds the requests that Cassandra has at a time.
	sideBySide = 32
)

// Options of a comparison.
type Options struct {
	Wait time.Duration     // how long something may be missing
	Tell func(text string) // is told what it waits for; nil for nobody
}

// Ledgers compares what ledgers say with Kafka and Cassandra. What is missing is looked
// for again until the time to wait is over.
func Ledgers(ctx context.Context, c driver.Config, paths []string, o Options) (Report, error) {
	a := newAccount()
	for _, path := range paths {
		n := 0
		for entry, err := range ledger.Read(path) {
			if err != nil {
				return Report{}, err
			}
			n++
			if err := a.enter(entry); err != nil {
				return Report{}, fmt.Errorf("reading the ledger: entry %d of %s: %w", n, path, err)
			}
		}
	}
	if a.sent == 0 {
		return Report{}, errors.New("the ledger has no entry: there is nothing to compare")
	}
	admin, err := topic.NewAdmin(c.Kafka, requestTimeout)
	if err != nil {
		return Report{}, err
	}
	defer admin.Close()
	starts, err := admin.StartOffsets(ctx, c.Topic.Name)
	if err != nil {
		return Report{}, driver.Hint(err, c)
	}
	ends, err := admin.EndOffsets(ctx, c.Topic.Name)
	if err != nil {
		return Report{}, driver.Hint(err, c)
	}
	session, err := c.Cassandra.Connect(ctx)
	if err != nil {
		return Report{}, driver.Hint(err, c)
	}
	defer session.Close()
	r := comparison{
		account: a, config: c, admin: admin, session: session,
		starts: starts, begin: ends, next: maps.Clone(starts),
	}
	report, err := r.run(ctx, o)
	return report, driver.Hint(err, c)
}

// comparison is one that is under way.
type comparison struct {
	*account
	config  driver.Config
	admin   *topic.Admin
	session *gocql.Session

	starts map[int]int64 // the first offsets that Kafka keeps
	begin  map[int]int64 // where the topic ended at the beginning
	next   map[int]int64 // the first offsets that were not read yet
	looked bool          // at Kafka and Cassandra, without an error

	progress map[string]map[int]int64 // by query and partition, the first offset that it has not written
}

var errNotYet = errors.New("not everything is there yet")

// run looks until all is well or the time is over. An engine that does not answer in
// between is asked again like one that has not everything yet.
func (c *comparison) run(ctx context.Context, o Options) (Report, error) {
	told := false
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := c.look(ctx)
		if err == nil && !c.settled() {
			err = errNotYet
		}
		if err != nil && !told && o.Tell != nil && o.Wait > 0 {
			told = true
			what := err.Error()
			if errors.Is(err, errNotYet) {
				what = fmt.Sprintf("not there yet: %d acknowledged events, and %d records that are to be in rejected_events", len(c.open()), len(c.unrejected()))
			}
			o.Tell(fmt.Sprintf("%s; waits for up to %v", what, o.Wait))
		}
		return struct{}{}, err
	}, backoff.WithBackOff(backoff.NewConstantBackOff(pause)), backoff.WithMaxElapsedTime(max(o.Wait, time.Nanosecond)))
	if err != nil && (!errors.Is(err, errNotYet) || !c.looked) {
		return Report{}, err
	}
	if c.absent > 0 {
		// A row that is there has a record, which came after the last look at Kafka.
		if err := c.readTopic(ctx); err != nil {
			return Report{}, err
		}
	}
	if err := c.readVisits(ctx); err != nil {
		return Report{}, err
	}
	return c.report(c.starts, c.next, c.passed), nil
}

// look reads what is new in Kafka and what is missing in Cassandra. How far the queries
// are is read before the rows: what they had written by then must be there.
func (c *comparison) look(ctx context.Context) error {
	if !c.looked || c.absent > 0 {
		if err := c.readTopic(ctx); err != nil {
			return err
		}
	}
	if err := c.readProgress(ctx); err != nil {
		return err
	}
	if err := c.readEvents(ctx); err != nil {
		return err
	}
	if !c.looked || len(c.unrejected()) > 0 {
		if err := c.readRejected(ctx); err != nil {
			return err
		}
	}
	c.looked = true
	return nil
}

// readTopic reads the records from where it stopped the last time.
func (c *comparison) readTopic(ctx context.Context) error {
	ends := c.begin
	if c.looked {
		var err error
		if ends, err = c.admin.EndOffsets(ctx, c.config.Topic.Name); err != nil {
			return err
		}
	}
	from := make(map[int]int64, len(ends))
	for partition := range ends { // of which the topic may have got more
		from[partition] = c.next[partition]
	}
	_, err := records.Read(ctx, c.config.Kafka, c.config.Topic.Name, from, ends, math.MaxInt, func(r records.Record) bool {
		c.record(r, r.Offset < c.begin[r.Partition])
		c.next[r.Partition] = r.Offset + 1
		return true
	})
	if err != nil {
		return err
	}
	for partition, end := range ends { // past what is no record
		c.next[partition] = max(c.next[partition], end)
	}
	return nil
}

// readEvents looks up the rows of events that were not as they should be.
func (c *comparison) readEvents(ctx context.Context) error {
	for some := range slices.Chunk(c.open(), atOnce) {
		ids := make([]string, len(some))
		for n, i := range some {
			ids[n] = c.events[i].id.String()
		}
		found, err := cassandra.FindEvents(ctx, c.session, ids)
		if err != nil {
			return err
		}
		for n, i := range some {
			if e, ok := found[ids[n]]; ok {
				c.row(i, e)
			}
		}
	}
	return nil
}

func (c *comparison) readRejected(ctx context.Context) error {
	parts, err := cassandra.RejectedPartitions(ctx, c.session)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if part.Topic != c.config.Topic.Name {
			continue
		}
		offsets, err := cassandra.RejectedOffsets(ctx, c.session, part.Day, part.Topic, part.Partition)
		if err != nil {
			return err
		}
		c.rejected[rejectedPart{dayOf(part.Day), int32(part.Partition)}] = offsets
	}
	return nil
}

// readVisits looks for the rows of events_by_user.
func (c *comparison) readVisits(ctx context.Context) error {
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(sideBySide)
	for v := range c.visits {
		group.Go(func() error {
			day := time.Unix(v.day*24*60*60, 0)
			rows, err := cassandra.EventsByUser(ctx, c.session, v.user, day, day, math.MaxInt32)
			mu.Lock()
			defer mu.Unlock()
			for _, e := range rows {
				c.userRow(e)
			}
			return err
		})
	}
	return group.Wait()
}

// readProgress learns how far the queries are that write what is looked for: from their
// checkpoints if those are visible, and else from the driver's reports.
func (c *comparison) readProgress(ctx context.Context) error {
	reports, err := cassandra.StreamingQueries(ctx, c.session, c.config.JobName)
	if err != nil {
		return err
	}
	c.progress = map[string]map[int]int64{}
	for _, report := range reports {
		if report.Topic == c.config.Topic.Name {
			c.progress[report.Query] = report.EndOffsets
		}
	}
	for _, query := range []string{"events", "rejected_events"} {
		opened, err := checkpoint.Open(c.config.Job.Checkpoint(query))
		switch _, reported := c.progress[query]; {
		case err == nil && opened.Last() != nil && opened.Topic == c.config.Topic.Name:
			c.progress[query] = opened.Last().End
		case (err == nil && opened.Last() == nil || errors.Is(err, checkpoint.ErrNotFound)) && !reported:
			c.progress[query] = nil // it has written nothing yet
		}
	}
	return nil
}

func (c *comparison) passed(query string, partition int, offset int64) (yes, known bool) {
	ends, known := c.progress[query]
	return offset < ends[partition], known
}
