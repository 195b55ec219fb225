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
	"sync"
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

// Admin asks and changes the topics of one cluster. Its methods may be called from any
// number of goroutines.
type Admin struct {
	config  kafkaclient.Config
	timeout time.Duration

	mu      sync.Mutex
	current *connection // nil after one that got no answer
	closing sync.WaitGroup
}

// connection is a client and the requests that use it.
type connection struct {
	*kafka.AdminClient
	requests sync.WaitGroup
}

// NewAdmin returns an Admin for the brokers of c. It does not connect yet. Timeout
// bounds each request.
func NewAdmin(c kafkaclient.Config, timeout time.Duration) (*Admin, error) {
	a := &Admin{config: c, timeout: timeout}
	var err error
	if a.current, err = a.connect(); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *Admin) connect() (*connection, error) {
	client, err := kafka.NewAdminClient(a.config.ConfigMap(kafka.ConfigMap{
		// librdkafka logs each refused connection on stderr; the request that it
		// makes fail says the same.
		"log_level": 0,
		// A caller that keeps asking soon notices that the brokers are back.
		"reconnect.backoff.max.ms": 1000,
	}))
	if err != nil {
		return nil, fmt.Errorf("creating a Kafka client for %s: %w", a.config.BootstrapServers, err)
	}
	return &connection{AdminClient: client}, nil
}

// Close ends the connections.
func (a *Admin) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current != nil {
		a.current.Close()
	}
	a.closing.Wait()
}

// request has something asked, within the timeout. Doing and name say in an error what was
// under way with which topic.
//
// A client that got no answer is not used again. librdkafka keeps the request, for a
// minute, and as long as the brokers that it was connected to refuse it connects to them
// again and again without a pause, whatever the settings say: that takes a whole core. A
// client that was never connected does pause.
func (a *Admin) request(ctx context.Context, doing, name string, do func(context.Context, *kafka.AdminClient) error) error {
	c, err := a.use()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	err = do(ctx, c.AdminClient)
	c.requests.Done()
	if err != nil {
		err = a.explain(doing, name, err)
	}
	if ctx.Err() != nil || errors.Is(err, ErrUnreachable) {
		a.drop(c)
	}
	return err
}

func (a *Admin) use() (*connection, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current == nil {
		var err error
		if a.current, err = a.connect(); err != nil {
			return nil, err
		}
	}
	a.current.requests.Add(1)
	return a.current, nil
}

// drop closes a client once no request uses it any more.
func (a *Admin) drop(c *connection) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current != c { // by another request
		return
	}
	a.current = nil
	a.closing.Go(func() {
		c.requests.Wait()
		c.Close()
	})
}

// Partitions returns the number of partitions of a topic. errors.Is tells
// ErrNotFound and ErrUnreachable.
func (a *Admin) Partitions(ctx context.Context, name string) (count int, err error) {
	err = a.request(ctx, "looking up", name, func(ctx context.Context, client *kafka.AdminClient) error {
		result, err := client.DescribeTopics(ctx, kafka.NewTopicCollectionOfTopicNames([]string{name}))
		if err != nil {
			return err
		}
		description := result.TopicDescriptions[0]
		if description.Error.Code() != kafka.ErrNoError {
			return description.Error
		}
		count = len(description.Partitions)
		return nil
	})
	return count, err
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
	err = a.request(ctx, "creating", spec.Name, func(ctx context.Context, client *kafka.AdminClient) error {
		results, err := client.CreateTopics(ctx, []kafka.TopicSpecification{{
			Topic: spec.Name, NumPartitions: spec.Partitions, ReplicationFactor: spec.ReplicationFactor, Config: config,
		}}, kafka.SetAdminOperationTimeout(a.timeout))
		if err != nil {
			return err
		}
		switch result := results[0].Error; result.Code() {
		case kafka.ErrNoError:
			created = true
			return nil
		case kafka.ErrTopicAlreadyExists: // another setup was faster
			return nil
		default:
			return result
		}
	})
	return created, err
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
	return fmt.Errorf("%s topic %q at %s: %w", doing, name, a.config.BootstrapServers, reason)
}
