package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"time"

	"example.com/bookstore/producer/publisher"
	"example.com/bookstore/producer/telemetry"
	"example.com/bookstore/producer/web"
)

// boundCmd is the store's web server with its usual settings, but for where its events go:
// nowhere. No store with Kafka behind it can be faster.
type boundCmd struct {
	Addr string `env:"STORE_ADDR" required:""`
}

// nowhere acknowledges at once.
type nowhere struct{}

func (nowhere) Publish(_ context.Context, records []publisher.Record) []error {
	return make([]error, len(records))
}

func (nowhere) Ready(context.Context) error { return nil }

func (nowhere) Direct(context.Context) error { return nil }

// visitorRate is the store's default for the requests of one visitor.
const visitorRate = 200

// gcPercent is the store's, which the load takes as well: neither keeps much.
const gcPercent = 400

func (c *boundCmd) Run(ctx context.Context) error {
	debug.SetGCPercent(gcPercent)
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return err
	}
	server, err := web.New(web.Config{
		Publisher: nowhere{}, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), RateLimit: visitorRate, Metrics: telemetry.NewRegistry(),
	})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(server.Shutdown(ctx), <-served)
}
