package driver

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
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
	if _, err := http.Get("http://" + w.config.MetricsAddr + "/metrics"); err == nil {
		t.Error("it answers after its end")
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
