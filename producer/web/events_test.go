package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"example.com/bookstore/producer/publisher"
	"example.com/bookstore/schema"
)

const (
	id   = "01890a5d-ac96-774b-bcce-b302099a8057"
	good = `{"event_id":"` + id + `","event_type":"description_open","event_time":"2026-03-01T11:59:58.5Z","user_id":"alice","book_id":"middlemarch"}`
)

func TestPostEvent(t *testing.T) {
	p := &fakePublisher{}
	w := send(newServer(t, p), http.MethodPost, "/events", good)
	if w.Code != http.StatusAccepted || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("got %d %s, want 202 application/json", w.Code, w.Header().Get("Content-Type"))
	}
	sameJSON(t, w.Body.String(), `{"event_id":"`+id+`"}`)
	want := schema.Event{
		EventID: id, EventType: schema.DescriptionOpen, EventTime: time.Date(2026, 3, 1, 11, 59, 58, 5e8, time.UTC),
		UserID: "alice", BookID: "middlemarch",
	}
	if got := p.events(t); !slices.Equal(got, []schema.Event{want}) {
		t.Errorf("published %v, want %v", got, want)
	}
}

func TestPostEventFillsWhatIsAbsent(t *testing.T) {
	for _, body := range []string{
		`{"event_type":"purchase","book_id":"middlemarch"}`,
		`{"event_id":null,"event_type":"purchase","event_time":null,"user_id":null,"book_id":"middlemarch"}`,
		` {"event_type":"purchase","book_id":"middlemarch","unknown":{"a":[1]},"EVENT_ID":7} `,
	} {
		p := &fakePublisher{}
		w := send(newServer(t, p), http.MethodPost, "/events", body)
		if w.Code != http.StatusAccepted {
			t.Fatalf("%s: status = %d\n%s", body, w.Code, w.Body)
		}
		e := p.events(t)[0]
		sameJSON(t, w.Body.String(), `{"event_id":"`+e.EventID+`"}`)
		if e.EventID[14] != '7' {
			t.Errorf("event_id = %s, want a UUIDv7", e.EventID)
		}
		if want := now.Truncate(time.Millisecond); !e.EventTime.Equal(want) {
			t.Errorf("event_time = %v, want the store's %v", e.EventTime, want)
		}
		if cookie := w.Result().Cookies()[0]; e.UserID != cookie.Value {
			t.Errorf("user_id = %s, want that of the new cookie %s", e.UserID, cookie.Value)
		}
	}
}

func TestEventIDHasOneSpelling(t *testing.T) {
	w := send(newServer(t, &fakePublisher{}), http.MethodPost, "/events", strings.ReplaceAll(good, id, strings.ToUpper(id)))
	sameJSON(t, w.Body.String(), `{"event_id":"`+id+`"}`)
}

func TestEventTimeIsBounded(t *testing.T) {
	ms := now.Truncate(time.Millisecond)
	for _, test := range []struct {
		name string
		sent time.Time
		want time.Time
	}{
		{"5 minutes ahead", ms.Add(maxAhead), ms.Add(maxAhead)},
		{"more than 5 minutes ahead", ms.Add(maxAhead + time.Millisecond), ms},
		{"24 hours behind", ms.Add(-maxBehind + time.Millisecond), ms.Add(-maxBehind + time.Millisecond)},
		{"more than 24 hours behind", ms.Add(-maxBehind), ms}, // the clock has half a millisecond more
		{"at another zone", ms.In(time.FixedZone("", 3600)), ms},
	} {
		p := &fakePublisher{}
		body := fmt.Sprintf(`{"event_type":"purchase","book_id":"middlemarch","event_time":%q}`, test.sent.Format(time.RFC3339Nano))
		send(newServer(t, p), http.MethodPost, "/events", body)
		if got := p.events(t)[0].EventTime; !got.Equal(test.want) {
			t.Errorf("%s: event_time = %v, want %v", test.name, got, test.want)
		}
	}
}

func TestBeacon(t *testing.T) {
	p := &fakePublisher{}
	w := send(newServer(t, p), http.MethodPost, "/events", "["+good+"]", "Content-Type", "text/plain;charset=UTF-8")
	if w.Code != http.StatusAccepted || len(p.events(t)) != 1 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestRefusedEvents(t *testing.T) {
	problem := func(kind, title string, status int, detail, rest string) string {
		return fmt.Sprintf(`{"type":"urn:bookstore:problem:%s","title":%q,"status":%d,"detail":%q,"instance":"/events"%s}`, kind, title, status, detail, rest)
	}
	invalid := func(pointer, detail string) string {
		return problem("invalid-event", "Not a valid event", 400, detail+".", fmt.Sprintf(`,"errors":[{"pointer":%q,"detail":%q}]`, pointer, detail))
	}
	with := func(field, value string) string {
		var o map[string]json.RawMessage
		if err := json.Unmarshal([]byte(good), &o); err != nil {
			t.Fatal(err)
		}
		if o[field] = json.RawMessage(value); value == "" {
			delete(o, field)
		}
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	const badTime = "event_time is not an RFC 3339 time such as 2006-01-02T15:04:05.000Z"
	const wrongType = "Send application/json, or a beacon's text/plain, in UTF-8."
	for _, test := range []struct {
		name, body string
		header     []string
		status     int
		want       string
	}{
		{"empty body", "", nil, 400, problem("invalid-json", "Not readable as JSON", 400, "The body is not JSON: unexpected end of JSON input.", "")},
		{"not JSON", "{", nil, 400, problem("invalid-json", "Not readable as JSON", 400, "The body is not JSON: unexpected end of JSON input.", "")},
		{"two values", good + good, nil, 400, problem("invalid-json", "Not readable as JSON", 400, "The body is not JSON: invalid character '{' after top-level value.", "")},
		{"not UTF-8", "{\"a\":\"\xff\"}", nil, 400, problem("invalid-json", "Not readable as JSON", 400, "The body is not valid UTF-8.", "")},
		{"a string", `"x"`, nil, 400, invalid("#", "the event is not a JSON object")},
		{"a number", `1`, nil, 400, invalid("#", "the event is not a JSON object")},
		{"null", `null`, nil, 400, invalid("#", "the event is not a JSON object")},
		{"event_id no UUID", with("event_id", `"1"`), nil, 400, invalid("#/event_id", "event_id is not a UUID")},
		{"event_id empty", with("event_id", `""`), nil, 400, invalid("#/event_id", "event_id is not a UUID")},
		{"event_id a number", with("event_id", `1`), nil, 400, invalid("#/event_id", "event_id is not a string")},
		{"event_type absent", with("event_type", ""), nil, 400, invalid("#/event_type", "event_type is missing")},
		{"event_type null", with("event_type", "null"), nil, 400, invalid("#/event_type", "event_type is missing")},
		{"event_type unknown", with("event_type", `"Purchase"`), nil, 400, invalid("#/event_type", "event_type is not one of description_open, description_close, purchase")},
		{"event_type a list", with("event_type", `["purchase"]`), nil, 400, invalid("#/event_type", "event_type is not a string")},
		{"event_time no time", with("event_time", `"yesterday"`), nil, 400, invalid("#/event_time", badTime)},
		{"event_time without zone", with("event_time", `"2026-03-01T12:00:00"`), nil, 400, invalid("#/event_time", badTime)},
		{"event_time empty", with("event_time", `""`), nil, 400, invalid("#/event_time", badTime)},
		{"event_time a number", with("event_time", `1772366400`), nil, 400, invalid("#/event_time", "event_time is not a string")},
		{"user_id empty", with("user_id", `""`), nil, 400, invalid("#/user_id", "user_id has 0 characters, not 1 to 64")},
		{"user_id too long", with("user_id", `"`+strings.Repeat("é", 65)+`"`), nil, 400, invalid("#/user_id", "user_id has 65 characters, not 1 to 64")},
		{"user_id an object", with("user_id", `{}`), nil, 400, invalid("#/user_id", "user_id is not a string")},
		{"book_id absent", with("book_id", ""), nil, 400, invalid("#/book_id", "book_id is missing")},
		{"book_id unknown", with("book_id", `"cooking-for-cats"`), nil, 400, invalid("#/book_id", "book_id is not in the catalogue")},
		{"book_id a number", with("book_id", `5`), nil, 400, invalid("#/book_id", "book_id is not a string")},
		{"two errors", `{"event_type":1}`, nil, 400, problem("invalid-event", "Not a valid event", 400, "event_type is not a string; book_id is missing.",
			`,"errors":[{"pointer":"#/event_type","detail":"event_type is not a string"},{"pointer":"#/book_id","detail":"book_id is missing"}]`)},
		{"event over 64 KiB", with("note", `"`+strings.Repeat("x", schema.MaxPayload)+`"`), nil, 413, problem("too-large", "Request Entity Too Large", 413, "The event has more than 64 KiB.", "")},
		{"body over 1 MiB", with("note", `"`+strings.Repeat("x", 1<<20)+`"`), nil, 413, problem("too-large", "Request Entity Too Large", 413, "The body has more than 1 MiB.", "")},
		{"501 events", "[" + strings.Repeat("0,", 500) + "0]", nil, 413, problem("too-large", "Request Entity Too Large", 413, "The array has 501 events, more than 500.", "")},
		{"no events", "[ ]", nil, 400, problem("invalid-event", "Not a valid event", 400, "The array is empty.", "")},
		{"a form", good, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, problem("unsupported-type", "Unsupported Media Type", 415, wrongType, "")},
		{"no type", good, []string{"Content-Type", ""}, 415, problem("unsupported-type", "Unsupported Media Type", 415, wrongType, "")},
		{"another charset", good, []string{"Content-Type", "application/json; charset=latin1"}, 415, problem("unsupported-type", "Unsupported Media Type", 415, wrongType, "")},
		{"compressed", good, []string{"Content-Encoding", "gzip"}, 415, problem("unsupported-type", "Unsupported Media Type", 415, "Send the body without a content coding.", "")},
		{"another site's page", good, []string{"Sec-Fetch-Site", "cross-site"}, 403, problem("cross-site", "Forbidden", 403, "A page of another site cannot send events here.", "")},
		{"another site's page, older browser", good, []string{"Origin", "https://elsewhere.example"}, 403, problem("cross-site", "Forbidden", 403, "A page of another site cannot send events here.", "")},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &fakePublisher{}
			w := send(newServer(t, p), http.MethodPost, "/events", test.body, test.header...)
			if w.Code != test.status {
				t.Errorf("status = %d, want %d", w.Code, test.status)
			}
			if got := w.Header().Get("Content-Type"); got != problemJSON {
				t.Errorf("content type = %q, want %q", got, problemJSON)
			}
			sameJSON(t, w.Body.String(), test.want)
			if len(p.records) > 0 {
				t.Errorf("published %s", p.records[0].Value)
			}
			if len(w.Result().Cookies()) > 0 {
				t.Error("a refused event gave a cookie")
			}
		})
	}
}

// The size of a body without Content-Length shows only while it is read.
func TestBodyOfUnknownLengthIsLimited(t *testing.T) {
	s := newServer(t, &fakePublisher{})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/events", iotest.HalfReader(strings.NewReader(strings.Repeat(" ", 2<<20))))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("status = %d, want 413", w.Code)
	}
}

func TestNotAcknowledged(t *testing.T) {
	for _, test := range []struct {
		err        error
		retryAfter string
		want       string
	}{
		{
			fmt.Errorf("%w: timed out", publisher.ErrNotDelivered), "2",
			`{"type":"urn:bookstore:problem:not-acknowledged","title":"Not acknowledged","status":503,"detail":"The event was not confirmed in time. Send it again with the same event_id.","instance":"/events","event_id":"` + id + `"}`,
		},
		{
			publisher.ErrQueueFull, "1",
			`{"type":"urn:bookstore:problem:busy","title":"Too many events at once","status":503,"detail":"Too many events wait already. Send it again a little later.","instance":"/events","event_id":"` + id + `"}`,
		},
		{
			publisher.ErrClosed, "2",
			`{"type":"urn:bookstore:problem:stopping","title":"The store is stopping","status":503,"detail":"This store takes no more events. Send it again a little later.","instance":"/events","event_id":"` + id + `"}`,
		},
	} {
		w := send(newServer(t, &fakePublisher{errs: map[int]error{0: test.err}}), http.MethodPost, "/events", good)
		if w.Code != 503 || w.Header().Get("Retry-After") != test.retryAfter || w.Header().Get("Content-Type") != problemJSON {
			t.Errorf("%v: got %d, %v", test.err, w.Code, w.Header())
		}
		sameJSON(t, w.Body.String(), test.want)
	}
}

func TestPostBatch(t *testing.T) {
	bad := `{"event_id":"1","event_type":"purchase","book_id":"middlemarch"}`
	other := strings.ReplaceAll(good, "8057", "8058")
	const (
		stored   = `{"event_id":"` + id + `","status":202}`
		badSaid  = `{"status":400,"detail":"event_id is not a UUID.","errors":[{"pointer":"#/event_id","detail":"event_id is not a UUID"}]}`
		lostSaid = `{"event_id":"` + id + `","status":503,"detail":"The event was not confirmed in time. Send it again with the same event_id."}`
	)
	otherStored := strings.ReplaceAll(stored, "8057", "8058")
	for _, test := range []struct {
		name       string
		items      []string
		errs       map[int]error
		status     int
		retryAfter string
		want       string
	}{
		{"all stored", []string{good, other}, nil, 202, "", `{"results":[` + stored + `,` + otherStored + `]}`},
		{"one bad", []string{bad, other}, nil, 207, "", `{"results":[` + badSaid + `,` + otherStored + `]}`},
		{
			"one too large", []string{`{"x":"` + strings.Repeat("x", schema.MaxPayload) + `"}`, good}, nil, 207, "",
			`{"results":[{"status":413,"detail":"The event has more than 64 KiB."},` + stored + `]}`,
		},
		{
			"all bad", []string{bad, "7"}, nil, 400, "",
			`{"type":"urn:bookstore:problem:invalid-event","title":"Not a valid event","status":400,"detail":"None of the events is valid; see the results.","instance":"/events","results":[` +
				badSaid + `,{"status":400,"detail":"the event is not a JSON object.","errors":[{"pointer":"#","detail":"the event is not a JSON object"}]}]}`,
		},
		{
			"one bad, one lost, one stored", []string{bad, good, other}, map[int]error{0: publisher.ErrNotDelivered}, 207, "2",
			`{"results":[` + badSaid + `,` + lostSaid + `,` + otherStored + `]}`,
		},
		{
			"one bad, one lost", []string{bad, good}, map[int]error{0: publisher.ErrNotDelivered}, 503, "2",
			`{"type":"urn:bookstore:problem:not-acknowledged","title":"Not acknowledged","status":503,"detail":"None of the events was confirmed; see the results.","instance":"/events","results":[` + badSaid + `,` + lostSaid + `]}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := send(newServer(t, &fakePublisher{errs: test.errs}), http.MethodPost, "/events", "["+strings.Join(test.items, ",")+"]")
			if w.Code != test.status || w.Header().Get("Retry-After") != test.retryAfter {
				t.Errorf("got %d, Retry-After %q, want %d, %q", w.Code, w.Header().Get("Retry-After"), test.status, test.retryAfter)
			}
			sameJSON(t, w.Body.String(), test.want)
		})
	}
}

func TestBatchKeepsItsOrderAndVisitor(t *testing.T) {
	p := &fakePublisher{}
	var items []string
	for i := range maxBatch {
		items = append(items, fmt.Sprintf(`{"event_id":"01890a5d-ac96-774b-bcce-%012d","event_type":"purchase","book_id":"middlemarch"}`, i))
	}
	w := send(newServer(t, p), http.MethodPost, "/events", "["+strings.Join(items, ",")+"]")
	if w.Code != http.StatusAccepted || len(w.Result().Cookies()) != 1 {
		t.Fatalf("got %d with %d cookies, want 202 with one", w.Code, len(w.Result().Cookies()))
	}
	events := p.events(t)
	if len(events) != maxBatch {
		t.Fatalf("published %d events, want %d", len(events), maxBatch)
	}
	for i, e := range events {
		if want := fmt.Sprintf("01890a5d-ac96-774b-bcce-%012d", i); e.EventID != want || e.UserID != events[0].UserID {
			t.Fatalf("event %d is %v, want %s of one visitor", i, e, want)
		}
	}
}

// An array is read in one go or item by item, and nobody can tell.
func TestParseArray(t *testing.T) {
	event := func(id, more string) string {
		return `{"event_id":"` + id + `","event_type":"purchase","event_time":"2026-01-31T12:00:00Z","book_id":"dracula"` + more + `}`
	}
	for _, body := range []string{
		`[` + event(id, "") + `,` + event(id, `,"user_id":"emma","more":[{"a":1}]`) + `]`,
		` [ ` + event(id, `,"user_id":""`) + ` , ` + event("no UUID", "") + `,` + event(id, `,"EVENT_ID":"x"`) + `]`,
		`[` + event(id, `,"user_id":7`) + `,` + event(id, "") + `,null,{"event_id":"x"},[],"text"]`,
		`[` + event(id, `,"user_id":null`) + `,` + event(id, `,"user_id":"`+strings.Repeat("x", schema.MaxPayload)+`"`) + `]`,
	} {
		got, err := parseArray([]byte(body), now)
		if err != nil {
			t.Fatalf("%.100s: %v", body, err)
		}
		want, err := parseItems([]byte(body), now)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%.100s\nread at once %+v\none by one  %+v, %v", body, got, want, err)
		}
	}
	if _, err := parseArray([]byte(`[]`), now); !reflect.DeepEqual(err, checkLength(0)) {
		t.Errorf("an empty array: %v", err)
	}
	// Nothing is made of the items of an array that is too long.
	long := []byte("[{}" + strings.Repeat(",{}", maxBatch) + "]")
	for _, parse := range []func([]byte, time.Time) ([]item, error){parseArray, parseItems} {
		if items, err := parse(long, now); items != nil || !reflect.DeepEqual(err, checkLength(maxBatch+1)) {
			t.Errorf("%d items and %v of an array that is too long", len(items), err)
		}
	}
	for _, body := range []string{`[`, `[{"event_id":"a"},]`, `[{}] x`, `[{"event_id":tru}]`} {
		if items, err := parseArray([]byte(body), now); err == nil {
			t.Errorf("%s is read as %+v", body, items)
		}
	}
}
