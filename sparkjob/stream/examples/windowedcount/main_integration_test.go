//go:build integration

package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/bookstore/sparkjob/stream"
)

func TestWindowsAreWritten(t *testing.T) {
	remote := os.Getenv("SPARK_REMOTE")
	if remote == "" {
		t.Fatal("SPARK_REMOTE is not set: it names the Spark Connect server to test against")
	}
	session, err := stream.Connect(t.Context(), remote)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)

	c := config{Remote: remote, Out: t.TempDir(), Checkpoint: t.TempDir()}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out bytes.Buffer
	done := make(chan error, 1)
	go func() { done <- run(ctx, c, &out) }()

	full := func() bool { // is there a window with all its 50 rows?
		df, err := session.SQL(t.Context(), "SELECT 1 FROM parquet.`"+c.Out+"` WHERE count = 50")
		if err != nil {
			return false // no file yet
		}
		n, err := df.Count(t.Context())
		return err == nil && n > 0
	}
	for deadline := time.Now().Add(time.Minute); !full(); time.Sleep(200 * time.Millisecond) {
		select {
		case err := <-done:
			t.Fatalf("the job ended: %v", err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("no full window after a minute")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("ended with %v, want nil", err)
	}
	if !strings.Contains(out.String(), "batch 0: ") {
		t.Errorf("output %q", out.String())
	}
}
