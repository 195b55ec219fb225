// The bookstore's web store: it shows the catalogue, and writes what visitors do
// to Kafka. To follow an event, read web/events.go and publisher/publisher.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"example.com/bookstore/producer/live"
	"example.com/bookstore/producer/publisher"
	"example.com/bookstore/producer/telemetry"
	"example.com/bookstore/producer/web"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/env"
)

func main() {
	if err := env.Load(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	cfg, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "reading the settings:", err)
		os.Exit(1)
	}
	if cfg.PrintConfig {
		fmt.Println(cfg)
		return
	}
	if cfg.Ready {
		if err := askReady(context.Background(), cfg.Addr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	logger := cfg.logger(os.Stderr)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal has its usual effect
	if err := run(ctx, cfg, logger); err != nil {
		logger.Error(err.Error())
		os.Exit(1)
	}
}

// flushTimeout bounds how long the last spans keep a store that is closing.
const flushTimeout = 5 * time.Second

// run is the store from its opening until ctx ends and everything that it has
// taken is with the brokers.
func run(ctx context.Context, cfg *Config, logger *slog.Logger) error {
	logger.Debug("settings", "config", cfg)
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listening on %s: another program has this port; stop it or choose another with --addr", cfg.Addr)
	}
	if err != nil {
		return fmt.Errorf("listening on %s: %w", cfg.Addr, err)
	}
	defer func() { _ = listener.Close() }() // for the early returns; Serve closes it itself

	traces, err := telemetry.TracesFromEnvironment(ctx, logger)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
		defer cancel()
		if err := traces.Shutdown(ctx); err != nil {
			logger.Warn("closing the store", "error", err)
		}
	}()
	events, err := publisher.New(publisher.Config{
		BootstrapServers: cfg.KafkaBootstrapServers,
		Topic:            cfg.KafkaTopic,
		DeliveryTimeout:  cfg.DeliveryTimeout,
		QueueLimit:       cfg.QueueLimit,
		Logger:           logger,
		Tracer:           traces.Tracer(),
	})
	if err != nil {
		return err
	}
	registry := telemetry.NewRegistry()
	registry.MustRegister(events)
	var metricsHandler http.Handler
	switch {
	case cfg.MetricsAddr != "":
		stopMetrics, err := telemetry.Serve(ctx, cfg.MetricsAddr, registry, func(err error) { logger.Error(err.Error()) })
		if err != nil {
			return errors.Join(err, end(ctx, events, nil, cfg.DrainTimeout))
		}
		defer stopMetrics()
	case telemetry.Loopback(listener.Addr().String()):
		metricsHandler = telemetry.Handler(registry)
	}
	webConfig := web.Config{
		Publisher: events, Logger: logger, LogRequests: cfg.LogRequests,
		Metrics: registry, MetricsHandler: metricsHandler, Tracer: traces.Tracer(),
	}
	if cfg.Live {
		hub := live.New(liveConfig(cfg, logger))
		webConfig.Live = hub
		watching, stop := context.WithCancel(ctx)
		var ended sync.WaitGroup
		ended.Go(func() { hub.Run(watching) })
		defer ended.Wait()
		defer stop()
	}
	server, err := web.New(webConfig)
	if err != nil {
		return errors.Join(err, end(ctx, events, nil, cfg.DrainTimeout))
	}

	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	logger.Info("the store is open", "url", "http://"+listener.Addr().String())

	select {
	case err = <-served:
		return errors.Join(err, end(ctx, events, nil, cfg.DrainTimeout))
	case err = <-events.Fatal():
		err = fmt.Errorf("publishing events: %w; start the store again", err)
	case <-ctx.Done():
		server.Drain()
		select {
		case <-time.After(cfg.DrainDelay):
		case err = <-events.Fatal():
		}
	}
	err = errors.Join(err, end(ctx, events, server, cfg.DrainTimeout), <-served)
	logger.Debug("the store is closed")
	return err
}

func liveConfig(cfg *Config, logger *slog.Logger) live.Config {
	return live.Config{
		KafkaBootstrapServers: cfg.KafkaBootstrapServers, EventsTopic: cfg.KafkaTopic, ActivityTopic: cfg.activityTopic(),
		Cassandra: cassandra.Config{
			Hosts: cfg.CassandraHosts, Port: cfg.CassandraPort, Datacenter: cfg.CassandraDatacenter,
			User: cassandra.StoreUser, Password: string(cfg.CassandraPassword), Keyspace: cassandra.Keyspace,
		},
		Job: cfg.SparkJobName, Logger: logger,
	}
}

// end answers the last requests, if there is a server, and brings the last events
// to the brokers, both within the time-out, though ctx has ended.
func end(ctx context.Context, events *publisher.Publisher, server *web.Server, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	var errs []error
	if server != nil {
		errs = append(errs, server.Shutdown(ctx))
	}
	if n := events.Close(ctx); n > 0 {
		errs = append(errs, fmt.Errorf("closing the publisher: the brokers have not acknowledged %d events within %v", n, timeout))
	}
	return errors.Join(errs...)
}
