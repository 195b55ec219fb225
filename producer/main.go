// The bookstore's web store: it shows the catalogue, and writes what visitors do
// to Kafka. To follow an event, read web/events.go, delivery/delivery.go and
// publisher/publisher.go.
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
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/trace"

	"example.com/bookstore/producer/delivery"
	"example.com/bookstore/producer/live"
	"example.com/bookstore/producer/publisher"
	"example.com/bookstore/producer/spool"
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
	setRuntime()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal has its usual effect
	if err := run(ctx, cfg, logger); err != nil {
		logger.Error(err.Error())
		os.Exit(1)
	}
}

// How Go's runtime is set where GOMAXPROCS and GOGC do not say.
const (
	// waitingInC is how many goroutines of Kafka's client wait in C, for reports and for lines
	// of its log. Each holds on to one of the GOMAXPROCS places meanwhile, and if it was the
	// last nobody looks at the network until the runtime takes it back, after 10 ms: on 2 cores
	// that was the longest hundredth of the answers.
	waitingInC = 2

	// gcPercent lets the heap grow to five times what lives in it before it is looked through:
	// the store keeps little, so 20 MB more buy it an eighth of its throughput.
	gcPercent = 400
)

func setRuntime() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + waitingInC)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// flushTimeout bounds how long the last spans keep a store that is closing.
const flushTimeout = 5 * time.Second

// run is the store from its opening until ctx ends and everything that it has
// taken is with the brokers, or in the spool.
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
	events, err := deliver(ctx, cfg, logger, traces.Tracer())
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
			return errors.Join(err, end(ctx, events, nil, cfg, logger))
		}
		defer stopMetrics()
	case telemetry.Loopback(listener.Addr().String()):
		metricsHandler = telemetry.Handler(registry)
	}
	webConfig := web.Config{
		Publisher: events, Logger: logger, LogRequests: cfg.LogRequests, RateLimit: cfg.RateLimit,
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
		return errors.Join(err, end(ctx, events, nil, cfg, logger))
	}

	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	logger.Info("the store is open", "url", "http://"+listener.Addr().String())

	select {
	case err = <-served:
		return errors.Join(err, end(ctx, events, nil, cfg, logger))
	case <-ctx.Done():
	}
	server.Drain()
	time.Sleep(cfg.DrainDelay)
	err = errors.Join(end(ctx, events, server, cfg, logger), <-served)
	logger.Debug("the store is closed")
	return err
}

func liveConfig(cfg *Config, logger *slog.Logger) live.Config {
	return live.Config{
		Kafka: cfg.Kafka, EventsTopic: cfg.KafkaTopic, ActivityTopic: cfg.activityTopic(),
		Cassandra: cassandra.Config{
			Hosts: cfg.CassandraHosts, Port: cfg.CassandraPort, Datacenter: cfg.CassandraDatacenter,
			User: cassandra.StoreUser, Password: cfg.CassandraPassword, Keyspace: cassandra.Keyspace, TLS: cfg.CassandraTLS,
		},
		Job: cfg.SparkJobName, Logger: logger,
	}
}

// deliver returns what events go to: the brokers, or the spool until they are back.
func deliver(ctx context.Context, cfg *Config, logger *slog.Logger, tracer trace.Tracer) (*delivery.Delivery, error) {
	disk, err := spool.Open(spool.Config{Dir: cfg.spoolDir(), Limit: int64(cfg.SpoolLimit), Logger: logger})
	if err != nil {
		return nil, err
	}
	spoolAfter := cfg.SpoolAfter
	if cfg.SpoolLimit == 0 { // then the brokers are all that there is to wait for
		spoolAfter = cfg.DeliveryTimeout
	}
	events, err := delivery.New(ctx, delivery.Config{
		Connect: func(report func([]publisher.Report)) (delivery.Publisher, error) {
			return publisher.New(publisher.Config{
				Kafka:      cfg.Kafka,
				Topic:      cfg.KafkaTopic,
				QueueLimit: cfg.QueueLimit,
				Report:     report,
				Logger:     logger,
				Tracer:     tracer,
			})
		},
		Spool: disk, SpoolAfter: spoolAfter, DeliveryTimeout: cfg.DeliveryTimeout, Logger: logger,
	})
	if err != nil {
		return nil, errors.Join(err, disk.Close())
	}
	return events, nil
}

// end answers the last requests, if there is a server, and brings the last events
// to the brokers, both within the time-out, though ctx has ended. What is left of them
// stays in the spool.
func end(ctx context.Context, events *delivery.Delivery, server *web.Server, cfg *Config, logger *slog.Logger) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.DrainTimeout)
	defer cancel()
	var errs []error
	if server != nil {
		errs = append(errs, server.Shutdown(ctx))
	}
	left, err := events.Close(ctx)
	if left > 0 {
		logger.Info("events stay in the spool; the store sends them when it is started again", "events", left, "spool", cfg.spoolDir())
	}
	return errors.Join(append(errs, err)...)
}
