package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/gocql/gocql"
	"golang.org/x/sync/errgroup"

	"example.com/bookstore/schema"
)

const (
	insertEvent = "INSERT INTO events (event_id, event_type, event_time, user_id, book_id) VALUES (?, ?, ?, ?, ?)"
	writers     = 256 // inserts at once
)

// write inserts what comes until the channel is closed.
func write(ctx context.Context, session *gocql.Session, events <-chan schema.Event) error {
	var writing errgroup.Group
	for range writers {
		writing.Go(func() error {
			var failure error
			for e := range events { // to the end, so that nobody waits for a writer
				if failure == nil {
					failure = session.Query(insertEvent, e.EventID, string(e.EventType), e.EventTime, e.UserID, e.BookID).WithContext(ctx).Exec()
				}
			}
			return failure
		})
	}
	return writing.Wait()
}

// insertFromMemory writes events that are there already: what one row a statement comes to
// at the best.
func (b *bench) insertFromMemory(ctx context.Context, rows int) (catchUp, error) {
	list := make([]schema.Event, rows)
	for n := range list {
		list[n] = event(n, time.Now())
	}
	events := make(chan schema.Event, 1000)
	began := time.Now()
	go func() {
		defer close(events)
		for _, e := range list {
			events <- e
		}
	}()
	err := write(ctx, b.stream.session, events)
	return catchUp{took: time.Since(began)}, err
}

// consume is what a Go program without Spark might be: it reads the topic, checks each
// event, inserts it, and commits the offsets at the end.
func (b *bench) consume(ctx context.Context, topic string, rows int) (catchUp, error) {
	began := time.Now()
	consumer, err := kafka.NewConsumer(b.Kafka.ConfigMap(kafka.ConfigMap{
		"group.id": fmt.Sprintf("bench-%d", began.UnixNano()), "auto.offset.reset": "earliest", "enable.auto.commit": false,
	}))
	if err != nil {
		return catchUp{}, err
	}
	defer func() { _ = consumer.Close() }() // it has read, and has nothing to lose
	if err := consumer.Subscribe(topic, nil); err != nil {
		return catchUp{}, err
	}
	events := make(chan schema.Event, 1000)
	var working errgroup.Group
	working.Go(func() error { return write(ctx, b.stream.session, events) })
	working.Go(func() error {
		defer close(events)
		for n := 0; n < rows; {
			message, err := consumer.ReadMessage(100 * time.Millisecond)
			var kafkaErr kafka.Error
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case errors.As(err, &kafkaErr) && kafkaErr.IsTimeout():
				continue
			case err != nil:
				return fmt.Errorf("reading topic %s: %w", topic, err)
			}
			e, err := schema.Decode(message.Value)
			if err != nil {
				return err
			}
			events <- e
			n++
		}
		return nil
	})
	if err := working.Wait(); err != nil {
		return catchUp{}, err
	}
	if _, err := consumer.Commit(); err != nil {
		return catchUp{}, err
	}
	return catchUp{took: time.Since(began)}, nil
}
