//go:build integration

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/uuid"

	"example.com/bookstore/deploy/stack/service"
)

// A fault is made and found harmless; and one that takes a row away is found out, which
// ends the program with 1.
func TestFaults(t *testing.T) {
	if os.Getenv("STACK_DIR") == "" {
		t.Fatal("STACK_DIR is not set: run the integration tests with go run ./deploy/stack exec")
	}
	name := "faults_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	for variable, value := range map[string]string{
		"KAFKA_TOPIC": name, "SPARK_JOB_NAME": name, "SPARK_QUERIES": "events,rejected_events", "CHECKPOINT_LOCATION": "file://" + t.TempDir(),
	} {
		t.Setenv(variable, value)
	}
	s := &stand{project: "../..", binaries: t.TempDir(), rate: 10, patience: 5 * time.Second}
	parser, err := kong.New(&s.where)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(nil); err != nil {
		t.Fatal(err)
	}
	if err := build(t.Context(), s.project, s.binaries); err != nil {
		t.Fatal(err)
	}
	stop := func() {
		for _, program := range []string{service.Sparkjob, service.Store} {
			if err := s.stack(context.Background(), "stop", program); err != nil {
				t.Error(err)
			}
		}
	}
	stop() // a test before may have left them, with another topic
	t.Cleanup(stop)
	try := func(f Fault) (string, error) {
		var out, progress bytes.Buffer
		err := (&command{Runs: 1}).run(t.Context(), []Fault{f}, s, &out, &progress)
		if t.Failed() {
			t.Log(progress.String())
		}
		return out.String(), err
	}

	harmless, err := (&command{Only: []string{"store-killed"}}).chosen()
	if err != nil {
		t.Fatal(err)
	}
	out, err := try(harmless[0])
	if want := regexp.MustCompile(`\nstore-killed +\d{2,} +\d+\.\d s +\d+ +\d+ +0 +0  whole`); err != nil || !want.MatchString(out) {
		t.Errorf("a store that is killed: %v\n%s", err, out)
	}

	out, err = try(Fault{Name: "row-taken-away", Check: func(ctx context.Context, s *stand) error {
		session, err := s.probe.rows.Connect(ctx)
		if err != nil {
			return err
		}
		defer session.Close()
		return session.Query("DELETE FROM events WHERE event_id = ?", s.probe.sent[0].event.EventID).WithContext(ctx).Exec()
	}})
	if !errors.Is(err, errNotWhole) || !regexp.MustCompile(`\nrow-taken-away .*  (lost|pending)`).MatchString(out) {
		t.Errorf("a row that is taken away: %v\n%s", err, out)
	}
}
