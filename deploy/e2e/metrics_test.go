//go:build integration

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"example.com/bookstore/schema/cassandra"
)

// freeAddress is one of the loopback address that nothing listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// metrics are what /metrics showed at one moment.
type metrics model.Vector

func scrape(url string) (metrics, error) {
	response, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", url, response.Status)
	}
	decoder := expfmt.SampleDecoder{
		Dec:  expfmt.NewDecoder(response.Body, expfmt.ResponseFormat(response.Header)),
		Opts: &expfmt.DecodeOptions{Timestamp: model.Now()},
	}
	var all metrics
	for {
		var some model.Vector
		if err := decoder.Decode(&some); err != nil {
			break // the end; a text that is no metrics lacks what the test asks for
		}
		all = append(all, some...)
	}
	return all, nil
}

// sum adds up the samples of a name that have the given labels (name, value, …), and
// tells whether there is one.
func (m metrics) sum(name string, labels ...string) (float64, bool) {
	var sum float64
	found := false
	for _, sample := range m {
		matches := string(sample.Metric[model.MetricNameLabel]) == name
		for i := 0; i < len(labels); i += 2 {
			matches = matches && string(sample.Metric[model.LabelName(labels[i])]) == labels[i+1]
		}
		if matches {
			sum += float64(sample.Value)
			found = true
		}
	}
	return sum, found
}

// want is nil if each line, "name label value …" and a number, is as it says.
func (m metrics) want(lines map[string]float64) error {
	var errs []error
	for line, want := range lines {
		fields := strings.Split(line, "|")
		if got, found := m.sum(fields[0], fields[1:]...); !found || got != want {
			errs = append(errs, fmt.Errorf("%s is %v (there: %v), want %v", line, got, found, want))
		}
	}
	return errors.Join(errs...)
}

// An operator answers from metrics alone: does the job keep up, how late is it, what is
// rejected and why; and sees that it has stalled while Cassandra does not answer.
func TestMetricsAnswerAnOperatorsQuestions(t *testing.T) {
	p := newPipeline(t)
	store, _ := p.store(t)
	address := freeAddress(t)
	p.env = p.with("SPARKJOB_METRICS_ADDR="+address, "SPARKJOB_STALLED_AFTER=5s", "SPARK_QUERIES=events,rejected_events,activity_by_minute")
	driver := p.submit(t)
	job := "http://" + address + "/metrics"

	awaitStored(t, post(t, store, 60))
	response, err := http.Post(store+"/events", "application/json", strings.NewReader(`{"event_type": "page_view"}`))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	produce(t, p.topic, []record{
		{value: []byte("no JSON")},
		{value: []byte(`{"event_id": "x", "event_type": "purchase", "event_time": "2026-01-31T12:00:00.000Z", "user_id": "u"}`)},
	})

	eventually(t, 60*time.Second, func() error {
		m, err := scrape(job)
		if err != nil {
			return err
		}
		if _, found := m.sum("bookstore_job_watermark_delay_seconds", "query", "activity_by_minute"); !found {
			err = errors.New("the watermark's delay is missing")
		}
		if n, _ := m.sum("bookstore_job_batch_duration_seconds_count", "query", "events"); n == 0 {
			err = errors.New("no batch was timed")
		}
		if n, _ := m.sum("bookstore_job_batch_phase_seconds_total", "query", "events", "phase", "addBatch"); n == 0 {
			err = errors.New("no phase was timed")
		}
		return errors.Join(err, m.want(map[string]float64{
			// Is it keeping up?
			"bookstore_job_query_state|query|events|state|running":          1,
			"bookstore_job_query_state|query|rejected_events|state|running": 1,
			"bookstore_job_input_rows_total|query|events":                   62,
			"bookstore_job_lag_records|query|events":                        0,
			"bookstore_job_lag_seconds|query|events":                        0,
			// What is rejected, and why?
			"bookstore_job_rejected_records_total":                                          2,
			"bookstore_job_rejection_reasons_total|reason|the payload is not a JSON object": 1,
			"bookstore_job_rejection_reasons_total|reason|event_id is not a UUID":           1,
			"bookstore_job_rejection_reasons_total|reason|book_id is missing or empty":      1,
		}))
	})
	m, err := scrape(store + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.want(map[string]float64{
		"bookstore_store_events_acknowledged_total":                                    60,
		"bookstore_store_events_refused_total|reason|invalid-event":                    1,
		"bookstore_store_produce_duration_seconds_count|result|acknowledged":           60,
		"bookstore_store_http_request_duration_seconds_count|route|/events|status|202": 1,
		"bookstore_store_http_request_duration_seconds_count|route|/events|status|400": 1,
		"bookstore_store_records_in_flight":                                            0,
	}); err != nil {
		t.Error(err)
	}

	checkNames(t, job, store+"/metrics")

	// Cassandra hangs: the sink tries again in silence, and Spark says that all is well.
	db := openCassandra(t)
	resume := pauseCassandra(t)
	ids := post(t, store, 5)
	eventually(t, 30*time.Second, func() error {
		m, err := scrape(job)
		if err != nil {
			return err
		}
		if age, _ := m.sum("bookstore_job_lag_seconds", "query", "events"); age == 0 {
			err = errors.New("the oldest record that waits has no age")
		}
		if n, _ := m.sum("bookstore_job_stalls_total", "query", "events"); n == 0 {
			err = errors.New("the stall does not count")
		}
		return errors.Join(err, m.want(map[string]float64{
			"bookstore_job_query_state|query|events|state|stalled": 1,
			"bookstore_job_query_state|query|events|state|running": 0,
			"bookstore_job_lag_records|query|events":               5,
		}))
	})
	if _, errOut, code := run(t, p.env, "sparkjob", "status", "--check"); code != 1 || !strings.Contains(errOut, "query events is stalled: 5 records") {
		t.Errorf("sparkjob status --check of a stalled query: exit code %d\n%s", code, errOut)
	}
	if !strings.Contains(driver.output(), "stalled: 5 records wait") {
		t.Errorf("sparkjob submit does not say that it has stalled:\n%s", driver.output())
	}
	eventually(t, 30*time.Second, func() error {
		if !strings.Contains(driver.output(), "cannot be written to Cassandra") {
			return errors.New("sparkjob submit does not say that Cassandra is away: " + driver.output())
		}
		return nil
	})
	resume()
	awaitStored(t, ids)
	eventually(t, 60*time.Second, func() error {
		m, err := scrape(job)
		if err != nil {
			return err
		}
		return m.want(map[string]float64{
			"bookstore_job_query_state|query|events|state|running": 1, "bookstore_job_lag_records|query|events": 0,
		})
	})
	for _, line := range []string{"goes on after", "is written to Cassandra again"} {
		eventually(t, 10*time.Second, func() error {
			if !strings.Contains(driver.output(), line) {
				return fmt.Errorf("sparkjob submit does not say %q:\n%s", line, driver.output())
			}
			return nil
		})
	}

	// The same is in Cassandra, for the live page and other terminals.
	state := func() (cassandra.StreamingQuery, error) {
		rows, err := cassandra.StreamingQueries(t.Context(), db, p.topic)
		for _, row := range rows {
			if row.Query == "events" {
				return row, err
			}
		}
		return cassandra.StreamingQuery{}, errors.Join(err, errors.New("query events is not in streaming_queries"))
	}
	eventually(t, 10*time.Second, func() error {
		row, err := state()
		read := int64(0)
		for _, offset := range row.EndOffsets {
			read += offset
		}
		if row.State != cassandra.QueryRunning || read != 67 || time.Since(row.ReportedAt) > 10*time.Second {
			err = errors.Join(err, fmt.Errorf("streaming_queries has %+v", row))
		}
		return err
	})
	if code := driver.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("sparkjob submit ended with %d", code)
	}
	if row, err := state(); err != nil || row.State != cassandra.QueryStopped {
		t.Errorf("after the end: %+v, %v", row, err)
	}
}

// pauseCassandra stops Cassandra's process, which then neither answers nor refuses, until
// resume is called or the test ends.
func pauseCassandra(t *testing.T) (resume func()) {
	t.Helper()
	pid := processOf(t, "cassandra")
	resume = func() {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(resume)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	return resume
}

// shown matches the beginning of a line of Prometheus's text format, and used a metric's
// name in an expression.
var (
	shown = regexp.MustCompile(`(?m)^([a-zA-Z_]\w*)[{ ]`)
	used  = regexp.MustCompile(`\b(?:bookstore|kafka|cassandra|metrics|jvm|process|go)_\w+`)
)

// checkNames fails the test for each metric in a dashboard or an alert that neither a
// program nor an engine has.
func checkNames(t *testing.T, urls ...string) {
	t.Helper()
	for _, engine := range []struct{ variable, path string }{
		{"KAFKA_METRICS_PORT", "/metrics"},
		{"CASSANDRA_METRICS_PORT", "/metrics"},
		{"SPARK_UI_PORT", "/metrics/prometheus/"},
		{"SPARK_UI_PORT", "/metrics/executors/prometheus"},
		{"SPARK_MASTER_UI_PORT", "/metrics/master/prometheus/"},
		{"SPARK_WORKER_UI_PORT", "/metrics/prometheus/"},
	} {
		urls = append(urls, "http://127.0.0.1:"+os.Getenv(engine.variable)+engine.path)
	}
	names := map[string]bool{}
	for _, url := range urls {
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		lines := shown.FindAllSubmatch(text, -1)
		if err != nil || len(lines) == 0 {
			t.Errorf("%s shows no metrics: %s, %v", url, response.Status, err)
		}
		for _, line := range lines {
			names[string(line[1])] = true
		}
	}
	var files []string
	for _, pattern := range []string{"../metrics/rules/*.yml", "../metrics/grafana/dashboards/*.json"} {
		some, err := filepath.Glob(pattern)
		if err != nil || len(some) == 0 {
			t.Fatalf("%s: %v, %v", pattern, some, err)
		}
		files = append(files, some...)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range used.FindAllString(string(text), -1) {
			if !names[name] {
				t.Errorf("%s uses %s, which nothing shows", file, name)
				names[name] = true // once is enough
			}
		}
	}
}
