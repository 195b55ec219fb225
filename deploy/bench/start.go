package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"

	"example.com/bookstore/deploy/stack/service"
	"example.com/bookstore/deploy/stack/supervisor"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/secret"
)

var startContenders = []contender{{name: "a stack and its job", rounds: 1, round: startRound}}

// prepareStart builds what is started, so that building is not measured.
func prepareStart(ctx context.Context, b *bench) (err error) {
	if b.stream.stack, err = b.build(ctx, "./deploy/stack"); err != nil {
		return err
	}
	b.stream.sparkjob, err = b.build(ctx, "./sparkjob")
	return err
}

// firstRowTimeout is for the queries to start and the event to come through.
const firstRowTimeout = 2 * time.Minute

// startRound brings a new stack up, down and up again, and then submits the job.
func startRound(ctx context.Context, r *round) (err error) {
	settings, err := os.ReadFile("deploy/stack.env")
	if err != nil {
		return err
	}
	// It is not one of exec's, which clears away those that nobody has locked.
	if _, err := supervisor.Isolate(ctx, r.folder, settings, service.Hosts(1)...); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, r.stackCommand(context.WithoutCancel(ctx), "clean", "--yes"), os.RemoveAll(os.Getenv("STACK_DIR")))
	}()
	for _, step := range []struct{ metric, command string }{{"task up, no data yet", "up"}, {"task down", "down"}, {"task up, with data", "up"}} {
		began := time.Now()
		if err := r.stackCommand(ctx, step.command); err != nil {
			return err
		}
		if err := r.add(step.metric, "s", time.Since(began).Seconds()); err != nil {
			return err
		}
	}
	job, err := r.start(ctx, "sparkjob", nil, r.stream.sparkjob, "submit")
	if err != nil {
		return err
	}
	began := time.Now()
	err = r.firstRow(ctx)
	took := time.Since(began)
	if err := errors.Join(err, job.stop(ctx)); err != nil {
		return err
	}
	return r.add("task submit, to the first row", "s", took.Seconds())
}

// firstRow sends an event and waits for its row.
func (r *round) firstRow(ctx context.Context) error {
	port, err := strconv.Atoi(os.Getenv("CASSANDRA_PORT"))
	if err != nil {
		return fmt.Errorf("CASSANDRA_PORT: %w", err)
	}
	config := r.database()
	config.Port, config.Password = port, secret.String(os.Getenv("CASSANDRA_JOB_PASSWORD")) // of the stack that was just made
	session, err := config.Connect(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	e := event(0, time.Now())
	e.BookID = "frankenstein"
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, os.Getenv("STORE_URL")+"/events", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	if err := response.Body.Close(); err != nil {
		return err
	}
	if response.StatusCode != http.StatusAccepted {
		return fmt.Errorf("POST /events: %s", response.Status)
	}
	_, err = backoff.Retry(ctx, func() (struct{}, error) {
		found, err := cassandra.EventsWritten(ctx, session, []string{e.EventID})
		if err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		if len(found) == 0 {
			return struct{}{}, errWaiting
		}
		return struct{}{}, nil
	}, backoff.WithBackOff(backoff.NewConstantBackOff(50*time.Millisecond)), backoff.WithMaxElapsedTime(firstRowTimeout))
	return err
}
