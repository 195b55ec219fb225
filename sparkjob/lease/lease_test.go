package lease

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bookstore/schema/cassandra"
)

// table is job_leases, with Cassandra's semantics of a time to live.
type table struct {
	mu      sync.Mutex
	row     *cassandra.JobLease
	expires time.Time
}

// client is one driver's way to the table.
type client struct {
	*table
	away      bool // the request does not arrive
	swallowed bool // the answer does not
}

var errAway = errors.New("Cassandra is away")

func (c *client) do(ctx context.Context, do func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return errAway
	}
	if c.row != nil && !time.Now().Before(c.expires) {
		c.row = nil
	}
	do()
	if c.swallowed {
		return errors.New("no answer")
	}
	return ctx.Err()
}

func (c *client) Take(ctx context.Context, l cassandra.JobLease, former string, ttl time.Duration) (taken bool, current *cassandra.JobLease, err error) {
	err = c.do(ctx, func() {
		if taken = (c.row == nil && former == "") || (c.row != nil && c.row.Holder == former); taken {
			c.row, c.expires = &l, time.Now().Add(ttl)
		}
		if c.row != nil {
			row := *c.row
			current = &row
		}
	})
	if err != nil {
		return false, nil, err
	}
	return taken, current, nil
}

func (c *client) Release(ctx context.Context, _, holder string) error {
	return c.do(ctx, func() {
		if c.row != nil && c.row.Holder == holder {
			c.row = nil
		}
	})
}

func (c *client) Close() {}

func (c *client) set(away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = away
}

func (c *client) swallow(answers bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.swallowed = answers
}

// driver is one of a test: where it runs, its way to the table, and what it has told.
type driver struct {
	client
	process
	mu   sync.Mutex
	told []string
}

func on(host string, table *table) *driver {
	return &driver{client: client{table: table}, process: process{host: host, pid: 1, mark: host + " 1"}}
}

// here is a driver on this machine, which looks for the process of others.
func here(t *testing.T, table *table) *driver {
	t.Helper()
	p, err := self()
	if err != nil {
		t.Fatal(err)
	}
	if p.mark == "" {
		t.Skip("the system does not tell processes apart")
	}
	return &driver{client: client{table: table}, process: p}
}

func (d *driver) tell(line, _ string, _ ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told = append(d.told, line)
}

// words are all that it has told.
func (d *driver) words() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.told)
}

func (d *driver) said(words string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, line := range d.told {
		if strings.Contains(line, words) {
			n++
		}
	}
	return n
}

func (d *driver) acquire(ctx context.Context, standby bool) (*Lease, error) {
	return acquire(ctx, d, Options{Job: "j", Standby: standby, Info: d.tell, Warn: d.tell}, d.process)
}

func (d *driver) must(t *testing.T) *Lease {
	t.Helper()
	l, err := d.acquire(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// keep renews a lease until end is called or the test ends, and returns how that ended.
func keep(t *testing.T, l *Lease) (end func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Keep(ctx) }()
	end = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = end() })
	return end
}

func isHeld(err error) bool {
	var held *HeldError
	return errors.As(err, &held)
}

func isLost(err error) bool {
	var lost *LostError
	return errors.As(err, &lost)
}

func TestOneDriverHoldsAJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table table
		first := on("a", &table)
		l := first.must(t)
		end := keep(t, l)
		began := time.Now()
		second := on("b", &table)
		_, err := second.acquire(t.Context(), false)
		if !isHeld(err) || !strings.Contains(err.Error(), "pid 1 on a, since 2000-01-01 00:00:00Z") {
			t.Fatalf("the second gets %v", err)
		}
		if waited := time.Since(began); waited > TTL/2 || second.said("Waiting for up to 15 s") != 1 {
			t.Errorf("it waited %v and said %q", waited, second.words())
		}
		time.Sleep(time.Hour)
		if !l.Held() || len(first.words()) > 0 {
			t.Errorf("after an hour the first holds it: %v; it said %q", l.Held(), first.words())
		}
		if err := errors.Join(end(), l.Release(t.Context(), false)); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		second.must(t)
		if waited := time.Since(began); waited > 0 {
			t.Errorf("what was released was had after %v", waited)
		}
	})
}

// Its end is told to nobody.
func TestADriverElsewhereThatHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table table
		on("a", &table).must(t)
		began := time.Now()
		second := on("b", &table)
		second.must(t)
		if waited := time.Since(began); waited < TTL || waited > TTL+TTL/10 || second.said("Waiting for up to 15 s") != 1 {
			t.Errorf("it had the lease after %v and said %q", waited, second.words())
		}
	})
}

func TestADriverHereThatHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table table
		second := here(t, &table)
		first := here(t, &table)
		first.mark += "0" // the number is another's by now
		first.must(t)
		began := time.Now()
		second.must(t)
		if waited := time.Since(began); waited > 0 || second.said("which has gone") != 1 {
			t.Errorf("it had the lease after %v and said %q", waited, second.words())
		}
		// One that lives is not waited for either.
		third := here(t, &table)
		if _, err := third.acquire(t.Context(), false); !isHeld(err) || time.Since(began) > 0 || len(third.words()) > 0 {
			t.Errorf("beside one that lives: %v after %v, %q", err, time.Since(began), third.words())
		}
	})
}

func TestStandby(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table table
		first, second := on("a", &table).must(t), on("b", &table)
		end := keep(t, first)
		var l *Lease
		var err error
		got := make(chan struct{})
		go func() {
			defer close(got)
			l, err = second.acquire(t.Context(), true)
		}()
		time.Sleep(time.Hour)
		second.set(true)
		time.Sleep(time.Minute) // it waits through an outage
		second.set(false)
		time.Sleep(time.Minute)
		if l != nil || second.said("Standing by for pid 1 on a") != 1 || second.said("cannot be asked for") != 1 {
			t.Fatalf("it holds %v and said %q", l, second.words())
		}
		_ = end() // killed
		began := time.Now()
		<-got
		if waited := time.Since(began); err != nil || !l.Held() || first.Held() || waited > TTL+TTL/10 {
			t.Errorf("after %v: %v", waited, err)
		}
	})
}

// Whoever stands by must not start what somebody has just stopped.
func TestStandbyEndsWithTheJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table table
		first := on("a", &table).must(t)
		end := keep(t, first)
		ended := make(chan error)
		go func() {
			_, err := on("b", &table).acquire(t.Context(), true)
			ended <- err
		}()
		time.Sleep(time.Minute)
		if err := errors.Join(end(), first.Release(t.Context(), true)); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, ErrStopped) {
			t.Errorf("it ends with %v", err)
		}
		began := time.Now()
		on("c", &table).must(t)
		if waited := time.Since(began); waited > 0 {
			t.Errorf("a new driver had to wait for %v", waited)
		}
	})
}

func TestALeaseThatCannotBeRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table table
		d := on("a", &table)
		l := d.must(t)
		end := keep(t, l)
		time.Sleep(time.Minute + TTL/10) // between two renewals
		d.set(true)
		time.Sleep(TTL / 2)
		if !l.Held() || len(d.words()) > 0 {
			t.Errorf("after a moment it is held: %v; said %q", l.Held(), d.words())
		}
		time.Sleep(TTL)
		if l.Held() || d.said("cannot be renewed: Cassandra is away") != 1 {
			t.Errorf("after its time it is held: %v; said %q", l.Held(), d.words())
		}
		short, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := l.Await(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for it ends with %v", err)
		}
		d.set(false)
		if err := l.Await(t.Context()); err != nil || !l.Held() {
			t.Errorf("once it can be renewed: %v", err)
		}
		time.Sleep(time.Hour)
		if d.said("is renewed again") != 1 || d.said("cannot be renewed") != 1 || l.Lost() {
			t.Errorf("it said %q", d.words())
		}

		// Now another is quicker.
		d.set(true)
		time.Sleep(2 * TTL)
		on("b", &table).must(t)
		d.set(false)
		time.Sleep(TTL / 2)
		if err := end(); !isLost(err) || !strings.Contains(err.Error(), "pid 1 on b") || l.Held() || !l.Lost() {
			t.Errorf("after another has taken it: %v, held %v", err, l.Held())
		}
		if err := l.Release(t.Context(), true); err != nil || table.row.Host != "b" {
			t.Errorf("releasing what is another's: %v, %+v", err, table.row)
		}
	})
}

func TestALeaseWhoseAnswerIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table table
		d := on("a", &table)
		l := d.must(t)
		end := keep(t, l)
		d.swallow(true)
		time.Sleep(TTL / 2)
		d.swallow(false)
		time.Sleep(TTL)
		if !l.Held() || l.Lost() {
			t.Error("it is not held")
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	})
}

// Whatever way to Cassandra is cut and for however long, two drivers never have the job.
func TestNeverTwo(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 7))
				ctx, cancel := context.WithCancel(t.Context())
				var table table
				var drivers []*driver
				var mu sync.Mutex
				leases := map[*Lease]bool{}
				var running sync.WaitGroup
				for i := range 4 {
					d := on(fmt.Sprint("host ", i), &table)
					drivers = append(drivers, d)
					running.Go(func() {
						for ctx.Err() == nil {
							l, err := d.acquire(ctx, true)
							if err != nil {
								sleep(ctx, time.Second)
								continue
							}
							mu.Lock()
							leases[l] = true
							mu.Unlock()
							_ = l.Keep(ctx)
						}
					})
				}
				times := 0
				for range 1000 {
					time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
					if random.IntN(10) == 0 {
						drivers[random.IntN(len(drivers))].set(random.IntN(2) == 0)
					}
					held := 0
					mu.Lock()
					for l := range leases {
						if l.Held() {
							held++
						}
					}
					mu.Unlock()
					if held > 1 {
						t.Fatalf("%d drivers hold the lease", held)
					}
					times += held
				}
				cancel()
				running.Wait()
				if times == 0 || len(leases) < 3 {
					t.Errorf("the lease was held %d times, by %d", times, len(leases))
				}
			})
		})
	}
}
