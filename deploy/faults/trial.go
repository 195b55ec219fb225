package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.com/bookstore/schema/ledger"
)

const (
	warm     = 4 * time.Minute // for the first row to come
	recovery = 4 * time.Minute // for events to flow again once the fault is undone
	settle   = 3 * time.Second // of usual load before the fault
)

// errSkipped says that a fault cannot be made on this machine.
var errSkipped = errors.New("skipped")

// Row is what became of one fault.
type Row struct {
	Run   int    `json:"run"`
	Fault string `json:"fault"`

	Acknowledged int     `json:"acknowledged"` // events, of visitors and of the probe
	Seconds      float64 `json:"seconds"`      // the longest that an event waited for its row
	NotAccepted  int     `json:"not_202"`      // requests not answered 202
	Spooled      int     `json:"spooled"`      // events that the store has kept on its disk

	Lost                int `json:"lost"`
	DuplicateRows       int `json:"duplicate_rows"`
	Differing           int `json:"differing"`
	Pending             int `json:"pending"`
	DuplicateDeliveries int `json:"duplicate_deliveries"` // of an event to the topic
	Unknown             int `json:"unknown"`              // events without an answer

	Skipped string `json:"skipped,omitempty"` // why it was not made
	Error   string `json:"error,omitempty"`   // why the row is not whole
}

// Well reports whether nothing is wrong.
func (r Row) Well() bool {
	return r.Error == "" && r.Lost == 0 && r.DuplicateRows == 0 && r.Differing == 0 && r.Pending == 0
}

// Verdict says it in words.
func (r Row) Verdict() string {
	if r.Skipped != "" {
		return "skipped"
	}
	var wrong []string
	for _, w := range []struct {
		is   bool
		what string
	}{{r.Lost > 0, "lost"}, {r.DuplicateRows > 0, "twice"}, {r.Differing > 0, "differ"}, {r.Pending > 0, "pending"}, {r.Error != "", "failed"}} {
		if w.is {
			wrong = append(wrong, w.what)
		}
	}
	if len(wrong) == 0 {
		return "whole"
	}
	return strings.Join(wrong, ", ")
}

// try makes one fault under load, and holds what was acknowledged against what is stored.
func (s *stand) try(ctx context.Context, f Fault, run int) Row {
	row := Row{Run: run, Fault: f.Name}
	err := s.tryInto(ctx, f, &row)
	switch {
	case errors.Is(err, errSkipped):
		row.Skipped = err.Error()
	case err != nil:
		row.Error = err.Error()
	}
	return row
}

func (s *stand) tryInto(ctx context.Context, f Fault, row *Row) (err error) {
	if err := s.ready(ctx); err != nil {
		return fmt.Errorf("before the fault: %w", err)
	}
	defer func() { err = errors.Join(err, s.thawAll()) }()
	if f.After != nil {
		defer func() {
			if !errors.Is(err, errSkipped) && ctx.Err() == nil {
				err = errors.Join(err, f.After(ctx, s))
			}
		}()
	}
	if err := f.Before.do(ctx, s); err != nil {
		return err
	}
	ledgers, err := s.underLoad(ctx, f, row)
	if err != nil {
		return err
	}
	return s.reconcile(ctx, row, ledgers)
}

// underLoad lets visitors come, makes the fault and undoes it, and returns once events
// flow again and the visitors have gone, with the names of the ledgers.
func (s *stand) underLoad(ctx context.Context, f Fault, row *Row) (ledgers []string, err error) {
	name := fmt.Sprintf("%d-%s", row.Run, f.Name)
	file := func(suffix string) string { return filepath.Join(s.folder, name+suffix) }
	ledgers = []string{file("-visitors.jsonl"), file("-probe.jsonl")}

	if s.probe, err = s.startProbe(ctx, ledgers[1]); err != nil {
		return nil, err
	}
	probing := s.probe
	defer func() { err = errors.Join(err, probing.close()) }()
	if err := awaitFlow(ctx, probing, time.Now(), warm); err != nil {
		return nil, fmt.Errorf("before the fault: %w", err)
	}
	// A job is submitted once all its queries have begun. Until then it may give up.
	if err := poll(ctx, time.Second, warm, func() error { return s.healthy(ctx) }); err != nil {
		return nil, fmt.Errorf("before the fault: %w", err)
	}

	args := append([]string{
		"--rate", strconv.FormatFloat(s.rate, 'f', -1, 64), "--duration", "1h", "--reading", "300ms", "--in-flight", "256",
		"--patience", "3m", "--bad-clients", "0", "--ledger", ledgers[0],
	}, f.Visitors...)
	visitors, err := s.begin(ctx, "visitors", s.folder, file("-visitors.log"), nil, args...)
	if err != nil {
		return nil, err
	}
	gone := false
	defer func() {
		if !gone {
			_ = visitors.End(ctx, syscall.SIGTERM, 10*time.Second) // there is another error already
		}
	}()
	if err := sleep(ctx, settle); err != nil {
		return nil, err
	}
	if err := visitors.Ended(); err != nil {
		return nil, err
	}

	began := time.Now()
	if err := f.Begin.do(ctx, s); err != nil {
		return nil, err
	}
	if err := sleep(ctx, f.Lasts); err != nil {
		return nil, err
	}
	if err := f.End.do(ctx, s); err != nil {
		return nil, err
	}
	flowing := awaitFlow(ctx, probing, time.Now(), recovery)
	if ctx.Err() != nil {
		return nil, flowing
	}
	if err := visitors.Ended(); err != nil {
		return nil, errors.Join(flowing, err)
	}
	gone = true
	err = visitors.End(ctx, syscall.SIGINT, 30*time.Second)
	probing.endSending()
	row.Seconds = max(probing.longest(began), 0).Seconds()
	row.Spooled = probing.spooledSoFar()
	return ledgers, errors.Join(err, flowing, f.Check.do(ctx, s), row.count(ledgers))
}

// awaitFlow waits until an event has its row that was sent after the given time.
func awaitFlow(ctx context.Context, p *probe, after time.Time, within time.Duration) error {
	return poll(ctx, 50*time.Millisecond, within, func() error { return p.flowing(after) })
}

// count takes from the ledgers what became of the requests.
func (r *Row) count(ledgers []string) error {
	for _, file := range ledgers {
		for e, err := range ledger.Read(file) {
			if err != nil {
				return err
			}
			r.NotAccepted += e.Attempts
			switch e.Outcome {
			case ledger.Acknowledged:
				r.Acknowledged++
				r.NotAccepted--
			case ledger.Repeated:
				r.NotAccepted--
			case ledger.Unknown:
				r.Unknown++
			}
		}
	}
	if r.Acknowledged == 0 {
		return errors.New("no event was acknowledged, so nothing is proven")
	}
	return nil
}

// reconciled is what `sparkjob reconcile --json` prints, as far as it is used here.
type reconciled struct {
	Acknowledged        int               `json:"acknowledged"`
	DuplicateDeliveries int               `json:"duplicate_deliveries"`
	DuplicateRows       int               `json:"duplicate_rows"`
	Differing           int               `json:"differing"`
	Pending             int               `json:"pending"`
	Lost                []json.RawMessage `json:"lost"`
}

// reconcile holds the ledgers against Kafka and Cassandra, as a person would.
func (s *stand) reconcile(ctx context.Context, row *Row, ledgers []string) error {
	args := append([]string{"reconcile", "--wait", s.patience.String(), "--json"}, ledgers...)
	out, runErr := s.run(ctx, nil, "sparkjob", args...)
	var said reconciled
	if err := json.Unmarshal([]byte(out), &said); err != nil {
		if runErr == nil {
			runErr = fmt.Errorf("sparkjob reconcile prints no object: %w", err)
		}
		return runErr
	}
	row.Lost += len(said.Lost)
	row.DuplicateRows, row.Differing, row.Pending = said.DuplicateRows, said.Differing, said.Pending
	row.DuplicateDeliveries = said.DuplicateDeliveries
	switch {
	case said.Acknowledged != row.Acknowledged:
		return fmt.Errorf("sparkjob reconcile has read %d acknowledged events and not %d", said.Acknowledged, row.Acknowledged)
	case runErr != nil && row.Well():
		return runErr // it is not content, and its numbers do not tell why
	}
	return nil
}

// sleep waits, and returns an error if ctx ended meanwhile.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
