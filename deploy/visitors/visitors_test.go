package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"example.com/bookstore/producer/publisher"
	"example.com/bookstore/producer/visitors"
	"example.com/bookstore/producer/web"
	"example.com/bookstore/schema/ledger"
)

// brokers take everything.
type brokers struct{}

func (brokers) Publish(_ context.Context, records []publisher.Record) []error {
	return make([]error, len(records))
}
func (brokers) Ready(context.Context) error { return nil }

func (brokers) Direct(context.Context) error { return nil }

// store starts the real store, whose answers to events may be replaced.
func store(t *testing.T, events http.HandlerFunc) string {
	t.Helper()
	s, err := web.New(web.Config{Publisher: brokers{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && events != nil {
			events(w, r)
			return
		}
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// do runs the program with arguments.
func do(ctx context.Context, t *testing.T, args ...string) (string, error) {
	t.Helper()
	var c command
	parser, err := kong.New(&c, kong.Description(description))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(args); err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = c.run(ctx, &out)
	return out.String(), err
}

func TestVisitorsCome(t *testing.T) {
	path := filepath.Join(t.TempDir(), "visits.jsonl")
	args := []string{
		"--store-url", store(t, nil), "--seed", "7", "--visits", "10", "--as-fast-as-possible", "--ledger", path, "--bad-clients", "0.3",
	}
	out, err := do(t.Context(), t, args...)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := ledger.ReadAll(path)
	if err != nil || len(entries) == 0 {
		t.Fatalf("the ledger has %d entries: %v", len(entries), err)
	}
	for _, want := range []string{", seed 7\n", "\nacknowledged  ", " payloads refused\n", "\nledger        " + path + "\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	if _, err := do(t.Context(), t, args...); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("the ledger is overwritten: %v", err)
	}
}

func TestWhatIsNotAcknowledgedIsAnError(t *testing.T) {
	url := store(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	out, err := do(t.Context(), t, "--store-url", url, "--steps", "3", "--as-fast-as-possible", "--patience", "2s")
	if err == nil || !strings.Contains(err.Error(), "not acknowledged") || !strings.Contains(out, "acknowledged  0 events") {
		t.Errorf("err = %v\n%s", err, out)
	}
}

// An interrupt is no error, if all that was sent has been acknowledged.
func TestAnInterruptEndsInGoodOrder(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	interrupted, interrupt := context.WithCancel(t.Context())
	defer context.AfterFunc(ctx, interrupt)()
	out, err := do(interrupted, t, "--store-url", store(t, nil), "--rate", "100", "--duration", "1h", "--max-books", "1")
	if err != nil || !strings.Contains(out, "ended early, after ") || !strings.Contains(out, "\nacknowledged  ") {
		t.Errorf("err = %v\n%s", err, out)
	}
}

func TestPrintPlan(t *testing.T) {
	args := []string{"--seed", "7", "--steps", "20", "--print-plan", "--start", "2026-03-01T12:00:00Z"}
	out, err := do(t.Context(), t, args...)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := do(t.Context(), t, args...); err != nil || again != out {
		t.Errorf("the same seed prints\n%s\nand\n%s: %v", out, again, err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, line := range lines {
		var s visitors.Step
		if err := json.Unmarshal([]byte(line), &s); err != nil || s.Visitor == "" {
			t.Errorf("%s: %v", line, err)
		}
	}
	if len(lines) != 20 {
		t.Errorf("%d lines, want 20", len(lines))
	}
}

func TestSettingsAreChecked(t *testing.T) {
	for args, want := range map[string]string{
		"--start 2026-03-01T12:00:00Z":   "what is sent is sent now",
		"--print-plan --verify":          "nothing to verify",
		"--print-plan --buying 0.7":      "is not between 0 and 0.5",
		"--store-url 127.0.0.1:5001":     "is no URL",
		"--store-url http://127.0.0.1:1": "`task up` starts it",
	} {
		if _, err := do(t.Context(), t, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: err = %v, want %q", args, err, want)
		}
	}
}
