package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"example.com/bookstore/producer/publisher"
)

// replay sends what is in the spool, whenever there is something, until ctx ends. It
// also replaces a publisher that has come to its end.
func (d *Delivery) replay(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-d.publisher.Fatal():
			d.reconnect(ctx, err)
		case <-d.wake:
		}
		d.mu.Lock()
		spooling := d.spooling
		d.mu.Unlock()
		if spooling {
			d.catchUp(ctx)
		}
	}
}

// catchUp empties the spool and opens the direct way, or returns when ctx ends.
func (d *Delivery) catchUp(ctx context.Context) {
	if !d.settle(ctx) {
		return
	}
	if time.Since(d.since) > maxTurn {
		d.crowd(false) // an outage, and no more than usual comes now unless that shows
	}
	sent, before := 0, 0
	for {
		// New events have to wait where little is left, and where as many come as go.
		left := d.cfg.Spool.Len()
		growing := before > 0 && left >= before
		before = left
		if growing {
			d.crowd(true)
		}
		if growing || left <= replayBatch {
			n, took, done := d.finish(ctx)
			if sent += n; done {
				d.logger.Info("the brokers have everything that was in the spool", "sent", sent, "after", took.Round(time.Millisecond))
				return
			}
		} else {
			n, err := d.replayOne(ctx, nil)
			d.rest(ctx, err)
			sent += n
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// settle waits until the publisher has a report of each record that was sent directly
// before the way was closed. It returns false if ctx ends first.
func (d *Delivery) settle(ctx context.Context) bool {
	before := 0
	stuck := time.NewTimer(d.cfg.DeliveryTimeout)
	defer stuck.Stop()
	for {
		d.mu.Lock()
		waiting := 0
		for _, s := range d.direct {
			if !s.reported {
				waiting++
			}
		}
		if waiting == 0 {
			d.direct = nil // those that failed are in the spool
		}
		d.mu.Unlock()
		if waiting == 0 {
			return true
		}
		if waiting != before { // and not with every event that goes to the spool meanwhile
			before = waiting
			stuck.Reset(d.cfg.DeliveryTimeout)
		}
		select {
		case <-ctx.Done():
			return false
		case <-d.wake:
		case err := <-d.publisher.Fatal():
			d.reconnect(ctx, err)
		case <-stuck.C:
			d.reconnectIfStuck(ctx)
			stuck.Reset(d.cfg.DeliveryTimeout)
		}
	}
}

// crowd notes whether more comes than the brokers take.
func (d *Delivery) crowd(crowded bool) {
	d.mu.Lock()
	d.crowded = crowded
	d.mu.Unlock()
}

// finish sends the rest of the spool while new events wait, for as long as an event may
// wait, and then opens the direct way. If that time is not enough they go to the spool,
// as before.
func (d *Delivery) finish(ctx context.Context) (sent int, took time.Duration, done bool) {
	d.mu.Lock()
	g := &gate{d: d, closed: true, timer: time.NewTimer(d.cfg.SpoolAfter)}
	defer g.open()
	for {
		n, err := d.replayOne(ctx, g)
		sent += n
		if err != nil || ctx.Err() != nil {
			g.open()
			d.rest(ctx, err)
			return sent, 0, false
		}
		select {
		case <-g.expired():
			g.open()
		default:
		}
		if !g.closed {
			return sent, 0, false
		}
		if d.cfg.Spool.Len() == 0 {
			d.spooling, d.crowded = false, false
			clear(d.unsure)
			d.metrics.spooling.Set(0)
			d.metrics.oldest.Store(0)
			return sent, time.Since(d.since), true
		}
	}
}

// gate keeps new events waiting: it holds the Delivery's mu.
type gate struct {
	d      *Delivery
	closed bool
	timer  *time.Timer
}

func (g *gate) open() {
	if g != nil && g.closed {
		g.closed = false
		g.timer.Stop()
		g.d.mu.Unlock()
	}
}

// expired is when new events have waited for long enough.
func (g *gate) expired() <-chan time.Time {
	if g == nil || !g.closed {
		return nil
	}
	return g.timer.C
}

// replayOne sends the oldest events of the spool and takes them out of it once the
// brokers have them, or returns when ctx ends. The gate may be nil.
func (d *Delivery) replayOne(ctx context.Context, g *gate) (sent int, err error) {
	entries, err := d.cfg.Spool.Peek(replayBatch)
	if err != nil || len(entries) == 0 {
		return 0, err
	}
	var records []publisher.Record
	var unsure []string
	for i, raw := range entries {
		var e entry
		if err := jsonv2.Unmarshal(raw, &e); err != nil {
			// The checksum was right, so another version of the store has written it.
			if err := d.setAside(raw, err); err != nil {
				return 0, err
			}
			continue
		}
		if i == 0 {
			d.metrics.oldest.Store(e.Time.UnixNano())
		}
		if s, ok := d.unsure[e.Mark]; ok {
			unsure = append(unsure, e.Mark)
			if s.settled() {
				continue // the brokers have acknowledged it after all
			}
			d.metrics.resent.Inc()
		}
		records = append(records, e.record())
	}
	sent = len(records)
	for len(records) > 0 {
		again, err := d.sendAndWait(ctx, records, g)
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if len(again) == len(records) {
			g.open()
			d.logger.Debug("sending events of the spool", "error", err)
			d.pause(ctx)
		}
		records = again
	}
	for _, mark := range unsure {
		delete(d.unsure, mark)
	}
	d.cfg.Spool.Discard(len(entries))
	d.metrics.replayed.Add(float64(sent))
	return sent, nil
}

// replayed is where the replayer gets the reports of records of the spool.
type replayed chan publisher.Report

// sendAndWait sends records and returns those that must be sent again, in their order,
// and why.
func (d *Delivery) sendAndWait(ctx context.Context, records []publisher.Record, g *gate) (again []publisher.Record, err error) {
	reports := make(replayed, len(records)) // room for all, since none of them may wait
	errs := make([]error, len(records))
	for i := range errs {
		errs[i] = publisher.ErrNotDelivered
	}
	taken, err := d.publisher.Send(reports, records)
	if errors.Is(err, publisher.ErrFatal) {
		g.open()
		d.reconnect(ctx, err)
		taken = 0
	}
	idle := time.NewTimer(d.cfg.DeliveryTimeout)
	defer idle.Stop()
	for reported := 0; reported < taken; {
		idle.Reset(d.cfg.DeliveryTimeout)
		select {
		case r := <-reports:
			reported++
			if errs[r.Index] = r.Err; r.Err == nil {
				d.moved()
			}
			continue
		case <-g.expired():
			g.open()
			continue
		case fatal := <-d.publisher.Fatal():
			g.open()
			err = fatal
			d.reconnect(ctx, fatal)
		case <-idle.C:
			g.open()
			if !d.reconnectIfStuck(ctx) {
				continue
			}
			err = publisher.ErrNotDelivered
		case <-ctx.Done():
			return nil, nil
		}
		// The publisher is another one: what the former has not reported by now it will not.
		for ; len(reports) > 0; reported++ {
			r := <-reports
			errs[r.Index] = r.Err
		}
		break
	}
	for i, e := range errs {
		switch {
		case e == nil:
		case errors.Is(e, publisher.ErrRefused):
			raw, asideErr := encode(records[i], "")
			if asideErr == nil {
				asideErr = d.setAside(raw, e)
			}
			if asideErr != nil {
				again, err = append(again, records[i]), asideErr
			}
		default:
			if i < taken {
				d.metrics.resent.Inc()
			}
			again = append(again, records[i])
			if err == nil {
				err = e
			}
		}
	}
	return again, err
}

// setAside keeps an entry that cannot be delivered in a file of its own.
func (d *Delivery) setAside(raw []byte, reason error) error {
	name, err := d.cfg.Spool.SetAside(raw)
	if err != nil {
		return fmt.Errorf("setting aside an event that cannot be delivered: %w", err)
	}
	d.metrics.setAside.Inc()
	d.logger.Error("an acknowledged event cannot be delivered; it is set aside", "file", name, "reason", reason)
	return nil
}

// reconnectIfStuck replaces a publisher to which nothing is acknowledged although the
// brokers answer. If they do not, it waits for them itself.
func (d *Delivery) reconnectIfStuck(ctx context.Context) bool {
	if err := d.publisher.Ready(ctx); err != nil && !errors.Is(err, publisher.ErrFatal) {
		return false
	}
	d.reconnect(ctx, fmt.Errorf("the brokers answer, and have acknowledged nothing for %v", d.cfg.DeliveryTimeout))
	return true
}

// reconnect replaces the publisher. Its last records get their reports meanwhile.
func (d *Delivery) reconnect(ctx context.Context, reason error) {
	d.mu.Lock()
	if !d.spooling {
		d.beginSpooling(reason)
	}
	d.mu.Unlock()
	d.logger.Warn("connecting to the brokers anew", "reason", reason)
	given, cancel := context.WithCancel(context.WithoutCancel(ctx))
	cancel()
	d.publisher.Close(given)
	d.metrics.reconnected.Inc()
	told := false
	for {
		p, err := d.cfg.Connect(d.reported)
		if err == nil {
			d.mu.Lock()
			d.publisher = p
			for _, s := range d.direct { // should the former have left one without
				if !s.reported {
					s.reported, s.err = true, publisher.ErrNotDelivered
				}
			}
			d.mu.Unlock()
			return
		}
		if ctx.Err() != nil {
			return // the closed one stays, and takes nothing
		}
		if !told {
			d.logger.Error("connecting to the brokers anew", "error", err)
			told = true
		}
		d.pause(ctx)
	}
}

// rest pauses after an error, which it tells.
func (d *Delivery) rest(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		d.logger.Error("sending what is in the spool; trying again", "error", err)
		d.pause(ctx)
	}
}

func (d *Delivery) pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(retryPause):
	}
}
