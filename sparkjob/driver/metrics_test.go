package driver

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestServeMetrics(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := &watcher{config: Config{MetricsAddr: listener.Addr().String()}, out: &out, tracker: runningTracker()}
	w.serveMetrics(t.Context())() // another driver has the address: no reason not to run the job
	if !strings.Contains(out.String(), "Metrics are not served") || !strings.Contains(out.String(), "SPARKJOB_METRICS_ADDR") {
		t.Errorf("it says %q", out.String())
	}
	listener.Close()
	stop := w.serveMetrics(t.Context())
	for path, want := range map[string]string{"/metrics": `bookstore_job_query_state{query="events",state="running"} 1`, "/healthz": `{"status":"alive"}`} {
		response, err := http.Get("http://" + w.config.MetricsAddr + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s, %v; it lacks %s", path, response.Status, err, want)
		}
	}
	stop()
	if conn, err := net.Dial("tcp", w.config.MetricsAddr); err == nil {
		conn.Close()
		t.Error("it listens after its end")
	}
	out.Reset()
	w.config.MetricsAddr = ""
	w.serveMetrics(t.Context())()
	if out.Len() > 0 {
		t.Errorf("without an address it says %q", out.String())
	}
}

// A fact is one line for a person or one record of a log, never both.
func TestFactsAreToldOnce(t *testing.T) {
	var lines, log bytes.Buffer
	w := &watcher{out: &lines}
	w.warn("events stalled", "query stalled", "query", "events")
	w.config.Log = slog.New(slog.NewJSONHandler(&log, nil))
	w.warn("events stalled", "query stalled", "query", "events")
	w.info("events goes on", "query goes on", "query", "events")
	if lines.String() != "events stalled\n" {
		t.Errorf("lines: %q", lines.String())
	}
	var records []map[string]any
	for decoder := json.NewDecoder(&log); decoder.More(); {
		var record map[string]any
		if err := decoder.Decode(&record); err != nil {
			t.Fatal(err)
		}
		records = append(records, record)
	}
	if len(records) != 2 || records[0]["level"] != "WARN" || records[0]["msg"] != "query stalled" || records[0]["query"] != "events" || records[1]["level"] != "INFO" {
		t.Errorf("records: %v", records)
	}
}

func TestReportsThatFailAreToldOnceAndNotAtOnce(t *testing.T) {
	var out bytes.Buffer
	begin := time.Now()
	r := &reporter{watcher: &watcher{out: &out, tracker: runningTracker()}, well: begin}
	at := func(seconds int, err error) { r.noteOutcome(err, begin.Add(time.Duration(seconds)*time.Second)) }
	away := errors.New("no node answers\nat all")
	at(2, away)
	at(4, nil)
	at(6, away)
	at(12, away)
	if out.Len() > 0 {
		t.Errorf("after a few seconds it says %q", out.String())
	}
	at(14, away)
	at(60, away)
	at(62, nil)
	at(64, nil)
	want := "The state of the queries cannot be written to Cassandra: no node answers\nThe state of the queries is written to Cassandra again\n"
	if out.String() != want {
		t.Errorf("it says %q, want %q", out.String(), want)
	}
	if n := r.tracker.failedReports.Load(); n != 5 {
		t.Errorf("%d reports count as failed, want 5", n)
	}
}
