package web

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// hostileInput is a request that means no good, or does not know better, and the answer
// that it gets.
type hostileInput struct {
	Name    string
	Method  string
	Path    string
	Headers map[string]string
	Body    hostileBody
	Status  int
	Type    string // of the problem; "" for an answer that is none
}

// hostileBody is Base64, decoded, or the other parts one after another.
type hostileBody struct {
	Prefix, Repeat string
	Times          int
	Suffix         string
	Base64         []byte
}

func (b hostileBody) text() string {
	if b.Base64 != nil {
		return string(b.Base64)
	}
	return b.Prefix + strings.Repeat(b.Repeat, b.Times) + b.Suffix
}

// hostileInputs reads testdata/hostile.json.
func hostileInputs(t testing.TB) []hostileInput {
	t.Helper()
	text, err := os.ReadFile("testdata/hostile.json")
	if err != nil {
		t.Fatal(err)
	}
	var inputs []hostileInput
	if err := json.Unmarshal(text, &inputs); err != nil {
		t.Fatal(err)
	}
	if len(inputs) < 60 {
		t.Fatalf("there are only %d inputs", len(inputs))
	}
	return inputs
}

// check holds an answer against what is expected, and the topic with it.
func (h hostileInput) check(t *testing.T, p *fakePublisher, status int, header http.Header, body []byte) {
	t.Helper()
	if status != h.Status {
		t.Errorf("status = %d, want %d\n%.300s", status, h.Status, body)
	}
	if header.Get("Content-Security-Policy") == "" || header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the answer lacks the security headers: %v", header)
	}
	if h.Type != "" {
		var problem struct {
			Type   string
			Status int
		}
		if err := json.Unmarshal(body, &problem); err != nil {
			t.Errorf("the answer is no problem: %v\n%.300s", err, body)
		}
		want := h.Type
		if want != "about:blank" {
			want = problemPrefix + want
		}
		if problem.Type != want || problem.Status != h.Status || header.Get("Content-Type") != problemJSON {
			t.Errorf("%s of type %s and status %d, want %s and %d", header.Get("Content-Type"), problem.Type, problem.Status, want, h.Status)
		}
		if len(p.records) > 0 {
			t.Errorf("a refused request has published %s", p.records[0].Value)
		}
		return
	}
	events := p.events(t) // each valid
	if h.Method == http.MethodPost && len(events) == 0 {
		t.Error("nothing was published")
	}
	if strings.Contains(string(body), "<script>alert") {
		t.Errorf("the page holds a script of the visitor's")
	}
}

func TestHostileInputs(t *testing.T) {
	p := &fakePublisher{}
	s := newServer(t, p)
	for _, h := range hostileInputs(t) {
		t.Run(h.Name, func(t *testing.T) {
			p.records = nil
			var header []string
			for name, value := range h.Headers {
				header = append(header, name, value)
			}
			w := send(s, h.Method, h.Path, h.Body.text(), header...)
			h.check(t, p, w.Code, w.Header(), w.Body.Bytes())
		})
	}
}

// The same over the network, on one server.
func TestHostileInputsOverTheNetwork(t *testing.T) {
	p := &fakePublisher{}
	s := newServer(t, p)
	l := listen(t)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	client := &http.Client{
		Transport:     &http.Transport{DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for _, h := range hostileInputs(t) {
		t.Run(h.Name, func(t *testing.T) {
			p.mu.Lock()
			p.records = nil
			p.mu.Unlock()
			request, err := http.NewRequestWithContext(t.Context(), h.Method, "http://"+l.Addr().String()+h.Path, strings.NewReader(h.Body.text()))
			if err != nil {
				t.Fatal(err)
			}
			if h.Method == http.MethodPost {
				request.Header.Set("Content-Type", "application/json")
			}
			for name, value := range h.Headers {
				request.Header.Set(name, value)
			}
			answer, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(answer.Body)
			if err := errors.Join(err, answer.Body.Close()); err != nil {
				t.Fatal(err)
			}
			h.check(t, p, answer.StatusCode, answer.Header, body)
		})
	}
	client.CloseIdleConnections()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// What no HTTP client would send, byte by byte. Where net/http itself answers, it is not
// with a problem.
func TestHostileBytes(t *testing.T) {
	post := func(headers, body string) string {
		return "POST /events HTTP/1.1\r\nHost: store\r\nContent-Type: application/json\r\n" + headers + "\r\n" + body
	}
	length := func(n int) string { return fmt.Sprintf("Content-Length: %d\r\n", n) }
	chunked := "Transfer-Encoding: chunked\r\n"
	inOneChunk := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(good), good)
	for _, test := range []struct {
		name   string
		send   string
		end    bool   // sends no more, rather than waiting
		status int    // 0: the connection is closed without an answer
		kind   string // of the problem, if it is one
		stored int
	}{
		{"a good event", post(length(len(good)), good), false, 202, "", 1},
		{"a good event in a chunk", post(chunked, inOneChunk), false, 202, "", 1},
		{"a good event, byte by byte in chunks", post(chunked, byteByByte(good)), false, 202, "", 1},
		{"nothing", "", true, 0, "", 0},
		{"nothing, and no end", "", false, 0, "", 0},
		{"noise", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x8f", 500) + "\r\n\r\n", false, 400, "", 0},
		{"half a request line", "POST /eve", false, 400, "", 0},
		{"headers without end", "POST /events HTTP/1.1\r\nHost: store\r\nX: ", false, 0, "", 0},
		{"a header of 64 KiB", post("X: "+strings.Repeat("x", 64<<10)+"\r\n"+length(len(good)), good), false, 431, "", 0},
		{"5,000 headers", post(strings.Repeat("X: y1234567\r\n", 5000)+length(len(good)), good), false, 431, "", 0},
		{"a path of 64 KiB", "GET /" + strings.Repeat("x", 64<<10) + " HTTP/1.1\r\nHost: store\r\n\r\n", false, 431, "", 0},
		{"a cookie of 64 KiB", post("Cookie: user_id="+strings.Repeat("x", 64<<10)+"\r\n"+length(len(good)), good), false, 431, "", 0},
		{"no host", "GET / HTTP/1.1\r\n\r\n", false, 400, "", 0},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", false, 400, "", 0},
		{"a host that is none", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", false, 400, "", 0},
		{"a NUL in a header", post("X: a\x00b\r\n"+length(len(good)), good), false, 400, "", 0},
		{"a space before the colon", post("X : y\r\n"+length(len(good)), good), false, 400, "", 0},
		{"a header without a colon", post("X\r\n"+length(len(good)), good), false, 400, "", 0},
		{"a version that does not exist", "GET / HTTP/3.7\r\nHost: store\r\n\r\n", false, 505, "", 0},
		{"a method that is none", "G(T / HTTP/1.1\r\nHost: store\r\n\r\n", false, 400, "", 0},
		{"a negative length", post("Content-Length: -1\r\n", good), false, 400, "", 0},
		{"a length that is none", post("Content-Length: 0x10\r\n", good), false, 400, "", 0},
		{"a length beyond all", post("Content-Length: 99999999999999999999\r\n", good), false, 400, "", 0},
		{"two lengths", post(length(len(good))+length(1), good), false, 400, "", 0},
		{"a length of 1 TiB", post(length(1<<40), "{"), false, 413, "too-large", 0},
		{"a length of 1 TiB, and asking before sending it", post("Expect: 100-continue\r\n"+length(1<<40), ""), false, 413, "too-large", 0},
		{"an expectation that nobody meets", post("Expect: a miracle\r\n"+length(len(good)), good), false, 417, "", 0},
		{"a coding that nobody knows", post("Transfer-Encoding: gzip, chunked\r\n", inOneChunk), false, 501, "", 0},
		{"a chunk of no size", post(chunked, "x\r\n"), false, 400, "invalid-json", 0},
		{"a chunk beyond all", post(chunked, "fffffffffffffffff\r\n"), false, 400, "invalid-json", 0},
		{"a chunk of 1 GiB that never comes", post(chunked, "40000000\r\n"), false, 408, "about:blank", 0},
		{"2 MiB in chunks", post(chunked, strings.Repeat("400\r\n"+strings.Repeat(" ", 1024)+"\r\n", 2048)), false, 413, "too-large", 0},
		{"a body that stops", post(length(len(good)), good[:20]), false, 408, "about:blank", 0},
		{"a body that ends too early", post(length(len(good)), good[:20]), true, 400, "invalid-json", 0},
		{"a chunk that ends too early", post(chunked, "ff\r\n{"), true, 400, "invalid-json", 0},
		{"a form that stops", "POST /purchases HTTP/1.1\r\nHost: store\r\nContent-Type: application/x-www-form-urlencoded\r\n" + length(100) + "\r\nbook_id=", false, 400, "about:blank", 0},
		// RFC 9112 6.3: chunked wins, and the connection is not used again.
		{"a length and chunks, to smuggle another request", post(length(5)+chunked, inOneChunk+"GET /smuggled HTTP/1.1\r\n"), false, 202, "", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := &fakePublisher{}
			s := newServer(t, p)
			s.http.ReadTimeout, s.http.ReadHeaderTimeout = 500*time.Millisecond, 300*time.Millisecond
			l := listen(t)
			served := make(chan error, 1)
			go func() { served <- s.Serve(l) }()
			defer func() {
				if err := errors.Join(s.Shutdown(t.Context()), <-served); err != nil {
					t.Error(err)
				}
			}()
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			sent := make(chan struct{})
			go func() { // the server may answer before it has read all
				defer close(sent)
				_, _ = io.WriteString(conn, test.send)
				if test.end {
					_ = conn.(*net.TCPConn).CloseWrite()
				}
			}()
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err == nil {
				defer answer.Body.Close()
			}
			if test.status == 0 {
				if err == nil {
					t.Errorf("answered with %s, want the connection closed", answer.Status)
				} else if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("the connection stays open")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != test.status {
				t.Errorf("status = %d, want %d\n%s", answer.StatusCode, test.status, body)
			}
			var problem struct{ Type string }
			_ = json.Unmarshal(body, &problem) // which net/http does not send
			want := test.kind
			if want != "" && want != "about:blank" {
				want = problemPrefix + want
			}
			if problem.Type != want {
				t.Errorf("problem of type %q, want %q\n%s", problem.Type, want, body)
			}
			if got := len(p.events(t)); got != test.stored {
				t.Errorf("%d events were published, want %d", got, test.stored)
			}
			_ = conn.Close()
			<-sent
		})
	}
}

// byteByByte is text in chunks of one byte.
func byteByByte(text string) string {
	var b strings.Builder
	for i := range len(text) {
		fmt.Fprintf(&b, "1\r\n%c\r\n", text[i])
	}
	return b.String() + "0\r\n\r\n"
}
