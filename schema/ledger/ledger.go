// Package ledger is what one who sends events keeps of them: each with what became of
// it. It stands before the data's path, and is what its end is held against.
package ledger

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"sync"
	"time"

	"example.com/bookstore/schema"
)

// Outcome is what became of something that was sent.
type Outcome string

const (
	// Acknowledged says that the store answered 202, so the event is on the brokers'
	// disks. There is one such entry of an event, however often it was sent.
	Acknowledged Outcome = "acknowledged"
	// Repeated says acknowledged once more, and nothing new.
	Repeated Outcome = "repeated"
	// Refused says that the store answered it would not have it. It is not stored.
	Refused Outcome = "refused"
	// Unacknowledged says that no attempt has come as far as the store. It is not
	// stored.
	Unacknowledged Outcome = "unacknowledged"
	// Unknown says sent, and no answer that tells. It may be stored or not.
	Unknown Outcome = "unknown"
)

// Entry is one line of a ledger: a step that was sent, and its outcome.
type Entry struct {
	Outcome        Outcome      `json:"outcome"`
	Event          schema.Event `json:"event,omitzero"`           // as the store has it; zero if there is a Payload
	Payload        []byte       `json:"payload,omitempty"`        // of a bad client; in JSON as Base64
	PlannedAt      time.Time    `json:"planned_at"`               // when it was to be sent
	AcknowledgedAt time.Time    `json:"acknowledged_at,omitzero"` // of Acknowledged and Repeated
	Attempts       int          `json:"attempts"`                 // requests made
	LatencyMS      float64      `json:"latency_ms"`               // to the outcome, from PlannedAt; as fast as possible, from the first attempt
	Status         int          `json:"status,omitempty"`         // HTTP status of the last answer
	Detail         string       `json:"detail,omitempty"`         // why it is not acknowledged
	Late           bool         `json:"late,omitempty"`
	Duplicate      bool         `json:"duplicate,omitempty"`
}

// AcknowledgedEvents returns the events of the entries that are Acknowledged, in
// their order.
func AcknowledgedEvents(entries []Entry) (events []schema.Event) {
	for _, e := range entries {
		if e.Outcome == Acknowledged && e.Payload == nil {
			events = append(events, e.Event)
		}
	}
	return events
}

// Missing holds what was acknowledged against what is stored, by id, field by
// field, and returns an error for each event that is not there as it was sent.
func Missing(acknowledged []schema.Event, stored map[string]schema.Event) (errs []error) {
	for _, want := range acknowledged {
		got, ok := stored[want.EventID]
		if !ok {
			errs = append(errs, fmt.Errorf("event %s was acknowledged and is not stored", want.EventID))
		} else if got != want {
			errs = append(errs, fmt.Errorf("event %s is stored as %+v, and was sent as %+v", want.EventID, got, want))
		}
	}
	return errs
}

// Ledger is a file of entries, one a line as JSON. A line is with the operating
// system before Record returns, so that it outlives this program however that
// ends, and on the disk a second later, should the machine end. What was on its way
// when the program was killed has no line, and may be stored or not.
type Ledger struct {
	file *os.File
	quit chan struct{}
	done sync.WaitGroup

	mu    sync.Mutex
	fault error // of writing or bringing to the disk; there is no use in going on
}

// Create makes the file, which must not exist: what was acknowledged once
// is not overwritten.
func Create(path string) (*Ledger, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("creating the ledger: %s exists already; name another file or remove it", path)
	}
	if err != nil {
		return nil, fmt.Errorf("creating the ledger: %w", err)
	}
	l := &Ledger{file: file, quit: make(chan struct{})}
	l.done.Go(l.syncEachSecond)
	return l, nil
}

func (l *Ledger) syncEachSecond() {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-second.C:
			if err := l.file.Sync(); err != nil {
				l.mu.Lock()
				l.fault = errors.Join(l.fault, fmt.Errorf("writing the ledger: %w", err))
				l.mu.Unlock()
			}
		case <-l.quit:
			return
		}
	}
}

// Record adds an entry. After an error every call returns one.
func (l *Ledger) Record(e Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encoding an entry of the ledger: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fault == nil {
		if _, err := l.file.Write(append(line, '\n')); err != nil {
			l.fault = fmt.Errorf("writing the ledger: %w", err)
		}
	}
	return l.fault
}

// Close brings the last entries to the disk.
func (l *Ledger) Close() error {
	close(l.quit)
	l.done.Wait()
	if err := errors.Join(l.file.Sync(), l.file.Close()); err != nil {
		return errors.Join(l.fault, fmt.Errorf("closing the ledger: %w", err))
	}
	return l.fault
}

// Read yields the entries of a file, in the order of their outcomes, and holds one at
// a time. A last line that was cut off, by the end of the program that wrote it, is
// left out; any other that is no entry is an error, the last thing it yields.
func Read(path string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		file, err := os.Open(path)
		if err != nil {
			yield(Entry{}, fmt.Errorf("reading the ledger: %w", err))
			return
		}
		defer file.Close()
		lines := bufio.NewReaderSize(file, 64<<10)
		for n := 1; ; n++ {
			line, fault := lines.ReadBytes('\n')
			if fault != nil && !errors.Is(fault, io.EOF) {
				yield(Entry{}, fmt.Errorf("reading the ledger: %w", fault))
				return
			}
			if len(line) == 0 {
				return
			}
			var e Entry
			if err := json.Unmarshal(line, &e); err != nil {
				if fault == nil {
					yield(Entry{}, fmt.Errorf("reading the ledger: line %d of %s: %w", n, path, err))
				}
				return
			}
			if !yield(e, nil) || fault != nil {
				return
			}
		}
	}
}

// ReadAll returns all that Read yields.
func ReadAll(path string) ([]Entry, error) {
	var entries []Entry
	for e, err := range Read(path) {
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}
