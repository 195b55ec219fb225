package service

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// kafkas are the brokers, each of which votes as a controller too.
func (b *Builder) kafkas() []*Service {
	cluster := sync.OnceValues(b.kafkaCluster)
	return together(nodes(b.Config.Nodes), func(n node) *Service { return b.kafka(n, cluster) })
}

func (b *Builder) kafka(n node, cluster func() (string, error)) *Service {
	s := b.base(n.name(Kafka))
	s.Address = n.address(b.Config.KafkaPort)
	s.Ports = []Port{{"KAFKA_PORT", b.Config.KafkaPort}, {"KAFKA_CONTROLLER_PORT", b.Config.KafkaControllerPort},
		{"KAFKA_METRICS_PORT", b.Config.KafkaMetricsPort}}
	s.Memory = 400 << 20
	s.Jars = b.jars("kafka")
	s.Folder = b.data(s.Name)
	s.Start = 120 * time.Second * time.Duration(max(b.Config.Nodes, 1)) // all start at once
	s.Drain = 20 * time.Second
	s.Command = func() []string {
		return append(append(b.kafkaJava(s.Name), b.loginOption(s.Name)...), "kafka.Kafka", b.kafkaProperties(s.Name))
	}
	s.Environ = func() []string { return engineEnviron() }
	s.Prepare = func(ctx context.Context) error { return b.prepareKafka(ctx, n, cluster) }
	s.Answers = func(ctx context.Context) error { return b.kafkaAnswers(ctx, s.Address, n) }
	return s
}

func (b *Builder) kafkaProperties(name string) string {
	return filepath.Join(b.conf(name), "server.properties")
}

func (b *Builder) kafkaJava(name string) []string {
	return []string{b.java(), "@" + filepath.Join(b.conf(name), "jvm.options"),
		"-cp", filepath.Join(b.jars("kafka").Dir, "*")}
}

// kafkaMeta is where a broker keeps its number and the cluster's id.
func (b *Builder) kafkaMeta(n node) string {
	return filepath.Join(b.data(n.name(Kafka)), "logs", "meta.properties")
}

// kafkaCluster returns the id of the cluster: the one that a broker has already, or a
// new one.
func (b *Builder) kafkaCluster() (string, error) {
	for _, n := range nodes(b.Config.Nodes) {
		text, err := os.ReadFile(b.kafkaMeta(n))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("reading Kafka's cluster id: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			if id, ok := strings.CutPrefix(line, "cluster.id="); ok {
				return strings.TrimSpace(id), nil
			}
		}
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never returns an error
	id[0] &= 0x7f           // an id that starts with a dash reads as an option
	return base64.RawURLEncoding.EncodeToString(id[:]), nil
}

// configureKafka fills in the configuration of one broker.
func (b *Builder) configureKafka(n node) error {
	var voters []string
	for _, other := range nodes(b.Config.Nodes) {
		voters = append(voters, fmt.Sprintf("%d@%s", other.number, other.address(b.Config.KafkaControllerPort)))
	}
	err := b.configure("kafka", n, map[string]string{"KAFKA_VOTERS": strings.Join(voters, ",")}, []string{"tmp"},
		"server.properties", "jvm.options", "log4j2.properties", "metrics.yaml", "tls.properties")
	if err != nil || !b.Config.TLS {
		return err
	}
	name := n.name(Kafka)
	if err := extend(b.conf(name), "server.properties", "tls.properties"); err != nil {
		return fmt.Errorf("configuring %s: %w", name, err)
	}
	return b.writeLogin(name, "KafkaServer")
}

// prepareKafka gives an empty data folder the cluster's id, as KRaft wants it before the
// first start.
func (b *Builder) prepareKafka(ctx context.Context, n node, cluster func() (string, error)) error {
	if err := b.configureKafka(n); err != nil {
		return err
	}
	id, err := cluster()
	if err != nil {
		return err
	}
	_, err = os.Stat(b.kafkaMeta(n))
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("formatting Kafka's data folder: %w", err)
	}
	name := n.name(Kafka)
	format := []string{"kafka.tools.StorageTool", "format", "--ignore-formatted", "--cluster-id", id, "--config", b.kafkaProperties(name)}
	user, err := b.scramUser()
	if err != nil {
		return fmt.Errorf("formatting Kafka's data folder: %w", err)
	}
	// What stands for a password is on no command line.
	file := filepath.Join(b.conf(name), "format.args")
	if err := writeArguments(file, append(format, user...)); err != nil {
		return fmt.Errorf("formatting Kafka's data folder: %w", err)
	}
	defer func() { _ = os.Remove(file) }()
	args := append(b.kafkaJava(name), "@"+file)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = engineEnviron()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("formatting Kafka's data folder: %w\n%s", err, out)
	}
	return nil
}

// kafkaAnswers asks the broker for the cluster's metadata: whether it takes part, with
// a copy of all that it should have.
func (b *Builder) kafkaAnswers(ctx context.Context, address string, n node) error {
	if err := dial(ctx, address); err != nil {
		return err
	}
	client := b.Config.Kafka
	client.BootstrapServers = address
	admin, err := kafka.NewAdminClient(client.ConfigMap(kafka.ConfigMap{"log_level": 0}))
	if err != nil {
		return err
	}
	defer admin.Close()
	meta, err := admin.GetMetadata(nil, true, int(remaining(ctx, 5*time.Second).Milliseconds()))
	if err != nil {
		return err
	}
	number := int32(n.number)
	if !slices.ContainsFunc(meta.Brokers, func(m kafka.BrokerMetadata) bool { return m.ID == number }) {
		return errors.New("it is not registered yet")
	}
	behind := 0
	for _, topic := range meta.Topics {
		for _, p := range topic.Partitions {
			if slices.Contains(p.Replicas, number) && !slices.Contains(p.Isrs, number) {
				behind++
			}
		}
	}
	if behind > 0 {
		return fmt.Errorf("its copies of %d partitions are not in sync yet", behind)
	}
	return nil
}
