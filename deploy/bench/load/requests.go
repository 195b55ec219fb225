package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"example.com/bookstore/producer/catalogue"
	"example.com/bookstore/schema"
)

const (
	// visitors of each connection, for single events. Together they are far more than would
	// come near what the store lets one visitor send in a second.
	visitors    = 100
	minVisitors = 4 // for arrays, which are fewer and larger: they should stay in the processor's caches

	idField  = `"event_id":"`
	idLength = 36 // of a UUID
)

// requests makes those of one connection. They are written beforehand; on the way each
// event gets an id of its own only, so that sending costs little.
type requests struct {
	visitors []visitor
	turn     int
	events   uint64 // so far
}

// visitor is who sends a request.
type visitor struct {
	request []byte
	ids     [][]byte // parts of the request
}

// newRequests makes those of the connection of that number, with so many events each.
func newRequests(target *url.URL, connection, events int) *requests {
	r := &requests{visitors: make([]visitor, max(visitors/events, minVisitors))}
	books, types := catalogue.Books(), schema.EventTypes()
	now := time.Now()
	for i := range r.visitors {
		name := fmt.Sprintf("visitor-%d-of-connection-%d", i, connection)
		var body []byte
		var starts []int // of the ids
		for n := range events {
			event, err := json.Marshal(schema.Event{
				EventID: schema.NewEventID(), EventType: types[(i+n)%len(types)], EventTime: now,
				UserID: name, BookID: books[(i*7+n)%len(books)].ID,
			})
			if err != nil {
				panic(err) // an event of ours
			}
			if events > 1 {
				body = append(body, "[,"[min(n, 1)])
			}
			starts = append(starts, len(body)+bytes.Index(event, []byte(idField))+len(idField))
			body = append(body, event...)
		}
		if events > 1 {
			body = append(body, ']')
		}
		// By the cookie the store knows who comes.
		head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nCookie: user_id=%s\r\nContent-Length: %d\r\n\r\n",
			target.RequestURI(), target.Host, name, len(body))
		v := &r.visitors[i]
		v.request = append([]byte(head), body...)
		for _, start := range starts {
			start += len(head)
			v.ids = append(v.ids, v.request[start:start+idLength])
		}
	}
	return r
}

// next returns the next request, which is valid until its visitor's turn comes again.
func (r *requests) next() []byte {
	r.turn = (r.turn + 1) % len(r.visitors)
	v := &r.visitors[r.turn]
	for _, id := range v.ids {
		r.events++
		renew(id, r.events)
	}
	return v.request
}

// renew makes an id another one, by its last 12 digits. What is before them is random and
// differs from event to event of all connections and runs, so that no id comes twice.
func renew(id []byte, n uint64) {
	const digits = "0123456789abcdef"
	for i := idLength - 1; i >= idLength-12; i-- {
		id[i] = digits[n&15]
		n >>= 4
	}
}

// eventID is that of the first event of the request that next has returned.
func (r *requests) eventID() string { return string(r.visitors[r.turn].ids[0]) }
