// Package visitors simulates people in the store, over HTTP and just as the page
// does it: they come, open a description, read, close it, and sometimes buy. It
// stands before the data's path and says what must come out at its end.
package visitors

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"example.com/bookstore/schema"
)

// Config says who comes and how they behave. Zero values take the defaults.
type Config struct {
	StoreURL string // such as http://127.0.0.1:5001
	Visitors int    // who come, all at once; 5 by default
	Books    int    // that each looks at; 4 by default
	Seed     uint64 // the same seed makes the same choices

	// Reading is the average time that a description stays open; 50ms by default.
	// Negative: none at all.
	Reading time.Duration
	// Patience is how long an event is sent again that the store does not
	// acknowledge; 30s by default.
	Patience time.Duration
	// Transport carries the requests; one of its own by default.
	Transport http.RoundTripper
}

func (c Config) withDefaults() (Config, error) {
	base, err := url.Parse(c.StoreURL)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return c, fmt.Errorf("visiting the store: %q is no URL such as http://127.0.0.1:5001", c.StoreURL)
	}
	c.StoreURL = strings.TrimSuffix(c.StoreURL, "/")
	if c.Visitors <= 0 {
		c.Visitors = 5
	}
	if c.Books <= 0 {
		c.Books = 4
	}
	if c.Reading == 0 {
		c.Reading = 50 * time.Millisecond
	}
	if c.Patience <= 0 {
		c.Patience = 30 * time.Second
	}
	return c, nil
}

// Run lets the visitors come and returns once all have gone. It returns every
// event that the store has acknowledged, visitor by visitor and in each one's
// order, also when it returns an error: the first visitor's who could not go on.
func Run(ctx context.Context, cfg Config) ([]schema.Event, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.Transport == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConnsPerHost = cfg.Visitors
		defer transport.CloseIdleConnections()
		cfg.Transport = transport
	}
	acknowledged := make([][]schema.Event, cfg.Visitors)
	group, ctx := errgroup.WithContext(ctx)
	for i := range cfg.Visitors {
		group.Go(func() error {
			v := &visitor{cfg: cfg, random: rand.New(rand.NewPCG(cfg.Seed, uint64(i)))}
			err := v.visit(ctx)
			acknowledged[i] = v.acknowledged
			if err != nil {
				return fmt.Errorf("visitor %d of %d: %w", i+1, cfg.Visitors, err)
			}
			return nil
		})
	}
	err = group.Wait()
	var events []schema.Event
	for _, of := range acknowledged {
		events = append(events, of...)
	}
	return events, err
}

// visitor is one person with a browser.
type visitor struct {
	cfg          Config
	random       *rand.Rand
	client       *http.Client
	userID       string
	books        []string // ids on the page
	acknowledged []schema.Event
}

// chanceToBuy is how many of those who have read a description buy the book.
const chanceToBuy = 0.3

func (v *visitor) visit(ctx context.Context) error {
	if err := v.openPage(ctx); err != nil {
		return fmt.Errorf("opening the page: %w", err)
	}
	for range v.cfg.Books {
		book := v.books[v.random.IntN(len(v.books))]
		if err := v.do(ctx, schema.DescriptionOpen, book); err != nil {
			return err
		}
		if err := v.read(ctx); err != nil {
			return err
		}
		if err := v.do(ctx, schema.DescriptionClose, book); err != nil {
			return err
		}
		if v.random.Float64() < chanceToBuy {
			if err := v.do(ctx, schema.Purchase, book); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *visitor) read(ctx context.Context) error {
	if v.cfg.Reading < 0 {
		return nil
	}
	select {
	case <-time.After(time.Duration((0.5 + v.random.Float64()) * float64(v.cfg.Reading))):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var bookHook = regexp.MustCompile(`data-book-id="([^"]+)"`)

// openPage gets the page, from which come the cookie and the books.
func (v *visitor) openPage(ctx context.Context) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	v.client = &http.Client{Jar: jar, Transport: v.cfg.Transport, Timeout: 70 * time.Second}
	page, err := v.send(ctx, http.MethodGet, "/", nil, http.StatusOK)
	if err != nil {
		return err
	}
	for _, match := range bookHook.FindAllSubmatch(page, -1) {
		v.books = append(v.books, string(match[1]))
	}
	if len(v.books) == 0 {
		return errors.New("there are no books on it")
	}
	address, err := url.Parse(v.cfg.StoreURL + "/")
	if err != nil {
		return err
	}
	for _, cookie := range jar.Cookies(address) {
		if cookie.Name == "user_id" {
			v.userID = cookie.Value
		}
	}
	if v.userID == "" {
		return errors.New("it comes without the cookie user_id")
	}
	return nil
}

// do sends one event, the same one until the store acknowledges it.
func (v *visitor) do(ctx context.Context, kind schema.EventType, book string) error {
	event := schema.Event{
		EventID: uuid.NewString(), EventType: kind, EventTime: time.Now().UTC().Truncate(time.Millisecond),
		UserID: v.userID, BookID: book,
	}
	body, err := json.Marshal(map[string]string{ // as the page does, without the user: the cookie says who it is
		"event_id": event.EventID, "event_type": string(kind), "book_id": book,
		"event_time": event.EventTime.Format(schema.TimeLayout),
	})
	if err != nil {
		return err
	}
	if _, err := v.send(ctx, http.MethodPost, "/events", body, http.StatusAccepted); err != nil {
		return fmt.Errorf("sending %s of %s: %w", kind, book, err)
	}
	v.acknowledged = append(v.acknowledged, event)
	return nil
}

// send makes one request until it is answered with the wanted status. It gives up
// when the store refuses it, or after the visitor's patience.
func (v *visitor) send(ctx context.Context, method, path string, body []byte, want int) ([]byte, error) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = 50*time.Millisecond, 2*time.Second
	return backoff.Retry(ctx, func() ([]byte, error) {
		return v.try(ctx, method, path, body, want)
	}, backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(v.cfg.Patience))
}

func (v *visitor) try(ctx context.Context, method, path string, body []byte, want int) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, v.cfg.StoreURL+path, bytes.NewReader(body))
	if err != nil {
		return nil, backoff.Permanent(err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := v.client.Do(request)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(answer.Body)
	err = errors.Join(err, answer.Body.Close())
	switch {
	case err != nil:
		return nil, err
	case answer.StatusCode == want:
		return content, nil
	}
	err = fmt.Errorf("the store answered %d: %s", answer.StatusCode, bytes.TrimSpace(content))
	if answer.StatusCode != http.StatusServiceUnavailable && answer.StatusCode != http.StatusTooManyRequests {
		return nil, backoff.Permanent(err)
	}
	if seconds, parseErr := strconv.Atoi(answer.Header.Get("Retry-After")); parseErr == nil {
		return nil, fmt.Errorf("%w (%w)", err, backoff.RetryAfter(seconds))
	}
	return nil, err
}
