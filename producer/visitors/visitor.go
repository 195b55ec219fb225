package visitors

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/ledger"
)

// attemptTimeout is how long the page waits for one answer, which is longer than
// the store waits for its brokers.
const attemptTimeout = 20 * time.Second

// visitor is one person with a browser, or one bad client. Its steps are carried
// out one after the other, as the page does it, so that they stay in order.
type visitor struct {
	r      *Runner
	client *http.Client

	mu     sync.Mutex
	queue  [][]Step
	active bool // a goroutine works on the queue

	// Of that goroutine alone:
	userID string           // by the cookie, once the page is open
	events map[string]*item // sent so far, by id
	left   bool             // has given up
}

func newVisitor(r *Runner) *visitor {
	jar, _ := cookiejar.New(nil) // never an error
	return &visitor{
		r: r, client: &http.Client{Jar: jar, Transport: r.cfg.Transport}, events: map[string]*item{},
	}
}

// enqueue gives the visitor a group of steps, for which a slot has been taken.
func (v *visitor) enqueue(ctx context.Context, group []Step) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.queue = append(v.queue, group)
	if !v.active {
		v.active = true
		v.r.working.Go(func() {
			for group := v.dequeue(); group != nil; group = v.dequeue() {
				v.do(ctx, group)
				v.r.slots.Release(1)
			}
		})
	}
}

func (v *visitor) dequeue() []Step {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.queue) == 0 {
		v.active = false
		return nil
	}
	group := v.queue[0]
	v.queue = v.queue[1:]
	return group
}

// item is a step on its way.
type item struct {
	step     Step
	event    schema.Event   // as it is sent
	began    time.Time      // from which its latency counts
	outcome  ledger.Outcome // "" until it is known
	settled  time.Time
	attempts int
	reached  bool // an attempt may have come to the store
	status   int
	detail   string
}

// do carries out a group of steps, and files what has become of them.
func (v *visitor) do(ctx context.Context, group []Step) {
	if v.left {
		v.r.tally.skip(len(group))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, v.r.cfg.Patience)
	defer cancel()
	now := time.Now()
	items := make([]*item, len(group))
	for i, step := range group {
		items[i] = &item{step: step, event: step.Event, began: step.At}
		if v.r.cfg.AsFastAsPossible {
			items[i].began = now
			items[i].event.EventTime = step.Event.EventTime.Add(now.Sub(step.At)).UTC().Truncate(time.Millisecond)
		}
		if before, ok := v.events[step.Event.EventID]; ok && step.Duplicate {
			items[i].event = before.event
		}
	}
	if err := v.deliver(ctx, items); err != nil {
		for _, it := range items {
			if it.outcome != "" {
				continue
			}
			it.settle(ledger.Unacknowledged, err)
			if it.reached {
				it.outcome = ledger.Unknown
			}
			v.left = true
		}
	}
	for _, it := range items {
		v.r.record(v.entry(it))
	}
}

// entry is the outcome of an item as the ledger has it.
func (v *visitor) entry(it *item) ledger.Entry {
	e := ledger.Entry{
		Outcome: it.outcome, Event: it.event, Payload: it.step.Payload, PlannedAt: it.step.At, Attempts: it.attempts,
		LatencyMS: float64(it.settled.Sub(it.began).Microseconds()) / 1000,
		Status:    it.status, Detail: it.detail, Late: it.step.Late, Duplicate: it.step.Duplicate,
	}
	if it.outcome == ledger.Acknowledged {
		e.AcknowledgedAt = it.settled.UTC().Truncate(time.Millisecond)
	}
	if it.step.Bad() {
		e.Event = schema.Event{}
		return e
	}
	before, ok := v.events[it.event.EventID]
	if ok && before.outcome == ledger.Acknowledged && it.outcome == ledger.Acknowledged {
		e.Outcome = ledger.Repeated
	}
	if !ok || before.outcome != ledger.Acknowledged {
		v.events[it.event.EventID] = it
	}
	return e
}

// deliver sends the items, those without an outcome again and again, until ctx
// ends.
func (v *visitor) deliver(ctx context.Context, items []*item) error {
	if items[0].step.Bad() {
		return retry(ctx, func() error { return v.post(ctx, items, items[0].step.Payload) })
	}
	if v.userID == "" {
		if err := retry(ctx, func() error { return v.openPage(ctx) }); err != nil {
			return fmt.Errorf("opening the page: %w", err)
		}
	}
	for _, it := range items {
		it.event.UserID = v.userID
	}
	return retry(ctx, func() error {
		var open []*item
		for _, it := range items {
			if it.outcome == "" {
				open = append(open, it)
			}
		}
		body, err := encode(open)
		if err != nil {
			return backoff.Permanent(err)
		}
		return v.post(ctx, open, body)
	})
}

func retry(ctx context.Context, attempt func() error) error {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = 50*time.Millisecond, 2*time.Second
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := attempt()
		if err != nil && ctx.Err() == nil {
			last = err
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(0)) // the context is the end
	if err != nil && last != nil {
		return last // says more than that the time is over
	}
	return err
}

// encode writes events as the page does, without the user: the cookie says who it
// is. One goes alone and several as an array.
func encode(items []*item) ([]byte, error) {
	bodies := make([]map[string]string, len(items))
	for i, it := range items {
		bodies[i] = map[string]string{
			"event_id": it.event.EventID, "event_type": string(it.event.EventType), "book_id": it.event.BookID,
			"event_time": it.event.EventTime.Format(schema.TimeLayout),
		}
	}
	if len(bodies) == 1 {
		return json.Marshal(bodies[0])
	}
	return json.Marshal(bodies)
}

// openPage gets the page, with which comes the cookie.
func (v *visitor) openPage(ctx context.Context) error {
	page, err := v.request(ctx, http.MethodGet, "/", nil)
	switch {
	case err != nil:
		return err
	case page.status != http.StatusOK:
		return page.again(errors.New(refusal(page.status, page.content)))
	}
	for _, cookie := range v.client.Jar.Cookies(page.url) {
		if cookie.Name == "user_id" {
			v.userID = cookie.Value
			return nil
		}
	}
	return backoff.Permanent(errors.New("it comes without the cookie user_id"))
}

// post makes one request for the items and gives an outcome to each that has one.
// Its error says why some have none.
func (v *visitor) post(ctx context.Context, items []*item, body []byte) error {
	for _, it := range items {
		it.attempts++
	}
	answer, err := v.request(ctx, http.MethodPost, "/events", body)
	if err != nil {
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "dial" {
			for _, it := range items {
				it.reached = true
			}
		}
		return err
	}
	results := make([]struct {
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}, len(items))
	for i := range results {
		results[i].Status, results[i].Detail = answer.status, refusal(answer.status, answer.content)
	}
	if len(items) > 1 {
		var said struct {
			Results json.RawMessage `json:"results"`
		}
		// An answer without results is of the whole request.
		if json.Unmarshal(answer.content, &said) == nil && said.Results != nil {
			if err := json.Unmarshal(said.Results, &results); err != nil || len(results) != len(items) {
				return fmt.Errorf("the store answered %d with results that are not those of %d events", answer.status, len(items))
			}
		}
	}
	var remaining error
	for i, result := range results {
		it := items[i]
		it.status = result.Status
		switch {
		case result.Status == http.StatusAccepted:
			it.settle(ledger.Acknowledged, nil)
		case result.Status == http.StatusTooManyRequests: // not taken
			remaining = errors.New(result.Detail)
		case result.Status >= 400 && result.Status < 500 && result.Status != http.StatusRequestTimeout:
			it.settle(ledger.Refused, errors.New(result.Detail))
		default:
			it.reached = true
			remaining = errors.New(result.Detail)
		}
	}
	if remaining == nil {
		return nil
	}
	return answer.again(remaining)
}

func (it *item) settle(outcome ledger.Outcome, err error) {
	it.outcome, it.settled = outcome, time.Now()
	if err != nil {
		it.detail = err.Error()
	}
}

func refusal(status int, content []byte) string {
	const most = 300 // of a message
	content = content[:min(len(content), most)]
	return fmt.Sprintf("the store answered %d: %s", status, bytes.ToValidUTF8(bytes.TrimSpace(content), []byte("?")))
}

// answer is what the store said to one request.
type answer struct {
	url        *url.URL
	status     int
	content    []byte
	retryAfter string
}

// again is err, to be tried again when the store says.
func (a answer) again(err error) error {
	if seconds, parseErr := strconv.Atoi(a.retryAfter); parseErr == nil {
		return fmt.Errorf("%w (%w)", err, backoff.RetryAfter(seconds))
	}
	return err
}

// request makes one request and reads its answer.
func (v *visitor) request(ctx context.Context, method, path string, body []byte) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, v.r.cfg.StoreURL+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, backoff.Permanent(err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := v.client.Do(request)
	if err != nil {
		return answer{}, err
	}
	content, err := io.ReadAll(response.Body)
	response.Body.Close()
	return answer{request.URL, response.StatusCode, content, response.Header.Get("Retry-After")}, err
}
