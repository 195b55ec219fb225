package service

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func (b *Builder) store() *Service {
	s := b.base(Store)
	s.Address = "http://" + loopback(b.Config.StorePort)
	s.Ports = []Port{{"STORE_PORT", b.Config.StorePort}}
	s.After = []string{Kafka, Cassandra}
	s.Memory = 60 << 20
	s.Start = 30 * time.Second
	s.Drain = 20 * time.Second
	s.Command = func() []string { return []string{b.Bin(Store)} }
	s.Environ = func() []string {
		// The store's own passwords are all it needs.
		return engineEnviron("CASSANDRA_STORE_PASSWORD="+string(b.Config.StorePassword),
			"KAFKA_SASL_PASSWORD="+string(b.Config.Kafka.SASLPassword))
	}
	s.Answers = func(ctx context.Context) error { return get(ctx, s.Address+"/readyz", nil) }
	return s
}

func (b *Builder) sparkjob() *Service {
	s := b.base(Sparkjob)
	s.Address = "http://" + loopback(b.Config.SparkUIPort)
	s.After = []string{Kafka, Cassandra, SparkConnect}
	s.Memory = 60 << 20
	s.Start = 90 * time.Second
	s.Drain = 60 * time.Second // it waits for the running micro-batches
	s.Command = func() []string { return []string{b.Bin(Sparkjob), "submit"} }
	s.Answers = func(ctx context.Context) error {
		out, err := exec.CommandContext(ctx, b.Bin(Sparkjob), "status").CombinedOutput()
		if ctx.Err() != nil {
			return fmt.Errorf("sparkjob status: %w", ctx.Err())
		}
		if err != nil {
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			return fmt.Errorf("sparkjob status: %s (%w)", lines[len(lines)-1], err)
		}
		return nil
	}
	return s
}

// Bin is the path of a program of ours.
func (b *Builder) Bin(name string) string { return filepath.Join(b.Shared, "bin", name) }

// sources are the packages that the programs are built from.
var sources = map[string]string{Store: "./producer", Sparkjob: "./sparkjob"}

// Build compiles programs of ours into the shared folder.
func (b *Builder) Build(ctx context.Context, names ...string) error {
	for _, name := range names {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", b.Bin(name), sources[name])
		cmd.Dir = b.Project
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s from %s: %w\n%s", name, sources[name], err, out)
		}
	}
	return nil
}

// Setup creates topics, tables and roles where absent.
func (b *Builder) Setup(ctx context.Context) error { return b.run(ctx, "setup") }

// WarmUp has Spark practise what the job's queries do, for which no user should have to
// wait. The program must have been built.
func (b *Builder) WarmUp(ctx context.Context) error { return b.run(ctx, "warm-up") }

// run runs a command of the driver's, and keeps what it says in the log of that name.
func (b *Builder) run(ctx context.Context, command string) error {
	if err := os.MkdirAll(filepath.Dir(b.CommandLog(command)), 0o755); err != nil {
		return fmt.Errorf("running sparkjob %s: %w", command, err)
	}
	log, err := os.Create(b.CommandLog(command))
	if err != nil {
		return fmt.Errorf("running sparkjob %s: %w", command, err)
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, b.Bin(Sparkjob), command)
	cmd.Dir = b.Project
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running sparkjob %s: %w", command, err)
	}
	return nil
}

// CommandLog is the log of the last run of a command of the driver's.
func (b *Builder) CommandLog(command string) string {
	return filepath.Join(b.Dir, "logs", command+".log")
}
