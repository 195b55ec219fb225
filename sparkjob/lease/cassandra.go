package lease

import (
	"context"
	"sync"
	"time"

	"github.com/gocql/gocql"

	"example.com/bookstore/schema/cassandra"
)

// Cassandra returns the store of leases in Cassandra's table job_leases. It connects when
// it is asked, and anew after an error: a session may take a minute to find a node again
// that was away.
func Cassandra(config cassandra.Config) Store {
	config.Timeout = TTL / 4
	return &database{config: config}
}

type database struct {
	config cassandra.Config

	mu      sync.Mutex
	session *gocql.Session // nil while there is none
}

func (d *database) Take(ctx context.Context, l cassandra.JobLease, former string, ttl time.Duration) (taken bool, current *cassandra.JobLease, err error) {
	err = d.with(ctx, func(session *gocql.Session) error {
		taken, current, err = cassandra.TakeJobLease(ctx, session, l, former, ttl)
		return err
	})
	return taken, current, err
}

func (d *database) Release(ctx context.Context, job, holder string) error {
	return d.with(ctx, func(session *gocql.Session) error { return cassandra.ReleaseJobLease(ctx, session, job, holder) })
}

func (d *database) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop()
}

func (d *database) with(ctx context.Context, do func(*gocql.Session) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.session == nil {
		session, err := d.config.Connect(ctx)
		if err != nil {
			return err
		}
		d.session = session
	}
	err := do(d.session)
	if err != nil {
		d.drop()
	}
	return err
}

func (d *database) drop() {
	if d.session != nil {
		d.session.Close()
		d.session = nil
	}
}
