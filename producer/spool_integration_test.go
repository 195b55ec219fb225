//go:build integration

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"example.com/bookstore/deploy/stack/process"
	"example.com/bookstore/producer/internal/testtopic"
	"example.com/bookstore/schema"
)

// brokerProcess is the local stack's Kafka.
func brokerProcess(t testing.TB) *os.Process {
	t.Helper()
	kafka := process.Process{Name: "kafka", PIDFile: filepath.Join(os.Getenv("STACK_DIR"), "run", "kafka.pid")}
	status, err := kafka.Status()
	if err != nil {
		t.Fatal(err)
	}
	switch status.State {
	case process.Stopped:
		t.Skipf("this test stops and resumes Kafka as a process of the local stack, and there is no %s", kafka.PIDFile)
	case process.Dead:
		t.Fatal("the local stack's Kafka has ended")
	}
	broker, err := os.FindProcess(status.PID)
	if err != nil {
		t.Fatal(err)
	}
	return broker
}

// freeze stops the broker, which neither closes its connections nor answers, until the
// returned function is called or the test ends.
func freeze(t testing.TB) (resume func()) {
	t.Helper()
	broker := brokerProcess(t)
	if err := broker.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume = sync.OnceFunc(func() {
		if err := broker.Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(resume)
	return resume
}

// crowd are visitors who send events one after another, each as often as it takes until
// it is acknowledged, and remember those that were.
type crowd struct {
	url     atomic.Pointer[string]
	pause   time.Duration // between two events of a visitor
	ended   sync.WaitGroup
	stop    context.CancelFunc
	ctx     context.Context
	mu      sync.Mutex
	acked   map[string][]string // event ids of each visitor, in order
	latency []time.Duration     // of requests that were answered with 202
	refused []string            // other answers
}

func newCrowd(t testing.TB, url string, visitors int, pause time.Duration) *crowd {
	t.Helper()
	c := &crowd{pause: pause, acked: map[string][]string{}}
	c.url.Store(&url)
	c.ctx, c.stop = context.WithCancel(context.Background())
	for range visitors {
		c.ended.Go(func() { c.visit(uuid.NewString()) })
	}
	t.Cleanup(c.end)
	return c
}

// end lets the visitors finish what they send.
func (c *crowd) end() {
	c.stop()
	c.ended.Wait()
}

func (c *crowd) visit(user string) {
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(c.pause)
	defer tick.Stop()
	for c.ctx.Err() == nil {
		id := schema.NewEventID()
		for c.ctx.Err() == nil && !c.send(client, user, id) {
			<-tick.C
		}
		<-tick.C
	}
}

func (c *crowd) send(client *http.Client, user, id string) bool {
	body := fmt.Sprintf(`{"event_id":%q,"event_type":"purchase","book_id":"dracula"}`, id)
	request, err := http.NewRequest(http.MethodPost, *c.url.Load()+"/events", strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.AddCookie(&http.Cookie{Name: "user_id", Value: user})
	began := time.Now()
	answer, err := client.Do(request)
	if err != nil { // the store has been killed
		return false
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	took := time.Since(began)
	if err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer.StatusCode != http.StatusAccepted {
		c.refused = append(c.refused, fmt.Sprintf("%d %s", answer.StatusCode, text))
		return false
	}
	c.acked[user] = append(c.acked[user], id)
	c.latency = append(c.latency, took)
	return true
}

// count is how many events have been acknowledged.
func (c *crowd) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.latency)
}

// percentile of the latencies since the from-th acknowledgement.
func (c *crowd) percentile(from int, p float64) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	sorted := slices.Sorted(slices.Values(c.latency[from:]))
	return sorted[int(float64(len(sorted)-1)*p)]
}

// check holds the topic against what was acknowledged, each visitor's in order, and
// returns how many records were delivered more than once.
func (c *crowd) check(t testing.TB, servers, name string) (duplicates int) {
	t.Helper()
	first := map[string][]string{} // event ids of each visitor, as they came for the first time
	seen := map[string]bool{}
	for _, m := range read(t, servers, name) {
		e, err := schema.Decode(m.Value)
		if err != nil {
			t.Fatal(err)
		}
		if seen[e.EventID] {
			duplicates++
			continue
		}
		seen[e.EventID] = true
		first[e.UserID] = append(first[e.UserID], e.EventID)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	lost := 0
	for user, want := range c.acked {
		got := first[user]
		i := 0
		for _, id := range got { // what was stored and never acknowledged may stand between
			if i < len(want) && id == want[i] {
				i++
			}
		}
		if i < len(want) {
			lost++
			t.Errorf("visitor %s: event %d of %d acknowledged ones is lost or out of order (%s, stored at all: %v)", user, i, len(want), want[i], seen[want[i]])
		}
	}
	return duplicates
}

// awaitMore waits until events are acknowledged again.
func (c *crowd) awaitMore(t testing.TB) {
	t.Helper()
	after := c.count()
	waitFor(t, "events are stored again", 20*time.Second, func() bool { return c.count() > after+100 })
}

// checkAccepted finds fault with any answer but 202. It is for a crowd that has ended.
func (c *crowd) checkAccepted(t testing.TB) {
	t.Helper()
	if len(c.refused) > 0 {
		t.Errorf("%d requests were not answered with 202, the first with %s", len(c.refused), c.refused[0])
	}
}

// awaitEmptySpool waits until the brokers have what was in the store's spool.
func awaitEmptySpool(t testing.TB, url string) {
	t.Helper()
	waitFor(t, "the spool is empty", 60*time.Second, func() bool { return metric(t, url, "bookstore_store_spooling") == 0 })
}

// checkRecovery sees that the store, whose spool took no more, takes events again, and
// that the topic has each of those that it accepted before.
func checkRecovery(t *testing.T, url, servers, name string, accepted map[string]bool) {
	t.Helper()
	awaitEmptySpool(t, url)
	if status, body := request(t, http.MethodPost, url+"/events", anEvent); status != http.StatusAccepted {
		t.Errorf("an event after that was answered %d %s", status, body)
	}
	for _, m := range read(t, servers, name) {
		e, err := schema.Decode(m.Value)
		if err != nil {
			t.Fatal(err)
		}
		delete(accepted, e.EventID)
	}
	if len(accepted) > 0 {
		t.Errorf("%d acknowledged events are lost", len(accepted))
	}
}

func waitFor(t testing.TB, what string, patience time.Duration, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func metric(t testing.TB, url, name string) float64 {
	t.Helper()
	answer, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// outage is how long the broker is away in these tests.
func outage(t testing.TB) time.Duration {
	t.Helper()
	if text := os.Getenv("TEST_OUTAGE"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	return 3 * time.Second
}

func TestBrokerAwayUnderLoad(t *testing.T) {
	servers, name := testtopic.New(t)
	store, url, log := startStore(t, servers, name, "STORE_SPOOL_AFTER=150ms")
	c := newCrowd(t, url, 40, 200*time.Millisecond) // 200 events a second
	waitFor(t, "events are stored", 20*time.Second, func() bool { return c.count() > 100 })
	resume := freeze(t)
	from := c.count()
	time.Sleep(outage(t))
	spooled := c.count()
	if status, body := get(t, url+"/readyz"); status != http.StatusOK {
		t.Errorf("/readyz = %d %s while the spool takes events", status, body)
	}
	if n := metric(t, url, "bookstore_store_spool_events"); n < 100 {
		t.Errorf("%v events are in the spool, want more", n)
	}
	age := metric(t, url, "bookstore_store_spool_oldest_age_seconds")
	if age < outage(t).Seconds()/2 || age > outage(t).Seconds()*2+10 {
		t.Errorf("the oldest event is said to be %v s old after %v", age, outage(t))
	}
	p50, p99 := c.percentile(from, .5), c.percentile(from, .99)
	syncs := metric(t, url, "bookstore_store_spool_sync_seconds_count")
	slow := syncs - metric(t, url, `bookstore_store_spool_sync_seconds_bucket{le="0.1"}`)
	resume()
	awaitEmptySpool(t, url)
	c.awaitMore(t)
	c.end()
	c.checkAccepted(t)
	replayed := metric(t, url, "bookstore_store_spool_replayed_total")
	if err := store.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := store.Wait(); err != nil {
		t.Errorf("the store ended with %v\n%s", err, log)
	}
	duplicates := c.check(t, servers, name)
	t.Logf("%d events while the broker was away: p50 %v, p99 %v; %v of %v syncs took longer than 100ms; %v replayed, %d duplicate deliveries",
		spooled-from, p50, p99, slow, syncs, replayed, duplicates)
	// A disk that others keep busy says nothing of the store.
	if limit := 250 * time.Millisecond; p99 > limit && !raceDetector && slow == 0 {
		t.Errorf("p99 = %v while the broker was away, want at most %v", p99, limit)
	}
	if text := log.String(); strings.Count(text, "events go to the spool") < 1 || strings.Count(text, "the brokers have everything") < 1 {
		t.Errorf("the log does not tell when spooling begins and ends:\n%s", text)
	}
}

func TestBrokerRestartUnderLoad(t *testing.T) {
	brokerProcess(t)
	servers, name := testtopic.New(t)
	_, url, log := startStore(t, servers, name, "STORE_SPOOL_AFTER=150ms")
	c := newCrowd(t, url, 20, 100*time.Millisecond)
	waitFor(t, "events are stored", 20*time.Second, func() bool { return c.count() > 100 })
	for _, action := range []string{"stop", "start"} {
		stack := exec.Command("go", "run", "./deploy/stack", action, "kafka")
		stack.Dir = ".."
		if out, err := stack.CombinedOutput(); err != nil {
			t.Fatalf("stack %s kafka: %v\n%s", action, err, out)
		}
	}
	awaitEmptySpool(t, url)
	c.awaitMore(t)
	c.end()
	c.checkAccepted(t)
	t.Logf("%d events, %d duplicate deliveries", c.count(), c.check(t, servers, name))
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("the log tells of an error:\n%s", log)
	}
}

// kill -9 amid the traffic: first while events go to the brokers, then to the spool, and
// while the spool is sent.
func TestKilledStoreLosesNothing(t *testing.T) {
	servers, name := testtopic.New(t)
	settings := []string{"STORE_SPOOL_AFTER=100ms", "STORE_SPOOL_DIR=" + t.TempDir()}
	store, url, _ := startStore(t, servers, name, settings...)
	c := newCrowd(t, url, 40, 50*time.Millisecond)
	resume := func() {}
	for _, during := range []string{"acknowledging", "spooling", "replaying", "acknowledging"} {
		enough := c.count() + 200
		switch during {
		case "spooling":
			resume = freeze(t)
			enough += 200
		case "replaying":
			resume()
		}
		if during != "replaying" {
			waitFor(t, "events are acknowledged while "+during, 30*time.Second, func() bool { return c.count() > enough })
		}
		if err := store.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = store.Wait()
		store, url, _ = startStore(t, servers, name, settings...)
		address := url // a pointer of its own, for the visitors
		c.url.Store(&address)
	}
	awaitEmptySpool(t, url)
	c.awaitMore(t)
	c.end()
	awaitEmptySpool(t, url)
	c.checkAccepted(t)
	t.Logf("%d events acknowledged, %d duplicate deliveries", c.count(), c.check(t, servers, name))
}

// SIGTERM while the broker is away: the rest stays in the spool, and the next store
// sends it.
func TestSIGTERMWhileTheBrokerIsAway(t *testing.T) {
	servers, name := testtopic.New(t)
	settings := []string{"STORE_SPOOL_AFTER=100ms", "STORE_SPOOL_DIR=" + t.TempDir()}
	store, url, log := startStore(t, servers, name, settings...)
	c := newCrowd(t, url, 20, 50*time.Millisecond)
	resume := freeze(t)
	waitFor(t, "events are acknowledged", 30*time.Second, func() bool { return c.count() > 200 })
	if err := store.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := store.Wait(); err != nil {
		t.Errorf("the store ended with %v, want exit status 0", err)
	}
	c.end()
	if !strings.Contains(log.String(), "events stay in the spool") || strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("the log does not tell what stays in the spool:\n%s", log)
	}
	resume()
	_, url, log = startStore(t, servers, name, settings...)
	awaitEmptySpool(t, url)
	c.check(t, servers, name)
	if !strings.Contains(log.String(), "an earlier run") {
		t.Errorf("the log does not tell of the earlier run's events:\n%s", log)
	}
}

func TestFullSpoolRefuses(t *testing.T) {
	servers, name := testtopic.New(t)
	_, url, _ := startStore(t, servers, name, "STORE_SPOOL_AFTER=100ms", "STORE_SPOOL_LIMIT=16MiB")
	resume := freeze(t)
	accepted := map[string]bool{}
	var refusal *http.Response
	for size := 500; size > 0; { // batches, smaller ones once there is no room for large ones
		var items []string
		var ids []string
		for range size {
			id := schema.NewEventID()
			ids = append(ids, id)
			items = append(items, fmt.Sprintf(`{"event_id":%q,"event_type":"purchase","book_id":"dracula"}`, id))
		}
		answer, err := http.Post(url+"/events", "application/json", bytes.NewBufferString("["+strings.Join(items, ",")+"]"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, answer.Body)
		if err := errors.Join(err, answer.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != http.StatusAccepted {
			refusal = answer
			size /= 10
			continue
		}
		for _, id := range ids {
			accepted[id] = true
		}
	}
	if refusal == nil || refusal.StatusCode != http.StatusServiceUnavailable || refusal.Header.Get("Retry-After") == "" {
		t.Fatalf("after %d events: %v, want 503 with Retry-After", len(accepted), refusal)
	}
	if status, body := get(t, url+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "the spool is full") {
		t.Errorf("/readyz = %d %s, want 503 and why", status, body)
	}
	if size := metric(t, url, "bookstore_store_spool_bytes"); size > 16<<20 || size < 15<<20 {
		t.Errorf("the spool has %v bytes, want close to its limit and not more", size)
	}
	resume()
	checkRecovery(t, url, servers, name, accepted)
}

// BenchmarkLatency compares how long a visitor waits for 202 when the brokers
// acknowledge an event and when the spool does. The last line has the ratio.
func BenchmarkLatency(b *testing.B) {
	servers, name := testtopic.New(b)
	_, url, _ := startStore(b, servers, name, "STORE_SPOOL_AFTER=100ms", "STORE_RATE_LIMIT=0")
	median := map[string]time.Duration{}
	measure := func(way string) {
		b.Run(way, func(b *testing.B) {
			c := &crowd{acked: map[string][]string{}}
			c.url.Store(&url)
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			c.send(client, "warm-up", schema.NewEventID())
			for b.Loop() {
				if !c.send(client, "visitor", schema.NewEventID()) {
					b.Fatal(c.refused)
				}
			}
			median[way] = c.percentile(1, .5)
			b.ReportMetric(float64(median[way].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(c.percentile(1, .99).Microseconds())/1000, "p99-ms")
		})
	}
	measure("acknowledged")
	resume := freeze(b)
	measure("spooled")
	resume()
	awaitEmptySpool(b, url)
	b.Logf("spooled / acknowledged = %.2f", float64(median["spooled"])/float64(median["acknowledged"]))
}
