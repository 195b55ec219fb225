package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"example.com/bookstore/producer/internal/synclog"
	"example.com/bookstore/producer/publisher"
	"example.com/bookstore/producer/spool"
)

// broker is what the publishers of a test write to, one after another.
type broker struct {
	mu       sync.Mutex
	away     bool // takes records and says nothing
	mute     bool // answers Ready, and acknowledges nothing
	refuses  string
	holds    string        // acknowledges all but this
	pace     time.Duration // of each acknowledgement; none if zero
	failure  error         // of every record, at once
	stored   []string
	clients  []*client
	unasked  int // records that a closing client stores without a report
	notReady error
}

// client is a publisher of a test.
type client struct {
	*broker
	report  func([]publisher.Report)
	fatal   chan error
	broken  error
	closed  bool
	waiting []waiting
	acks    chan func()
	acked   sync.WaitGroup
}

type waiting struct {
	value  string
	report func(error)
}

func (b *broker) connect(report func([]publisher.Report)) (Publisher, error) {
	c := &client{broker: b, report: report, fatal: make(chan error, 1), acks: make(chan func(), 100_000)}
	b.mu.Lock()
	defer b.mu.Unlock()
	pace := b.pace
	c.acked.Go(func() { // reports come from another goroutine
		free := time.Now() // when the broker has done what it has so far
		for f := range c.acks {
			if now := time.Now(); free.Before(now) {
				free = now
			}
			free = free.Add(pace)
			if ahead := time.Until(free); ahead > time.Millisecond {
				time.Sleep(ahead) // what a slow broker takes
			}
			f()
		}
	})
	b.clients = append(b.clients, c)
	return c, nil
}

func (c *client) Send(call any, records []publisher.Record) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return 0, publisher.ErrClosed
	case c.broken != nil:
		return 0, c.broken
	}
	for i, r := range records {
		c.waiting = append(c.waiting, waiting{string(r.Value), func(err error) { c.report([]publisher.Report{{Call: call, Index: i, Err: err}}) }})
	}
	c.flush()
	return len(records), nil
}

// flush is called with the broker's mu.
func (c *client) flush() {
	if c.away || c.mute || c.closed || c.broken != nil {
		return
	}
	var held []waiting
	for _, w := range c.waiting {
		if w.value == c.holds && c.holds != "" {
			held = append(held, w)
			continue
		}
		err := c.failure
		if err == nil && w.value == c.refuses && c.refuses != "" {
			err = fmt.Errorf("%w: too large", publisher.ErrRefused)
		}
		if err == nil {
			c.stored = append(c.stored, w.value)
		}
		c.acks <- func() { w.report(err) }
	}
	c.waiting = held
}

func (c *client) Ready(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return errors.New("no broker answered")
	}
	return c.notReady
}

func (c *client) Fatal() <-chan error { return c.fatal }

func (c *client) Close(context.Context) int {
	c.mu.Lock()
	c.closed = true
	n := len(c.waiting)
	for i, w := range c.waiting {
		if i < c.unasked { // the broker got it, and its acknowledgement was lost
			c.stored = append(c.stored, w.value)
		}
		c.acks <- func() { w.report(publisher.ErrNotDelivered) }
	}
	c.waiting = nil
	close(c.acks)
	c.mu.Unlock()
	c.acked.Wait()
	return n
}

func (c *client) Describe(chan<- *prometheus.Desc) {}
func (c *client) Collect(chan<- prometheus.Metric) {}

// change changes the broker, and what waits goes on as it can then.
func (b *broker) change(f func(b *broker)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b)
	for _, c := range b.clients {
		c.flush()
	}
}

func (b *broker) goAway()   { b.change(func(b *broker) { b.away = true }) }
func (b *broker) comeBack() { b.change(func(b *broker) { b.away = false }) }

// acknowledgeOne is what a slow broker does from time to time.
func (b *broker) acknowledgeOne() {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.clients[len(b.clients)-1]
	if len(c.waiting) == 0 {
		return
	}
	w := c.waiting[0]
	c.waiting, c.stored = c.waiting[1:], append(c.stored, w.value)
	c.acks <- func() { w.report(nil) }
}

// breakDown is the fatal error of the client that is in use.
func (b *broker) breakDown() {
	b.change(func(b *broker) {
		c := b.clients[len(b.clients)-1]
		if c.broken == nil {
			c.broken = fmt.Errorf("%w: made by the test", publisher.ErrFatal)
			c.fatal <- c.broken
		}
	})
}

func (b *broker) values() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.stored...)
}

type fixture struct {
	*Delivery
	broker *broker
	log    *synclog.Buffer
	fs     vfs.FS
}

type options struct {
	fs    vfs.FS
	dir   string
	limit int64
	after time.Duration
	stuck time.Duration
}

func start(t *testing.T, b *broker, o options) fixture {
	t.Helper()
	if o.fs == nil {
		o.fs = vfs.NewMem()
	}
	if o.dir == "" {
		o.dir = "spool"
	}
	if o.limit == 0 {
		o.limit = 64 << 20
	}
	if o.after == 0 {
		o.after = 30 * time.Millisecond
	}
	if o.stuck == 0 {
		o.stuck = time.Minute
	}
	log := new(synclog.Buffer)
	logger := slog.New(slog.NewTextHandler(log, nil))
	s, err := spool.Open(spool.Config{Dir: o.dir, Limit: o.limit, FS: o.fs, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(t.Context(), Config{Connect: b.connect, Spool: s, SpoolAfter: o.after, DeliveryTimeout: o.stuck, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, _ = d.Close(ctx)
	})
	return fixture{d, b, log, o.fs}
}

func records(values ...string) []publisher.Record {
	var out []publisher.Record
	for _, v := range values {
		key, _, _ := strings.Cut(v, "-")
		out = append(out, publisher.Record{Key: key, Value: []byte(v), Time: time.Now()})
	}
	return out
}

func (f fixture) publish(t *testing.T, values ...string) []error {
	t.Helper()
	return f.Publish(t.Context(), records(values...))
}

func (f fixture) mustPublish(t *testing.T, values ...string) {
	t.Helper()
	for i, err := range f.publish(t, values...) {
		if err != nil {
			t.Fatalf("%s: %v", values[i], err)
		}
	}
}

func (f fixture) isDirect() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.spooling
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func (f fixture) checkStored(t *testing.T, want ...string) {
	t.Helper()
	if got := f.broker.values(); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("stored %v\nwant   %v", got, want)
	}
}

func TestDirectly(t *testing.T) {
	f := start(t, new(broker), options{})
	f.mustPublish(t, "a-1", "b-1")
	f.mustPublish(t, "a-2")
	if errs := f.publish(t); len(errs) != 0 {
		t.Errorf("publishing nothing: %v", errs)
	}
	f.checkStored(t, "a-1", "b-1", "a-2")
	if f.cfg.Spool.Bytes() != 0 || f.log.String() != "" {
		t.Errorf("%d bytes in the spool, and the log:\n%s", f.cfg.Spool.Bytes(), f.log)
	}
	if spooled, err := f.Close(t.Context()); spooled != 0 || err != nil {
		t.Errorf("Close = %d, %v", spooled, err)
	}
	if err := f.publish(t, "a-3")[0]; !errors.Is(err, publisher.ErrClosed) {
		t.Errorf("Publish after Close = %v, want ErrClosed", err)
	}
	if err := f.Ready(t.Context()); !errors.Is(err, publisher.ErrClosed) {
		t.Errorf("Ready after Close = %v, want ErrClosed", err)
	}
}

func TestBrokerAwayAndBack(t *testing.T) {
	f := start(t, new(broker), options{after: 50 * time.Millisecond})
	f.mustPublish(t, "a-0")
	f.broker.goAway()
	began := time.Now()
	f.mustPublish(t, "a-1", "b-1")
	if took := time.Since(began); took < 50*time.Millisecond {
		t.Errorf("the first events were acknowledged after %v, before the brokers had their time", took)
	}
	began = time.Now()
	for i := range 100 {
		f.mustPublish(t, fmt.Sprintf("c-%d", i))
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("100 events of a broker known to be away took %v", took)
	}
	if n := f.cfg.Spool.Len(); n != 102 {
		t.Errorf("%d events in the spool, want 102", n)
	}
	if err := f.Ready(t.Context()); err != nil {
		t.Errorf("Ready = %v while the spool takes events", err)
	}
	if err := f.Direct(t.Context()); err == nil || !strings.Contains(err.Error(), "no broker answered") {
		t.Errorf("Direct = %v while no broker answers", err)
	}
	if n := testutil.ToFloat64(f.metrics.spooled); n != 102 {
		t.Errorf("%v events are counted as spooled, want 102", n)
	}
	if testutil.ToFloat64(f.metrics.age) <= 0 || testutil.ToFloat64(f.metrics.bytes) <= 0 || testutil.ToFloat64(f.metrics.spooling) != 1 {
		t.Error("the gauges do not show what is in the spool")
	}
	f.broker.comeBack()
	eventually(t, "the way is open again", f.isDirect)
	if err := f.Direct(t.Context()); err != nil {
		t.Errorf("Direct = %v of an open way", err)
	}
	f.mustPublish(t, "a-2")
	want := []string{"a-0", "a-1", "b-1"} // once each: those sent before were acknowledged after all
	for i := range 100 {
		want = append(want, fmt.Sprintf("c-%d", i))
	}
	f.checkStored(t, append(want, "a-2")...)
	eventually(t, "the end is told", func() bool { return strings.Contains(f.log.String(), "the brokers have everything") })
	if text := f.log.String(); f.log.Lines() != 2 || !strings.Contains(text, "events go to the spool") || !strings.Contains(text, "sent=100") {
		t.Errorf("want one line when it begins and one when it has ended:\n%s", text)
	}
	if n := testutil.ToFloat64(f.metrics.replayed); n != 100 {
		t.Errorf("%v events are counted as replayed, want 100", n)
	}
	if testutil.ToFloat64(f.metrics.age) != 0 || testutil.ToFloat64(f.metrics.bytes) != 0 || testutil.ToFloat64(f.metrics.spooling) != 0 || testutil.ToFloat64(f.metrics.resent) != 0 {
		t.Error("the gauges do not show that the spool is empty")
	}
	if problems, err := testutil.CollectAndLint(f); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
}

// Events that wait because there are many are not written to disk as well.
func TestQueueThatGetsShorterIsNoOutage(t *testing.T) {
	const after = 300 * time.Millisecond
	f := start(t, new(broker), options{after: after})
	f.broker.goAway() // and yet acknowledges one after the other
	began := time.Now()
	published := make(chan []error)
	var values []string
	for i := range 40 {
		values = append(values, fmt.Sprintf("a-%d", i))
	}
	go func() { published <- f.publish(t, values...) }()
	eventually(t, "the broker has acknowledged all", func() bool {
		time.Sleep(20 * time.Millisecond) // what a slow broker takes
		f.broker.acknowledgeOne()
		return len(f.broker.values()) == len(values)
	})
	for i, err := range <-published {
		if err != nil {
			t.Errorf("event %d: %v", i, err)
		}
	}
	if took := time.Since(began); took < 2*after {
		t.Fatalf("they waited for %v, which shows nothing", took)
	}
	if text := f.log.String(); text != "" || !f.isDirect() {
		t.Errorf("the way is direct: %v, want so; the log:\n%s", f.isDirect(), text)
	}
}

// An event of a partition that nobody leads does not wait for as long as others get on.
func TestEventThatIsLeftBehindGoesToTheSpool(t *testing.T) {
	f := start(t, new(broker), options{after: 50 * time.Millisecond})
	f.broker.change(func(b *broker) { b.holds = "a-0" })
	published := make(chan error)
	go func() { published <- f.publish(t, "a-0")[0] }()
	n := 0
	eventually(t, "it is in the spool", func() bool {
		f.mustPublish(t, fmt.Sprintf("b-%d", n))
		n++
		return !f.isDirect()
	})
	if err := <-published; err != nil {
		t.Error(err)
	}
	if text := f.log.String(); !strings.Contains(text, "acknowledge events that came 50ms after others") {
		t.Errorf("the log does not say why:\n%s", text)
	}
	f.broker.change(func(b *broker) { b.holds = "" })
	eventually(t, "the way is open again", f.isDirect)
	checkFirstInOrder(t, f.broker.values(), map[string]int{"a": 1, "b": n})
}

func TestFatalErrorIsSurvived(t *testing.T) {
	f := start(t, &broker{unasked: 1}, options{})
	f.mustPublish(t, "a-0")
	f.broker.goAway()
	done := make(chan []error)
	go func() { done <- f.Publish(context.WithoutCancel(t.Context()), records("a-1", "a-2")) }()
	eventually(t, "the records are sent", func() bool {
		f.broker.mu.Lock()
		defer f.broker.mu.Unlock()
		return len(f.broker.clients[0].waiting) == 2
	})
	f.broker.breakDown()
	for _, err := range <-done {
		if err != nil {
			t.Error(err)
		}
	}
	f.broker.comeBack()
	eventually(t, "the way is open again", f.isDirect)
	f.mustPublish(t, "a-3")
	f.checkStored(t, "a-0", "a-1", "a-1", "a-2", "a-3") // a-1 the first time without an acknowledgement
	if n := testutil.ToFloat64(f.metrics.reconnected); n != 1 {
		t.Errorf("%v new publishers, want 1", n)
	}
	if n := testutil.ToFloat64(f.metrics.resent); n != 2 {
		t.Errorf("%v events are counted as sent again, want 2", n)
	}

	// Also while nothing is under way, and while the spool is sent.
	f.broker.breakDown()
	f.mustPublish(t, "a-4")
	f.broker.goAway()
	f.mustPublish(t, "a-5")
	f.broker.breakDown()
	f.mustPublish(t, "a-6")
	f.broker.comeBack()
	eventually(t, "everything is stored", func() bool { return strings.HasSuffix(strings.Join(f.broker.values(), " "), "a-6") })
	checkFirstInOrder(t, f.broker.values(), map[string]int{"a": 7})
}

// checkFirstInOrder checks that of each key the events 0 to n-1 are there, and that each
// comes for the first time after the one before it.
func checkFirstInOrder(t *testing.T, values []string, want map[string]int) {
	t.Helper()
	next := map[string]int{}
	for _, v := range values {
		key, text, _ := strings.Cut(v, "-")
		var n int
		if _, err := fmt.Sscan(text, &n); err != nil {
			t.Fatal(err)
		}
		switch {
		case n > next[key]:
			t.Fatalf("%s comes before %s-%d", v, key, next[key])
		case n == next[key]:
			next[key]++
		}
	}
	for key, n := range want {
		if next[key] < n {
			t.Errorf("%s-%d is lost", key, next[key])
		}
	}
}

// Whatever the broker does, nothing that was acknowledged is lost or overtaken.
func TestOrderUnderAllFaults(t *testing.T) {
	b := &broker{unasked: 3}
	f := start(t, b, options{after: 5 * time.Millisecond, limit: 1 << 30})
	var group sync.WaitGroup
	var stop atomic.Bool
	const visitors = 20
	var acknowledged [visitors]int
	for v := range visitors {
		group.Go(func() {
			for n := 0; !stop.Load(); {
				values := []string{fmt.Sprintf("v%d-%d", v, n), fmt.Sprintf("v%d-%d", v, n+1)}
				for _, err := range f.Publish(context.WithoutCancel(t.Context()), records(values...)) {
					if err != nil {
						t.Error(err)
						return
					}
				}
				n += 2
				acknowledged[v] = n
				time.Sleep(time.Millisecond) // so that the test ends, too
			}
		})
	}
	random := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		switch random.IntN(4) {
		case 0:
			b.goAway()
		case 1:
			b.breakDown()
		default:
			b.comeBack()
		}
		time.Sleep(time.Duration(random.IntN(15)) * time.Millisecond)
	}
	stop.Store(true)
	group.Wait()
	b.comeBack()
	eventually(t, "the way is open again", f.isDirect)
	if spooled, err := f.Close(t.Context()); spooled != 0 || err != nil {
		t.Errorf("Close = %d, %v", spooled, err)
	}
	want := map[string]int{}
	total := 0
	for v, n := range acknowledged {
		want[fmt.Sprintf("v%d", v)] = n
		total += n
	}
	checkFirstInOrder(t, b.values(), want)
	if total < 1000 || testutil.ToFloat64(f.metrics.spooled) == 0 || testutil.ToFloat64(f.metrics.reconnected) == 0 {
		t.Errorf("the test has done too little: %d events, %v spooled", total, testutil.ToFloat64(f.metrics.spooled))
	}
}

func TestFullSpool(t *testing.T) {
	f := start(t, new(broker), options{limit: 1 << 20})
	f.broker.goAway()
	large := strings.Repeat("x", 50_000)
	accepted := 0
	var err error
	for range 100 {
		if err = f.publish(t, "a-"+large)[0]; err != nil {
			break
		}
		accepted++
	}
	if !errors.Is(err, publisher.ErrQueueFull) || !errors.Is(err, spool.ErrFull) || accepted < 5 {
		t.Fatalf("after %d events: %v, want ErrQueueFull and ErrFull", accepted, err)
	}
	for range 5 {
		_ = f.publish(t, "a-"+large)
	}
	if err := f.Ready(t.Context()); !errors.Is(err, spool.ErrFull) || !strings.Contains(err.Error(), "no broker answered") {
		t.Errorf("Ready = %v, want what is wrong with the brokers and the spool", err)
	}
	if n := strings.Count(f.log.String(), "events are refused"); n != 1 {
		t.Errorf("the log tells %d times that events are refused, want once:\n%s", n, f.log)
	}
	f.broker.comeBack()
	eventually(t, "the way is open again", f.isDirect)
	f.mustPublish(t, "a-0")
	if got := len(f.broker.values()); got != accepted+1 {
		t.Errorf("%d events are stored, want the %d that were accepted and one", got, accepted)
	}
	if err := f.Ready(t.Context()); err != nil {
		t.Errorf("Ready = %v", err)
	}
}

func TestFailingDisk(t *testing.T) {
	disk := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync {
			return syscall.EIO
		}
		return nil
	})}
	f := start(t, new(broker), options{fs: errorfs.Wrap(vfs.NewMem(), disk)})
	f.broker.goAway()
	disk.On()
	for range 2 {
		if err := f.publish(t, "a-0")[0]; !errors.Is(err, publisher.ErrNotDelivered) || !errors.Is(err, syscall.EIO) {
			t.Errorf("Publish = %v, want ErrNotDelivered because of EIO", err)
		}
	}
	if f.Ready(t.Context()) == nil {
		t.Error("Ready = nil with neither brokers nor disk")
	}
	if n := strings.Count(f.log.String(), "events are refused"); n != 1 {
		t.Errorf("the log tells %d times that events are refused, want once:\n%s", n, f.log)
	}
	f.broker.comeBack()
	eventually(t, "the way is open again", f.isDirect)
	f.mustPublish(t, "a-1")
	if err := f.Ready(t.Context()); err != nil {
		t.Errorf("Ready = %v with brokers and without a disk", err)
	}
	disk.Off()
	f.broker.goAway()
	eventually(t, "the disk is used again", func() bool { return f.publish(t, "a-2")[0] == nil })
}

func TestRestIsKeptForTheNextRun(t *testing.T) {
	fs := vfs.NewMem()
	b := new(broker)
	f := start(t, b, options{fs: fs})
	b.goAway()
	f.mustPublish(t, "a-0")
	f.mustPublish(t, "a-1", "b-0")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if spooled, err := f.Close(ctx); spooled != 3 || err != nil {
		t.Fatalf("Close = %d, %v, want 3 events spooled", spooled, err)
	}
	if spooled, err := f.Close(t.Context()); spooled != 0 || err != nil {
		t.Errorf("a second Close = %d, %v", spooled, err)
	}
	f = start(t, b, options{fs: fs})
	f.mustPublish(t, "a-2") // behind the others
	b.comeBack()
	eventually(t, "the way is open again", f.isDirect)
	f.mustPublish(t, "a-3")
	f.checkStored(t, "a-0", "a-1", "b-0", "a-2", "a-3")
}

func TestCloseKeepsWhatIsUnderWay(t *testing.T) {
	fs := vfs.NewMem()
	b := new(broker)
	f := start(t, b, options{fs: fs, after: time.Minute})
	b.goAway()
	done := make(chan error)
	go func() { done <- f.Publish(context.WithoutCancel(t.Context()), records("a-0"))[0] }()
	eventually(t, "the record is sent", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.clients[0].waiting) == 1
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if spooled, err := f.Close(ctx); spooled != 1 || err != nil {
		t.Errorf("Close = %d, %v, want 1 event spooled", spooled, err)
	}
	if err := <-done; err != nil {
		t.Errorf("Publish = %v, want nil since the event is in the spool", err)
	}
}

func TestCloseGivesUpOnBrokersThatStayAway(t *testing.T) {
	f := start(t, new(broker), options{})
	f.broker.goAway()
	f.mustPublish(t, "a-0")
	began := time.Now()
	if spooled, err := f.Close(t.Context()); spooled != 1 || err != nil {
		t.Errorf("Close = %d, %v, want 1 event spooled", spooled, err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("Close took %v", took)
	}
}

func TestRefusedEvents(t *testing.T) {
	b := &broker{refuses: "a-bad"}
	dir := t.TempDir()
	f := start(t, b, options{fs: vfs.Default, dir: dir})
	errs := f.publish(t, "a-0", "a-bad", "a-1")
	if errs[0] != nil || !errors.Is(errs[1], publisher.ErrRefused) || errs[2] != nil {
		t.Errorf("Publish = %v, want the second refused", errs)
	}
	if !f.isDirect() {
		t.Error("one bad event has closed the way for all")
	}
	b.goAway()
	f.mustPublish(t, "b-0")
	f.mustPublish(t, "a-bad")
	f.mustPublish(t, "b-1")
	b.comeBack()
	eventually(t, "the way is open again", f.isDirect)
	f.checkStored(t, "a-0", "a-1", "b-0", "b-1")
	files, err := filepath.Glob(filepath.Join(dir, "set-aside-*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("set aside: %v, %v, want one file", files, err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil || !strings.Contains(string(content), `"key":"a","value":"YS1iYWQ="`) {
		t.Errorf("the file holds %s, %v", content, err)
	}
	if !strings.Contains(f.log.String(), files[0]) {
		t.Errorf("the log does not name the file:\n%s", f.log)
	}
}

// Such as a topic that does not exist: each record fails at once.
func TestFailingRecordsWaitInTheSpool(t *testing.T) {
	f := start(t, &broker{failure: fmt.Errorf("%w: unknown topic", publisher.ErrNotDelivered)}, options{})
	f.mustPublish(t, "a-0")
	f.mustPublish(t, "a-1")
	f.broker.change(func(b *broker) { b.failure = nil })
	eventually(t, "the way is open again", f.isDirect)
	f.checkStored(t, "a-0", "a-1")
	if !strings.Contains(f.log.String(), "unknown topic") {
		t.Errorf("the log does not tell why events go to the spool:\n%s", f.log)
	}
}

func TestMuteBrokersGetANewPublisher(t *testing.T) {
	f := start(t, &broker{mute: true}, options{stuck: 50 * time.Millisecond})
	n := 0
	eventually(t, "a new publisher is there", func() bool {
		f.mustPublish(t, fmt.Sprintf("a-%d", n)) // which goes on meanwhile
		n++
		return testutil.ToFloat64(f.metrics.reconnected) >= 2
	})
	f.broker.change(func(b *broker) { b.mute = false })
	eventually(t, "the way is open again", f.isDirect)
	checkFirstInOrder(t, f.broker.values(), map[string]int{"a": n})
}

func TestContextEnds(t *testing.T) {
	f := start(t, new(broker), options{after: time.Minute})
	f.broker.goAway()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := f.Publish(ctx, records("a-0"))[0]
	if !errors.Is(err, publisher.ErrNotDelivered) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Publish = %v, want ErrNotDelivered because of context.DeadlineExceeded", err)
	}
}

// A record is the same after the spool, and so still belongs to its request.
func TestRecordsOfTheSpoolBelongToTheirRequest(t *testing.T) {
	given := records("a-0")[0]
	given.TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	raw, err := encode(given, "mark")
	if err != nil {
		t.Fatal(err)
	}
	var e entry
	if err := json.Unmarshal(raw, &e); err != nil {
		t.Fatal(err)
	}
	if got := e.record(); got.TraceParent != given.TraceParent || string(got.Value) != string(given.Value) || got.Key != given.Key || !got.Time.Equal(given.Time) {
		t.Errorf("after the spool %+v, want %+v", got, given)
	}
}

// The spool goes out while new events keep coming in.
func TestLargeSpoolUnderLoad(t *testing.T) {
	b := new(broker)
	f := start(t, b, options{after: 150 * time.Millisecond})
	b.goAway()
	for n := 0; n < 5000; n += 100 {
		var values []string
		for i := range 100 {
			values = append(values, fmt.Sprintf("a-%d", n+i))
		}
		f.mustPublish(t, values...)
	}
	b.comeBack()
	n := 0
	for deadline := time.Now().Add(20 * time.Second); !f.isDirect(); n++ {
		if time.Now().After(deadline) {
			t.Fatal("the spool does not become empty")
		}
		f.mustPublish(t, fmt.Sprintf("b-%d", n))
	}
	f.mustPublish(t, fmt.Sprintf("b-%d", n))
	checkFirstInOrder(t, b.values(), map[string]int{"a": 5000, "b": n + 1})
	if got := len(b.values()); got != 5000+n+1 {
		t.Errorf("%d records, want %d", got, 5000+n+1)
	}
}

// Senders that go on as soon as they are answered bring more than the brokers take, and
// yet what an outage has left in the spool becomes less.
func TestSpoolGetsEmptyUnderOverload(t *testing.T) {
	const senders, batch = 40, 50 // together more than the brokers take while an event may wait
	b := &broker{pace: 100 * time.Microsecond}
	f := start(t, b, options{after: 150 * time.Millisecond})
	b.goAway()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var sending sync.WaitGroup
	defer sending.Wait()
	for s := range senders {
		sending.Go(func() {
			for n := 0; ctx.Err() == nil; n += batch {
				var values []string
				for i := range batch {
					values = append(values, fmt.Sprintf("%d-%d", s, n+i))
				}
				for _, err := range f.publish(t, values...) {
					if err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	eventually(t, "something is in the spool", func() bool { return f.cfg.Spool.Len() > 0 })
	b.comeBack()
	eventually(t, "the way is open again", f.isDirect)
	stop()
}
