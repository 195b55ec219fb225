package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/gocql/gocql"
	"github.com/google/uuid"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/ledger"
)

const (
	probeEvery = 200 * time.Millisecond
	// asked is how many rows are looked for at a time, those of the oldest events first.
	asked = 20
)

// probe sends an event every 200 ms, each until it is acknowledged, and looks for its
// row. So it tells from when to when nothing came through.
type probe struct {
	store  string
	user   string
	client http.Client
	ledger *ledger.Ledger
	rows   cassandra.Config
	spool  func(context.Context) (float64, error) // events that the store has spooled since it started

	mu       sync.Mutex
	sent     []*sample // in the order of their first sending
	refused  int       // requests that were not answered 202
	hasty    int       // of these, answers of 503 that do not say when to come again
	full     int       // of these, answers of 503
	spooled  float64   // since the beginning
	lastRead float64   // of the store's counter; 0 after a restart

	stopSending context.CancelFunc
	stop        context.CancelFunc
	sending     sync.WaitGroup
	looking     sync.WaitGroup
	failure     error // of the ledger
}

// sample is one event.
type sample struct {
	event    schema.Event
	first    time.Time // sent
	acked    time.Time // zero until then
	row      time.Time // seen; zero until then
	attempts int
}

// startProbe begins to send and to look.
func (s *stand) startProbe(ctx context.Context, ledgerFile string) (*probe, error) {
	file, err := ledger.Create(ledgerFile)
	if err != nil {
		return nil, err
	}
	p := &probe{
		store: s.StoreURL, user: uuid.NewString(), ledger: file,
		client: http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}},
		rows: cassandra.Config{
			Hosts: s.CassandraHosts, Port: s.CassandraPort, Datacenter: s.CassandraDatacenter,
			User: cassandra.JobUser, Password: s.JobPassword, Keyspace: cassandra.Keyspace, Timeout: 2 * time.Second,
		},
		spool: func(ctx context.Context) (float64, error) {
			return s.metric(ctx, "bookstore_store_spool_written_total")
		},
	}
	if p.lastRead, err = p.spool(ctx); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	// Beyond the context: what was sent is looked for also when somebody has typed Ctrl-C.
	ctx, p.stop = context.WithCancel(ctx)
	sendCtx, stopSending := context.WithCancel(ctx)
	p.stopSending = stopSending
	p.sending.Go(func() { p.send(sendCtx) })
	p.looking.Go(func() { p.look(ctx) })
	return p, nil
}

// endSending lets no further event be sent, and files what became of the last.
func (p *probe) endSending() {
	p.stopSending()
	p.sending.Wait()
}

// close ends it, and its ledger.
func (p *probe) close() error {
	p.endSending()
	p.stop()
	p.looking.Wait()
	p.client.CloseIdleConnections()
	return errors.Join(p.failure, p.ledger.Close())
}

func (p *probe) send(ctx context.Context) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	var open *sample
	for {
		select {
		case <-ctx.Done():
			if open != nil {
				p.file(open, ledger.Unknown)
			}
			return
		case <-tick.C:
		}
		p.countSpooled(ctx)
		if open == nil {
			now := time.Now()
			open = &sample{first: now, event: schema.Event{
				EventID: schema.NewEventID(), EventType: schema.DescriptionOpen, EventTime: now.UTC().Truncate(time.Millisecond),
				UserID: p.user, BookID: "dracula",
			}}
			p.mu.Lock()
			p.sent = append(p.sent, open)
			p.mu.Unlock()
		}
		// A request is not cut off when the sending ends: its answer counts.
		if p.post(context.WithoutCancel(ctx), open) {
			p.file(open, ledger.Acknowledged)
			open = nil
		}
	}
}

// post makes one request and reports whether it was answered 202.
func (p *probe) post(ctx context.Context, it *sample) bool {
	body, err := json.Marshal(map[string]string{
		"event_id": it.event.EventID, "event_type": string(it.event.EventType), "book_id": it.event.BookID,
		"event_time": it.event.EventTime.Format(schema.TimeLayout),
	})
	if err != nil {
		panic(err) // nothing in it cannot be encoded
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.store+"/events", bytes.NewReader(body))
	if err != nil {
		panic(err) // the address has been asked before
	}
	request.Header.Set("Content-Type", "application/json")
	request.AddCookie(&http.Cookie{Name: "user_id", Value: p.user})
	it.attempts++
	status, retryAfter := 0, ""
	if answer, err := p.client.Do(request); err == nil {
		_, err = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if err == nil {
			status, retryAfter = answer.StatusCode, answer.Header.Get("Retry-After")
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if status == http.StatusAccepted {
		it.acked = time.Now()
		return true
	}
	p.refused++
	if status == http.StatusServiceUnavailable {
		p.full++
		if retryAfter == "" {
			p.hasty++
		}
	}
	return false
}

func (p *probe) file(it *sample, outcome ledger.Outcome) {
	entry := ledger.Entry{Outcome: outcome, Event: it.event, PlannedAt: it.first, Attempts: it.attempts}
	if outcome == ledger.Acknowledged {
		entry.AcknowledgedAt, entry.Status = it.acked.UTC().Truncate(time.Millisecond), http.StatusAccepted
	}
	p.failure = errors.Join(p.failure, p.ledger.Record(entry))
}

// countSpooled adds what the store has spooled since it was asked last. A store that was
// restarted counts from zero.
func (p *probe) countSpooled(ctx context.Context) {
	n, err := p.spool(ctx)
	if err != nil {
		return // it is away
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n < p.lastRead {
		p.lastRead = 0
	}
	p.spooled += n - p.lastRead
	p.lastRead = n
}

// look looks for rows, with a new connection after each error: the one before may wait
// for a minute until it tries a node again.
func (p *probe) look(ctx context.Context) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	var session *gocql.Session
	defer func() {
		if session != nil {
			session.Close()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for found := asked; found == asked; { // what has come together is seen together
			var err error
			if session == nil {
				if session, err = p.rows.Connect(ctx); err != nil {
					break
				}
			}
			if found, err = p.find(ctx, session); err != nil {
				session.Close()
				session = nil
			}
		}
	}
}

// find looks for the oldest rows that have not been seen, and returns how many are there.
func (p *probe) find(ctx context.Context, session *gocql.Session) (int, error) {
	waiting := p.waiting(asked)
	ids := make([]string, 0, len(waiting))
	for _, it := range waiting {
		ids = append(ids, it.event.EventID)
	}
	rows, err := cassandra.FindEvents(ctx, session, ids)
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, it := range waiting {
		if _, ok := rows[it.event.EventID]; ok {
			it.row = now
		}
	}
	return len(rows), err
}

// waiting are the first events that are acknowledged and have no row yet.
func (p *probe) waiting(most int) (list []*sample) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, it := range p.sent {
		if len(list) < most && !it.acked.IsZero() && it.row.IsZero() {
			list = append(list, it)
		}
	}
	return list
}

// flowing returns nil once an event that was first sent after the given time has its row,
// and so has each that was sent before it.
func (p *probe) flowing(after time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, it := range p.sent {
		switch {
		case it.acked.IsZero():
			return errors.New("the store acknowledges no event")
		case it.row.IsZero():
			return fmt.Errorf("event %s, acknowledged %.0f s ago, has no row", it.event.EventID, time.Since(it.acked).Seconds())
		case it.first.After(after):
			return nil
		}
	}
	return errors.New("no event was sent since then")
}

// longest is how long an event waited for its row, at the most, from its first sending
// or, if it was under way by then, from the given time.
func (p *probe) longest(from time.Time) (longest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, it := range p.sent {
		since := it.first
		if since.Before(from) {
			since = from
		}
		if it.row.After(from) {
			longest = max(longest, it.row.Sub(since))
		}
	}
	return longest
}

// counts are the requests not answered 202, and of these the 503 and the 503 without
// Retry-After.
func (p *probe) counts() (refused, full, hasty int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused, p.full, p.hasty
}

func (p *probe) spooledSoFar() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int(p.spooled)
}
