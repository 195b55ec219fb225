package stream

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Manager looks after the queries of a session, as PySpark's
// StreamingQueryManager does. It is safe for use by several goroutines.
type Manager struct{ session *Session }

// Active returns the session's running queries, whoever started them.
func (m *Manager) Active(ctx context.Context) ([]*Query, error) {
	r, err := m.ask(ctx, "listing active queries", managerCommand{Active: true})
	if err != nil {
		return nil, err
	}
	queries := make([]*Query, 0, len(r.Active.Queries))
	for _, instance := range r.Active.Queries {
		queries = append(queries, m.query(instance))
	}
	return queries, nil
}

// Get returns the running query of this id. If there is none, the error is
// [ErrQueryNotFound].
func (m *Manager) Get(ctx context.Context, id string) (*Query, error) {
	doing := "looking for query " + id
	if _, err := uuid.Parse(id); err != nil {
		return nil, fmt.Errorf("%s: %w: its id is not a UUID", doing, ErrQueryNotFound)
	}
	r, err := m.ask(ctx, doing, managerCommand{GetQuery: id})
	if err != nil {
		return nil, err
	}
	if r.Query == nil || r.Query.ID.ID == "" {
		return nil, fmt.Errorf("%s: %w among the active ones of session %s", doing, ErrQueryNotFound, m.session.ID())
	}
	return m.query(*r.Query), nil
}

// AwaitAnyTermination waits until a query of the session ends, for at most
// timeout, or for as long as ctx allows if timeout is 0, and tells whether one
// has. It returns at once if one has ended since the session began or since
// [Manager.ResetTerminated]. If a query failed, the error is its
// [*QueryException].
func (m *Manager) AwaitAnyTermination(ctx context.Context, timeout time.Duration) (bool, error) {
	ended, err := await(timeout, func(slice time.Duration) (bool, error) {
		r, err := m.ask(ctx, "awaiting the end of any query", managerCommand{AwaitAnyTermination: &awaitTimeout{slice.Milliseconds()}})
		if err != nil {
			return false, err
		}
		return r.AwaitAnyTermination.Terminated, nil
	})
	var answer *ServerError
	if errors.As(err, &answer) && strings.HasSuffix(answer.Class, ".StreamingQueryException") {
		return true, m.failureOf(ctx, answer)
	}
	return ended, err
}

// failedQuery finds the query in Spark's message about its failure.
var failedQuery = regexp.MustCompile(`\[id = ([0-9a-f-]+), runId = ([0-9a-f-]+)\]`)

// failureOf turns the server's answer about a failed query into the exception,
// which has more to say.
func (m *Manager) failureOf(ctx context.Context, answer *ServerError) error {
	e := &QueryException{Message: answer.Message, ErrorClass: answer.ErrorClass}
	if ids := failedQuery.FindStringSubmatch(answer.Message); ids != nil {
		e.QueryID, e.RunID = ids[1], ids[2]
		if full, err := m.session.Attach(e.QueryID, e.RunID).Exception(ctx); err == nil && full != nil {
			return full
		}
	}
	return e
}

// ResetTerminated forgets the queries that have ended, so that
// [Manager.AwaitAnyTermination] waits for the next one.
func (m *Manager) ResetTerminated(ctx context.Context) error {
	_, err := m.ask(ctx, "forgetting ended queries", managerCommand{ResetTerminated: true})
	return err
}

func (m *Manager) query(instance queryInstance) *Query {
	q := m.session.Attach(instance.ID.ID, instance.ID.RunID)
	q.name = instance.Name
	return q
}

// ask sends a command about the session's queries. The answer of a session that
// has taken the place of an expired one would be true and misleading.
func (m *Manager) ask(ctx context.Context, doing string, c managerCommand) (*managerResult, error) {
	a, err := m.session.execute(ctx, plan{Command: &command{Manager: &c}})
	if err == nil || errors.Is(err, ErrQueryNotFound) {
		err = errors.Join(err, m.session.checkAlive(ctx))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	return &a.Manager, nil
}
