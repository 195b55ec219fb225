// Package delivery brings events to the topic, or keeps them on disk until it can. It
// stands between the store's endpoints and the brokers, and keeps the store's promise:
// an event that it has acknowledged is on the brokers' disks or on the store's own,
// from where it goes to the brokers, whatever ends in between.
//
// There are two ways. Directly: an event is acknowledged once the brokers have it.
// When they do not have one in time, all that they have not acknowledged goes to the
// spool, and every later event behind it: then an event is acknowledged once the disk
// has it. An event that waits only because many came before it is in time. The replayer
// sends what is in the spool, in its order, and once it is empty the direct way is open
// again. So the events of a visitor keep their order, and an event that the brokers had
// without saying so comes to the topic a second time, under the same id.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/bookstore/producer/publisher"
	"example.com/bookstore/producer/spool"
)

// Publisher is what a Delivery needs of a publisher.Publisher.
type Publisher interface {
	Send(call any, records []publisher.Record) (taken int, err error)
	Ready(ctx context.Context) error
	Fatal() <-chan error
	Close(ctx context.Context) (undelivered int)
	prometheus.Collector
}

// Config says with what a Delivery works.
type Config struct {
	// Connect makes the publisher, which reports as told, and another when that one has
	// come to its end. Its records must have no time-out of their own.
	Connect func(report func([]publisher.Report)) (Publisher, error)
	Spool   *spool.Spool // closed with the Delivery
	// SpoolAfter is how long an event waits for brokers that acknowledge nothing, or only
	// events that came so much later, before it goes to the spool.
	SpoolAfter time.Duration
	// DeliveryTimeout is how long brokers that answer may acknowledge nothing before
	// another publisher takes the place of this one.
	DeliveryTimeout time.Duration
	Logger          *slog.Logger // slog.Default() if nil
}

const (
	// replayBatch is how many events the replayer sends at a time.
	replayBatch = 1000

	// looks is how often in Config.SpoolAfter who waits looks whether to go on.
	looks = 8

	// maxTurn is how long the answer to an event in the spool is kept back at most.
	maxTurn = time.Second

	// retryPause is the replayer's rest after the brokers, or the disk, refused something.
	retryPause = time.Second
)

// Delivery takes events and acknowledges them. Publish and Ready may be called from any
// number of goroutines.
type Delivery struct {
	cfg     Config
	logger  *slog.Logger
	metrics *metrics
	wake    chan struct{} // something for the replayer to look at
	syncing sync.WaitGroup

	progress atomic.Int64 // Unix time in nanoseconds when the brokers acknowledged something last

	mu        sync.Mutex
	publisher Publisher // replaced by the replayer only
	spooling  bool      // the direct way is closed
	since     time.Time // when it was closed
	closed    bool
	crowded   bool                // into the spool comes more than is sent, as long as nothing is
	come      int                 // into the spool so far, and what was in it
	refusing  bool                // the spool takes nothing, which has been told
	direct    []*sending          // given to the publisher directly and not acknowledged, in order
	unsure    map[string]*sending // those of them that are in the spool as well, by their mark
	reached   time.Time           // when the latest of what they have acknowledged was sent

	stop     context.CancelFunc
	replayer sync.WaitGroup
}

// sending is a record that was given to the publisher directly.
type sending struct {
	record   publisher.Record
	call     *call
	index    int // of the record in the call
	reported bool
	err      error // of the report
	answered bool  // to the caller, with this or with what the spool says
}

// settled tells that the record needs no further sending.
func (s *sending) settled() bool {
	return s.reported && (s.err == nil || errors.Is(s.err, publisher.ErrRefused))
}

// call is a Publish that waits. Delivery's mu guards it until done is closed.
type call struct {
	sent     time.Time
	sendings []sending
	errs     []error
	left     int
	done     chan struct{}
}

// answer says what has become of the record. Only the first answer counts.
func (s *sending) answer(err error) {
	if s.answered {
		return
	}
	s.answered, s.call.errs[s.index] = true, err
	if s.call.left--; s.call.left == 0 {
		close(s.call.done)
	}
}

// New returns a Delivery, which first sends what is in the spool. It does not wait for
// the brokers. It works until Close, whenever ctx ends.
func New(ctx context.Context, cfg Config) (*Delivery, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	d := &Delivery{cfg: cfg, logger: cfg.Logger, unsure: map[string]*sending{}, wake: make(chan struct{}, 1), stop: stop}
	var err error
	if d.publisher, err = cfg.Connect(d.reported); err != nil {
		stop()
		return nil, err
	}
	d.metrics = newMetrics(cfg.Spool)
	if n := cfg.Spool.Len(); n > 0 {
		d.spooling, d.since, d.come = true, time.Now(), n
		d.metrics.spooling.Set(1)
		d.logger.Info("sending the events that an earlier run has left in the spool", "events", n)
		d.look()
	}
	d.replayer.Go(func() { d.replay(ctx) })
	return d, nil
}

// Publish takes records in their order and returns once each is safe or refused: one
// error for each, nil where the brokers or the store's own disk have it. errors.Is tells
// publisher's ErrQueueFull, which also stands for a full spool, ErrNotDelivered,
// ErrRefused and ErrClosed.
//
// If ctx ends first, the records that have no answer yet get its error, which also is
// ErrNotDelivered: they may well be stored.
func (d *Delivery) Publish(ctx context.Context, records []publisher.Record) []error {
	if len(records) == 0 {
		return nil
	}
	d.mu.Lock()
	var entries [][]byte
	if d.spooling { // the brokers' reports need not wait for the encoding
		d.mu.Unlock()
		var err error
		if entries, err = encodeAll(records, nil); err != nil {
			return slices.Repeat([]error{err}, len(records))
		}
		d.mu.Lock()
	}
	switch {
	case d.closed:
		d.mu.Unlock()
		return slices.Repeat([]error{publisher.ErrClosed}, len(records))
	case d.spooling:
		return slices.Repeat([]error{d.keep(ctx, entries)}, len(records))
	}
	c := d.send(records)
	d.mu.Unlock()

	timer := time.NewTimer(d.cfg.SpoolAfter)
	defer timer.Stop()
	for {
		select {
		case <-c.done:
			return c.errs
		case <-timer.C:
			d.mu.Lock()
			if !d.spooling {
				if reason := d.late(c); reason != nil {
					d.beginSpooling(reason)
				} else {
					timer.Reset(d.cfg.SpoolAfter / looks)
				}
			}
			d.mu.Unlock()
		case <-ctx.Done():
			return d.abandon(ctx, c)
		}
	}
}

// keep writes entries to the spool and returns once they are safe. It is called with mu,
// which it unlocks.
func (d *Delivery) keep(ctx context.Context, entries [][]byte) error {
	sync, err := d.write(entries)
	last := d.come
	d.mu.Unlock()
	if err != nil {
		return err
	}
	if err := d.written(sync(), len(entries)); err != nil {
		return err
	}
	d.awaitTurn(ctx, last)
	return nil
}

// late says why a call that has waited for as long as it may should not wait any more:
// the brokers are away, or do not get on with what it has sent. nil means that there was
// much before it: to have that written to disk as well would take the store's time from it.
func (d *Delivery) late(c *call) error {
	switch after := d.cfg.SpoolAfter; {
	case d.idle() >= after:
		return fmt.Errorf("the brokers have acknowledged nothing for %v", after)
	case d.reached.Sub(c.sent) >= after:
		return fmt.Errorf("the brokers acknowledge events that came %v after others", after)
	}
	return nil
}

// awaitTurn keeps an answer back until the brokers have all that came into the spool up to
// that event, if otherwise more would come than they take: whoever sends the next event
// when it is answered must not fill the spool. Brokers that are away keep nobody waiting.
func (d *Delivery) awaitTurn(ctx context.Context, last int) {
	look := time.NewTicker(d.cfg.SpoolAfter / looks)
	defer look.Stop()
	for began := time.Now(); time.Since(began) < maxTurn; {
		d.mu.Lock()
		turn := !d.spooling || !d.crowded || d.closed || d.come-d.cfg.Spool.Len() >= last || d.idle() >= d.cfg.SpoolAfter
		d.mu.Unlock()
		if turn {
			return
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// abandon is for a caller that does not wait any more.
func (d *Delivery) abandon(ctx context.Context, c *call) []error {
	d.mu.Lock()
	defer d.mu.Unlock()
	errs := slices.Clone(c.errs)
	for i := range errs {
		if !c.sendings[i].answered {
			errs[i] = fmt.Errorf("%w: %w", publisher.ErrNotDelivered, context.Cause(ctx))
		}
	}
	return errs
}

// send gives records to the publisher.
func (d *Delivery) send(records []publisher.Record) *call {
	c := &call{
		sent: time.Now(), sendings: make([]sending, len(records)),
		errs: make([]error, len(records)), left: len(records), done: make(chan struct{}),
	}
	if len(d.direct) == 0 {
		d.moved()
	}
	for i, r := range records {
		c.sendings[i] = sending{record: r, call: c, index: i}
		d.direct = append(d.direct, &c.sendings[i])
	}
	taken, err := d.publisher.Send(c, records)
	if taken < len(records) {
		for i := taken; i < len(records); i++ {
			c.sendings[i].reported, c.sendings[i].err = true, err
		}
		d.beginSpooling(err)
	}
	return c
}

// reported is told what the brokers say.
func (d *Delivery) reported(reports []publisher.Report) {
	direct := 0
	for _, r := range reports {
		switch of := r.Call.(type) {
		case *call:
			direct++
		case replayed: // at once, since the replayer may hold mu until it has them all
			of <- r
		}
	}
	if direct == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	settled := false
	for _, r := range reports {
		if c, ok := r.Call.(*call); ok {
			s := &c.sendings[r.Index]
			d.report(s, r.Err)
			settled = settled || s.settled()
		}
	}
	if settled {
		d.moved()
	}
	n := 0
	for n < len(d.direct) && d.direct[n].settled() {
		n++
	}
	clear(d.direct[:n]) // for the garbage collector
	d.direct = d.direct[n:]
	if d.spooling { // for settle, which waits for this
		d.look()
	}
}

// report is told what the brokers say of a record that was sent directly.
func (d *Delivery) report(s *sending, err error) {
	s.reported, s.err = true, err
	switch {
	case s.settled():
		if s.call.sent.After(d.reached) {
			d.reached = s.call.sent
		}
		s.answer(err)
	case !d.spooling:
		d.beginSpooling(err)
	}
}

// moved notes that the brokers have acknowledged something, or may begin to.
func (d *Delivery) moved() { d.progress.Store(time.Now().UnixNano()) }

// idle is how long ago that was.
func (d *Delivery) idle() time.Duration { return time.Since(time.Unix(0, d.progress.Load())) }

// look makes the replayer look.
func (d *Delivery) look() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// beginSpooling closes the direct way. What the brokers have not acknowledged goes to
// the spool first, in the order in which they got it.
func (d *Delivery) beginSpooling(reason error) {
	d.spooling, d.crowded, d.since = true, true, time.Now()
	d.metrics.spooling.Set(1)
	d.logger.Warn("events go to the spool until the brokers have acknowledged those before", "reason", reason)
	d.look()
	var left []*sending
	var records []publisher.Record
	var marks []string
	for _, s := range d.direct {
		if !s.settled() {
			left, records, marks = append(left, s), append(records, s.record), append(marks, uuid.NewString())
		}
	}
	if len(left) == 0 {
		return
	}
	d.metrics.oldest.Store(records[0].Time.UnixNano())
	entries, err := encodeAll(records, marks)
	var sync func() error
	if err == nil {
		sync, err = d.write(entries)
	}
	if err != nil {
		for _, s := range left {
			s.answer(err)
		}
		return
	}
	for i, s := range left {
		d.unsure[marks[i]] = s
	}
	d.syncing.Go(func() {
		err := d.written(sync(), len(left))
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, s := range left {
			s.answer(err)
		}
	})
}

// entry is a record as the spool has it.
type entry struct {
	Key         string    `json:"key"`
	Value       []byte    `json:"value"`
	Time        time.Time `json:"time"`
	TraceParent string    `json:"traceparent,omitempty"`
	// Mark is that of a record which was sent directly as well, and of which the brokers
	// may say yet that they have it. It means nothing to another run.
	Mark string `json:"mark,omitempty"`
}

func encode(r publisher.Record, mark string) ([]byte, error) {
	raw, err := jsonv2.Marshal(entry{Key: r.Key, Value: r.Value, Time: r.Time, TraceParent: r.TraceParent, Mark: mark}, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return nil, fmt.Errorf("encoding an event for the spool: %w", err)
	}
	return raw, nil
}

func (e entry) record() publisher.Record {
	return publisher.Record{Key: e.Key, Value: e.Value, Time: e.Time, TraceParent: e.TraceParent}
}

// encodeAll encodes records for the spool. marks may be nil.
func encodeAll(records []publisher.Record, marks []string) ([][]byte, error) {
	entries := make([][]byte, len(records))
	for i, r := range records {
		mark := ""
		if marks != nil {
			mark = marks[i]
		}
		var err error
		if entries[i], err = encode(r, mark); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// write puts entries into the spool, safe once sync returns nil.
func (d *Delivery) write(entries [][]byte) (sync func() error, err error) {
	sync, err = d.cfg.Spool.Write(entries)
	if err != nil {
		return nil, d.refused(err)
	}
	d.come += len(entries)
	d.look()
	return sync, nil
}

// written notes what sync has returned for so many records.
func (d *Delivery) written(err error, records int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		return d.refused(err)
	}
	d.refusing = false
	d.metrics.spooled.Add(float64(records))
	return nil
}

// refused tells once, until something can be written again, that the spool takes
// nothing, and returns what a caller of Publish gets.
func (d *Delivery) refused(err error) error {
	if !d.refusing && !d.closed {
		d.logger.Error("events are refused, since the brokers do not take them and neither does the spool", "error", err)
		d.refusing = true
	}
	switch {
	case errors.Is(err, spool.ErrFull):
		return fmt.Errorf("%w: %w", publisher.ErrQueueFull, err)
	case errors.Is(err, spool.ErrClosed):
		return fmt.Errorf("%w: %w", publisher.ErrClosed, err)
	}
	return fmt.Errorf("%w: %w", publisher.ErrNotDelivered, err)
}

// Ready returns nil if events can be taken: the spool has room for what the brokers do
// not take, or else they answer. The error says what is wrong and what to do.
func (d *Delivery) Ready(ctx context.Context) error {
	d.mu.Lock()
	closed, spooling, p := d.closed, d.spooling, d.publisher
	d.mu.Unlock()
	if closed {
		return publisher.ErrClosed
	}
	unusable := d.cfg.Spool.Usable()
	if unusable == nil {
		return nil
	}
	if err := p.Ready(ctx); err != nil {
		return errors.Join(err, unusable)
	}
	if spooling { // the brokers are back, but the way to them leads through the spool
		return unusable
	}
	return nil
}

// Direct returns nil if events go to the brokers at once, else why they wait in the spool.
func (d *Delivery) Direct(ctx context.Context) error {
	d.mu.Lock()
	spooling, p := d.spooling, d.publisher
	d.mu.Unlock()
	if err := p.Ready(ctx); err != nil {
		return err
	}
	if spooling {
		return errors.New("the brokers answer, and get those in the spool first")
	}
	return nil
}

// Close takes no more records, brings those that it has to the brokers until ctx ends,
// or none has got through for a while, and leaves the rest in the spool. It returns how
// many those are. The error says what could not be kept.
func (d *Delivery) Close(ctx context.Context) (spooled int, err error) {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return 0, nil
	}
	d.closed = true
	d.moved()
	d.mu.Unlock()
	d.drain(ctx)
	d.mu.Lock()
	if !d.spooling && len(d.direct) > 0 {
		d.beginSpooling(errors.New("the store is closing"))
	}
	d.mu.Unlock()
	d.stop()
	d.replayer.Wait()
	d.syncing.Wait()
	given, cancel := context.WithCancel(context.WithoutCancel(ctx))
	cancel() // what is still with the publisher is in the spool
	d.publisher.Close(given)
	d.mu.Lock()
	for _, s := range d.direct {
		s.answer(publisher.ErrClosed)
	}
	d.mu.Unlock()
	spooled = d.cfg.Spool.Len()
	return spooled, d.cfg.Spool.Close()
}

// drain waits until everything is with the brokers, ctx ends, or nothing has moved for
// a while.
func (d *Delivery) drain(ctx context.Context) {
	const look, patience = 5 * time.Millisecond, 2 * time.Second
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		d.mu.Lock()
		done := !d.spooling && len(d.direct) == 0
		stuck := d.idle() > patience
		d.mu.Unlock()
		if done || stuck {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
