// Package topic makes and looks up Kafka topics, the first stop on the data's
// path that outlives the store. Brokers never create one by themselves here: a
// misspelt name must be an error, not a new topic.
package topic

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"example.com/bookstore/schema/kafkaclient"
)

var (
	// ErrNotFound says that the brokers answered and have no such topic.
	ErrNotFound = errors.New("topic does not exist")
	// ErrUnreachable says that no broker answered.
	ErrUnreachable = errors.New("no broker answered")
)

// Spec is a topic as it should be.
type Spec struct {
	Name              string
	Partitions        int
	ReplicationFactor int
	MinInSyncReplicas int           // 1 if zero
	Retention         time.Duration // the broker's default if zero

	// Compact lets the broker drop a record once a later one has the same key, even
	// before Retention is over (cleanup.policy=compact,delete).
	Compact bool
}

// compactSegment is after how long a segment of a compacted topic is closed: the
// broker neither compacts nor deletes the one that it writes to.
const compactSegment = time.Hour

// Admin asks and changes the topics of one cluster.
type Admin struct {
	client  *kafka.AdminClient
	servers string
	timeout time.Duration
}

// NewAdmin returns an Admin for the brokers of c. It does not connect yet. Timeout
// bounds each request.
func NewAdmin(c kafkaclient.Config, timeout time.Duration) (*Admin, error) {
	client, err := kafka.NewAdminClient(c.ConfigMap(kafka.ConfigMap{
		// librdkafka logs each refused connection on stderr; the request that it
		// makes fail says the same.
		"log_level": 0,
		// A caller that keeps asking soon notices that the brokers are back.
		"reconnect.backoff.max.ms": 1000,
	}))
	if err != nil {
		return nil, fmt.Errorf("creating a Kafka client for %s: %w", c.BootstrapServers, err)
	}
	return &Admin{client: client, servers: c.BootstrapServers, timeout: timeout}, nil
}

// Close ends the connections.
func (a *Admin) Close() { a.client.Close() }

// Partitions returns the number of partitions of a topic. errors.Is tells
// ErrNotFound and ErrUnreachable.
func (a *Admin) Partitions(ctx context.Context, name string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	result, err := a.client.DescribeTopics(ctx, kafka.NewTopicCollectionOfTopicNames([]string{name}))
	if err != nil {
		return 0, a.explain("looking up", name, err)
	}
	description := result.TopicDescriptions[0]
	if code := description.Error.Code(); code != kafka.ErrNoError {
		return 0, a.explain("looking up", name, description.Error)
	}
	return len(description.Partitions), nil
}

// Ensure creates the topic if it is absent and reports whether it did. An
// existing topic is left as it is, whatever its number of partitions.
func (a *Admin) Ensure(ctx context.Context, spec Spec) (created bool, err error) {
	if _, err := a.Partitions(ctx, spec.Name); !errors.Is(err, ErrNotFound) {
		return false, err
	}
	config := map[string]string{"min.insync.replicas": strconv.Itoa(max(spec.MinInSyncReplicas, 1))}
	if spec.Retention > 0 {
		config["retention.ms"] = strconv.FormatInt(spec.Retention.Milliseconds(), 10)
	}
	if spec.Compact {
		config["cleanup.policy"] = "compact,delete"
		config["segment.ms"] = strconv.FormatInt(compactSegment.Milliseconds(), 10)
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	results, err := a.client.CreateTopics(ctx, []kafka.TopicSpecification{{
		Topic: spec.Name, NumPartitions: spec.Partitions, ReplicationFactor: spec.ReplicationFactor, Config: config,
	}}, kafka.SetAdminOperationTimeout(a.timeout))
	if err != nil {
		return false, a.explain("creating", spec.Name, err)
	}
	switch result := results[0].Error; result.Code() {
	case kafka.ErrNoError:
		return true, nil
	case kafka.ErrTopicAlreadyExists: // another setup was faster
		return false, nil
	default:
		return false, a.explain("creating", spec.Name, result)
	}
}

func (a *Admin) explain(doing, name string, err error) error {
	reason := err
	var kafkaErr kafka.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		reason = ErrUnreachable
	case errors.As(err, &kafkaErr):
		switch kafkaErr.Code() {
		case kafka.ErrUnknownTopicOrPart, kafka.ErrUnknownTopic:
			reason = ErrNotFound
		case kafka.ErrTransport, kafka.ErrAllBrokersDown, kafka.ErrTimedOut, kafka.ErrResolve:
			reason = ErrUnreachable
		case kafka.ErrTopicException:
			return fmt.Errorf("%s topic %q: %s", doing, name, strings.TrimPrefix(kafkaErr.Error(), "Broker: "))
		}
	}
	return fmt.Errorf("%s topic %q at %s: %w", doing, name, a.servers, reason)
}
