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
	//go:embed queries/job_lease.cql
	jobLease string
	//go:embed queries/take_job_lease.cql
	takeJobLease string
	//go:embed queries/renew_job_lease.cql
	renewJobLease string
	//go:embed queries/release_job_lease.cql
	releaseJobLease string
)

// JobLease is a row of job_leases: which driver runs a job. The row is gone once its
// holder has not renewed it for its time to live.
type JobLease struct {
	Job       string
	Holder    string // a name that no other driver has, nor the same when it starts anew
	Host      string // where it runs
	PID       int
	Process   string    // tells one process with this number from another
	Since     time.Time // UTC
	RenewedAt time.Time // UTC, by the holder's clock
	Stopped   bool      // the holder has ended, since somebody stopped the job
}

// ReadJobLease returns the lease of a job, nil if nobody has it.
func ReadJobLease(ctx context.Context, session *gocql.Session, job string) (*JobLease, error) {
	var l JobLease
	err := session.Query(jobLease, job).WithContext(ctx).
		Scan(&l.Job, &l.Holder, &l.Host, &l.PID, &l.Process, &l.Since, &l.RenewedAt, &l.Stopped)
	switch {
	case errors.Is(err, gocql.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading the lease of job %s: %w", job, err)
	}
	l.Since, l.RenewedAt = l.Since.UTC(), l.RenewedAt.UTC()
	return &l, nil
}

// TakeJobLease writes a lease for the time ttl, in whole seconds, in the place of the
// holder former's, or of nobody's if that is "". If another has it then, nothing is
// written, taken is false, and current is what there is; nil if it has just gone.
//
// After an error it is not known whether the lease is taken.
func TakeJobLease(ctx context.Context, session *gocql.Session, l JobLease, former string, ttl time.Duration) (taken bool, current *JobLease, err error) {
	seconds := int(ttl.Seconds())
	query := session.Query(takeJobLease, l.Job, l.Holder, l.Host, l.PID, l.Process, l.Since, l.RenewedAt, seconds)
	if former != "" {
		query = session.Query(renewJobLease, seconds, l.Holder, l.Host, l.PID, l.Process, l.Since, l.RenewedAt, l.Stopped, l.Job, former)
	}
	taken, err = query.SerialConsistency(gocql.LocalSerial).WithContext(ctx).MapScanCAS(map[string]any{})
	if err != nil {
		return false, nil, fmt.Errorf("taking the lease of job %s: %w", l.Job, err)
	}
	if taken {
		return true, &l, nil
	}
	current, err = ReadJobLease(ctx, session, l.Job)
	return false, current, err
}

// ReleaseJobLease deletes the lease of a job if holder has it.
func ReleaseJobLease(ctx context.Context, session *gocql.Session, job, holder string) error {
	_, err := session.Query(releaseJobLease, job, holder).SerialConsistency(gocql.LocalSerial).WithContext(ctx).MapScanCAS(map[string]any{})
	if err != nil {
		return fmt.Errorf("releasing the lease of job %s: %w", job, err)
	}
	return nil
}
