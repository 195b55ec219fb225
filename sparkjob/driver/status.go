package driver

import (
	"context"
	"fmt"
	"time"

	"example.com/bookstore/sparkjob/job"
	"example.com/bookstore/sparkjob/stream"
)

// QueryState is one of the job's queries as a person or a program asks about it.
type QueryState struct {
	Name    string           `json:"name"`
	Running bool             `json:"running"`
	Stalled bool             `json:"stalled"` // it runs, records wait and it reports nothing; see FindStalled
	Message string           `json:"message"` // Spark's own words for what it does now
	ID      string           `json:"id,omitempty"`
	RunID   string           `json:"run_id,omitempty"`
	Last    *stream.Progress `json:"-"` // the latest micro-batch; nil if there was none

	waiting int64 // records that have waited too long, of a stalled query
}

// Status asks for the named queries, or all of the job, and returns them in this order.
func Status(ctx context.Context, session *stream.Session, names ...string) ([]QueryState, error) {
	if len(names) == 0 {
		names = job.Names
	}
	running, err := active(ctx, session)
	if err != nil {
		return nil, err
	}
	states := make([]QueryState, 0, len(names))
	for _, name := range names {
		state := QueryState{Name: name, Message: "Stopped"}
		if query := running[name]; query != nil {
			status, err := query.Status(ctx)
			if err != nil {
				return nil, fmt.Errorf("asking for the status of query %s: %w", name, err)
			}
			state.Running, state.Message = status.IsActive, status.Message
			state.ID, state.RunID = query.ID(), query.RunID()
			if state.Last, err = query.LastProgress(ctx); err != nil {
				return nil, fmt.Errorf("asking for the progress of query %s: %w", name, err)
			}
		}
		states = append(states, state)
	}
	return states, nil
}

// Stop ends the named queries, or all of the job, and returns which ran. It waits
// for each to end, at most timeout in all.
func Stop(ctx context.Context, session *stream.Session, timeout time.Duration, names ...string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	running, err := active(ctx, session)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		names = job.Names
	}
	var stopped []string
	for _, name := range names {
		query := running[name]
		if query == nil {
			continue
		}
		if err := query.Stop(ctx); err != nil {
			return stopped, fmt.Errorf("stopping query %s: %w", name, err)
		}
		stopped = append(stopped, name)
	}
	return stopped, nil
}

// Progress returns the latest micro-batch of each named query, or all that Spark
// remembers of them, oldest first. A query that does not run is an error.
func Progress(ctx context.Context, session *stream.Session, recent bool, names ...string) ([]*stream.Progress, error) {
	running, err := active(ctx, session)
	if err != nil {
		return nil, err
	}
	var list []*stream.Progress
	for _, name := range names {
		query := running[name]
		if query == nil {
			return nil, fmt.Errorf("query %s does not run; `sparkjob submit` starts it", name)
		}
		batches, err := query.RecentProgress(ctx)
		if err != nil {
			return nil, fmt.Errorf("asking for the progress of query %s: %w", name, err)
		}
		if !recent && len(batches) > 0 {
			batches = batches[len(batches)-1:]
		}
		list = append(list, batches...)
	}
	return list, nil
}
