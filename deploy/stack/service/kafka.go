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
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

func (b *Builder) kafka() *Service {
	s := b.base(Kafka)
	s.Address = loopback(b.Config.KafkaPort)
	s.Ports = []Port{{"KAFKA_PORT", b.Config.KafkaPort}, {"KAFKA_CONTROLLER_PORT", b.Config.KafkaControllerPort},
		{"KAFKA_METRICS_PORT", b.Config.KafkaMetricsPort}}
	s.Memory = 400 << 20
	s.Jars = b.jars("kafka")
	s.Folder = b.data("kafka")
	s.Start = 120 * time.Second
	s.Drain = 20 * time.Second
	s.Command = func() []string {
		return append(append(b.kafkaJava(), b.loginOption("kafka")...), "kafka.Kafka", b.kafkaProperties())
	}
	s.Environ = func() []string { return engineEnviron() }
	s.Prepare = b.prepareKafka
	s.Answers = func(ctx context.Context) error { return b.kafkaAnswers(ctx, s.Address) }
	return s
}

func (b *Builder) kafkaProperties() string {
	return filepath.Join(b.conf("kafka"), "server.properties")
}

func (b *Builder) kafkaJava() []string {
	return []string{b.java(), "@" + filepath.Join(b.conf("kafka"), "jvm.options"),
		"-cp", filepath.Join(b.jars("kafka").Dir, "*")}
}

// prepareKafka gives an empty data folder its cluster id, as KRaft wants it before the
// first start.
func (b *Builder) prepareKafka(ctx context.Context) error {
	if err := b.configure("kafka", []string{"tmp"}, "server.properties", "jvm.options", "log4j2.properties", "metrics.yaml", "tls.properties"); err != nil {
		return err
	}
	if b.Config.TLS {
		if err := extend(b.conf("kafka"), "server.properties", "tls.properties"); err != nil {
			return fmt.Errorf("configuring kafka: %w", err)
		}
	}
	if err := b.writeLogin("kafka", "KafkaServer"); err != nil {
		return err
	}
	_, err := os.Stat(filepath.Join(b.data("kafka"), "logs", "meta.properties"))
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("formatting Kafka's data folder: %w", err)
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never returns an error
	id[0] &= 0x7f           // an id that starts with a dash reads as an option
	format := []string{"kafka.tools.StorageTool", "format", "--ignore-formatted",
		"--cluster-id", base64.RawURLEncoding.EncodeToString(id[:]), "--config", b.kafkaProperties()}
	user, err := b.scramUser()
	if err != nil {
		return fmt.Errorf("formatting Kafka's data folder: %w", err)
	}
	// What stands for a password is on no command line.
	file := filepath.Join(b.conf("kafka"), "format.args")
	if err := writeArguments(file, append(format, user...)); err != nil {
		return fmt.Errorf("formatting Kafka's data folder: %w", err)
	}
	defer func() { _ = os.Remove(file) }()
	args := append(b.kafkaJava(), "@"+file)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = engineEnviron()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("formatting Kafka's data folder: %w\n%s", err, out)
	}
	return nil
}

// kafkaAnswers asks the broker for the cluster's metadata.
func (b *Builder) kafkaAnswers(ctx context.Context, address string) error {
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
	meta, err := admin.GetMetadata(nil, false, int(remaining(ctx, 5*time.Second).Milliseconds()))
	if err != nil {
		return err
	}
	if len(meta.Brokers) == 0 {
		return errors.New("no broker is registered yet")
	}
	return nil
}
