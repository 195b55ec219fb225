package driver

import (
	"errors"
	"fmt"

	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/topic"
)

// Hint adds to an error of Kafka or Cassandra what to do about it, where it can be told.
func Hint(err error, c Config) error {
	switch {
	case errors.Is(err, topic.ErrNotFound), errors.Is(err, topic.ErrUnreachable):
		return hintKafka(err, c)
	case errors.Is(err, cassandra.ErrCredentials):
		return fmt.Errorf("%w; check CASSANDRA_JOB_PASSWORD", err)
	case errors.Is(err, cassandra.ErrNotSetUp):
		return fmt.Errorf("%w; run `sparkjob setup`", err)
	}
	return err
}
