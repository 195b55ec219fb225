//go:build integration

package cassandra

import (
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/bookstore/schema"
)

func TestJobLease(t *testing.T) {
	session := connectAs(t, setUp(t), JobUser, configs(t).JobPassword)
	now := time.Now().UTC().Truncate(time.Millisecond)
	job := "lease_test_" + schema.NewEventID()
	held := func(holder string) JobLease {
		return JobLease{Job: job, Holder: holder, Host: "h", PID: 7, Process: "p", Since: now, RenewedAt: now}
	}
	take := func(l JobLease, former string, ttl time.Duration, want bool, has string) {
		t.Helper()
		taken, current, err := TakeJobLease(t.Context(), session, l, former, ttl)
		if err != nil {
			t.Fatal(err)
		}
		name := ""
		if current != nil {
			name = current.Holder
		}
		if taken != want || name != has {
			t.Fatalf("taking it as %s in the place of %q: %v, and %q has it; want %v, %q", l.Holder, former, taken, name, want, has)
		}
	}
	if l, err := ReadJobLease(t.Context(), session, job); err != nil || l != nil {
		t.Fatalf("before anybody has it: %+v, %v", l, err)
	}

	// Of many at once, one gets it.
	var taken atomic.Int32
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			ok, _, err := TakeJobLease(t.Context(), session, held(schema.NewEventID()), "", time.Minute)
			if err != nil {
				t.Error(err)
			}
			if ok {
				taken.Add(1)
			}
		})
	}
	all.Wait()
	first, err := ReadJobLease(t.Context(), session, job)
	if n := taken.Load(); n != 1 || err != nil || first == nil {
		t.Fatalf("%d have taken the lease, which is %+v, %v", n, first, err)
	}
	if want := held(first.Holder); !reflect.DeepEqual(*first, want) {
		t.Errorf("it is %+v, want %+v", *first, want)
	}

	take(held("b"), "", time.Minute, false, first.Holder)
	take(held("b"), "c", time.Minute, false, first.Holder)
	take(held("b"), first.Holder, time.Minute, true, "b")
	take(held(first.Holder), first.Holder, time.Minute, false, "b") // it has lost it
	if err := ReleaseJobLease(t.Context(), session, job, first.Holder); err != nil {
		t.Fatal(err)
	}
	take(held("c"), "", time.Minute, false, "b") // it was not its to release
	if err := ReleaseJobLease(t.Context(), session, job, "b"); err != nil {
		t.Fatal(err)
	}
	take(held("b"), "b", time.Minute, false, "")

	// Nobody renews it.
	take(held("c"), "", 2*time.Second, true, "c")
	took := time.Now()
	take(held("c"), "c", 3*time.Second, true, "c") // it has, once
	for {
		ok, current, err := TakeJobLease(t.Context(), session, held("d"), "", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			break
		}
		if waited := time.Since(took); waited > 8*time.Second {
			t.Fatalf("after %v %+v still has it", waited, current)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if waited := time.Since(took); waited < 2*time.Second {
		t.Errorf("a lease of 3 s was free after %v", waited)
	}
}
