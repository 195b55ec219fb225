// Package lease sees to it that one driver at a time runs a job. It stands beside the
// data's path: a driver starts queries only while it holds the job's lease, a row of
// Cassandra that goes away by itself when it is not renewed.
//
// What runs at Spark goes on without a lease: it is the right to start that ends.
package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"example.com/bookstore/schema/cassandra"
)

// TTL is how long a lease is valid after it was renewed, and so for how long the job of a
// driver whose machine is lost has none.
const TTL = 15 * time.Second

// Store keeps leases; see Cassandra.
type Store interface {
	// Take writes l in the place of the holder former's lease, nobody's if that is "".
	// If it does not, current is what stands there, nil for nothing.
	Take(ctx context.Context, l cassandra.JobLease, former string, ttl time.Duration) (taken bool, current *cassandra.JobLease, err error)
	Release(ctx context.Context, job, holder string) error
	Close()
}

// Options say for what a lease is and what becomes of it meanwhile.
type Options struct {
	Job     string
	Standby bool          // wait for as long as another driver has it
	TTL     time.Duration // TTL if zero

	// Info and Warn tell what happens: as a line to a person, or as a log's record. They
	// may be called at any time.
	Info, Warn func(line, message string, attrs ...any)
}

// HeldError says that another driver runs the job.
type HeldError struct{ By cassandra.JobLease }

func (e *HeldError) Error() string {
	return fmt.Sprintf("job %s is run by another driver, %s; `sparkjob watch` shows its queries, `sparkjob stop` ends it, and `sparkjob submit --standby` waits to take its place",
		e.By.Job, Describe(e.By))
}

// LostError says that another driver has taken the job while this one could not renew
// its lease.
type LostError struct{ To cassandra.JobLease }

func (e *LostError) Error() string {
	return fmt.Sprintf("another driver has taken job %s, %s, while this one could not renew its lease; the queries are left to it", e.To.Job, Describe(e.To))
}

// ErrStopped says to a driver that stood by that somebody has stopped the job.
var ErrStopped = errors.New("the job was stopped, so that nothing is left to stand by for; `sparkjob submit` starts it again")

// Describe says who holds a lease.
func Describe(l cassandra.JobLease) string {
	return fmt.Sprintf("pid %d on %s, since %s", l.PID, l.Host, l.Since.Format("2006-01-02 15:04:05Z"))
}

// Lease is the right to start a job's queries. It is safe for use by several goroutines.
type Lease struct {
	Options
	store   Store
	process process
	holder  string
	since   time.Time

	mu      sync.Mutex
	sent    time.Time     // when the latest renewal was asked for that was granted
	renewed chan struct{} // closed at the next one
	lapsed  bool          // and that was told
	lost    bool
}

// Acquire takes the lease of a job. It is refused with a HeldError if a driver that lives
// has it; one on this machine that has gone has its lease taken over at once, and with
// one elsewhere Acquire waits until it is seen to live or its lease ends. In standby it
// waits for as long as it takes, or for ErrStopped.
func Acquire(ctx context.Context, store Store, o Options) (*Lease, error) {
	p, err := self()
	if err != nil {
		return nil, fmt.Errorf("taking the lease of job %s: %w", o.Job, err)
	}
	return acquire(ctx, store, o, p)
}

func acquire(ctx context.Context, store Store, o Options, p process) (*Lease, error) {
	if o.TTL == 0 {
		o.TTL = TTL
	}
	l := &Lease{
		Options: o, store: store, process: p, holder: uuid.NewString(), since: time.Now().UTC().Truncate(time.Millisecond),
		renewed: make(chan struct{}),
	}
	var seen cassandra.JobLease // who had it at the last look
	former, failing := "", false
	for {
		sent := time.Now()
		taken, current, err := l.take(ctx, former)
		former = ""
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil && (!o.Standby || seen.Holder == ""):
			return nil, err
		case err != nil:
			// Whoever stands by is there for what lasts longer than this.
			if !failing {
				failing = true
				l.Warn("The job's lease cannot be asked for: "+err.Error(), "asking for the lease", "error", err)
			}
		case taken || (current != nil && current.Holder == l.holder): // the answer to an earlier try was lost
			l.grant(sent)
			return l, nil
		case current == nil: // it has just ended
		case current.Stopped && o.Standby && seen.Holder != "":
			return nil, ErrStopped
		case current.Stopped:
			former = current.Holder
			continue
		case p.tellsGone(*current):
			l.Info(fmt.Sprintf("Taking over from %s, which has gone", Describe(*current)),
				"taking the place of a driver that has gone", "pid", current.PID, "host", current.Host)
			former = current.Holder
			continue
		case o.Standby:
			failing = false
			if current.Holder != seen.Holder {
				l.Info(fmt.Sprintf("Standing by for %s", Describe(*current)),
					"standing by", "pid", current.PID, "host", current.Host)
			}
			seen = *current
		case p.sees(*current), current.Holder == seen.Holder && !current.RenewedAt.Equal(seen.RenewedAt), seen.Holder != "" && current.Holder != seen.Holder:
			return nil, &HeldError{*current}
		case seen.Holder == "":
			seen = *current
			l.Info(fmt.Sprintf("The job has a driver: %s\nWaiting for up to %.0f s to see whether it lives", Describe(seen), o.TTL.Seconds()),
				"waiting to see whether a driver lives", "pid", seen.PID, "host", seen.Host)
		}
		if !sleep(ctx, o.TTL/15) {
			return nil, ctx.Err()
		}
	}
}

// take asks for the lease in the place of former's.
func (l *Lease) take(ctx context.Context, former string) (bool, *cassandra.JobLease, error) {
	ctx, cancel := context.WithTimeout(ctx, l.TTL/4)
	defer cancel()
	return l.store.Take(ctx, l.row(false), former, l.TTL)
}

func (l *Lease) row(stopped bool) cassandra.JobLease {
	return cassandra.JobLease{
		Job: l.Job, Holder: l.holder, Host: l.process.host, PID: l.process.pid, Process: l.process.mark,
		Since: l.since, RenewedAt: time.Now().UTC(), Stopped: stopped,
	}
}

// grant notes that what was asked for at sent was granted.
func (l *Lease) grant(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = sent
	close(l.renewed)
	l.renewed = make(chan struct{})
}

// Held reports whether the lease is valid, and will be for some moments. It ends before
// the row does, so that at no time two drivers have one.
func (l *Lease) Held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.lost && l.age(time.Now()) < l.TTL-l.TTL/5
}

// age is the time since the lease was asked for. The clock that Go compares by stands
// still while the machine sleeps, and the wall's may be set back: the later one counts.
func (l *Lease) age(now time.Time) time.Duration {
	return max(now.Sub(l.sent), now.Round(0).Sub(l.sent.Round(0)))
}

// Await waits until the lease is held, at once if it is, or ctx ends.
func (l *Lease) Await(ctx context.Context) error {
	for {
		l.mu.Lock()
		renewed := l.renewed
		l.mu.Unlock()
		if l.Held() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-renewed:
		}
	}
}

// Lost reports whether another driver has the lease.
func (l *Lease) Lost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Keep renews the lease until ctx ends, and takes it again where it ended because it
// could not be renewed in time. It returns a LostError as soon as another driver has it.
func (l *Lease) Keep(ctx context.Context) error {
	wait := l.TTL / 3
	for sleep(ctx, wait) {
		sent := time.Now()
		taken, current, err := l.take(ctx, l.holder)
		if err == nil && !taken && current == nil { // it had ended
			taken, current, err = l.take(ctx, "")
		}
		switch {
		case err != nil && ctx.Err() == nil:
			wait = l.TTL / 15
			l.noteLapse(err)
		case err != nil: // that is no outage
		case !taken && current != nil && current.Holder != l.holder:
			l.mu.Lock()
			l.lost = true
			l.mu.Unlock()
			return &LostError{*current}
		case !taken:
			wait = 0 // somebody was quicker, and has gone again
		default:
			wait = l.TTL / 3
			l.grant(sent)
			l.noteReturn()
		}
	}
	return nil
}

// noteLapse tells, once, that the lease has ended and why.
func (l *Lease) noteLapse(err error) {
	if l.lapsed || l.Held() {
		return
	}
	l.lapsed = true
	l.Warn("The job's lease cannot be renewed: "+err.Error()+"\nThe queries go on; none is started until it can be",
		"the lease cannot be renewed", "error", err)
}

func (l *Lease) noteReturn() {
	if l.lapsed {
		l.lapsed = false
		l.Info("The job's lease is renewed again", "the lease is renewed again")
	}
}

// Release gives the lease back, once nothing renews it any more. With stopped, drivers
// that stand by are told that the job is over.
func (l *Lease) Release(ctx context.Context, stopped bool) error {
	if l.Lost() {
		return nil
	}
	if !stopped {
		return l.store.Release(ctx, l.Job, l.holder)
	}
	// Long enough for whoever stands by to see it; a driver that is started takes it.
	_, _, err := l.store.Take(ctx, l.row(true), l.holder, l.TTL)
	return err
}

// sleep waits, and reports whether it did so to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
