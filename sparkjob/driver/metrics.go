package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"example.com/bookstore/schema/cassandra"
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("bookstore_job_"+name, help, labels, nil)
}

var (
	stateDesc         = describe("query_state", "1 for the state that the query is in, 0 for the others.", "query", "state")
	inputRowsDesc     = describe("input_rows_total", "Records that the query's micro-batches have read.", "query")
	batchesDesc       = describe("batches_total", "Micro-batches that have completed.", "query")
	phaseDesc         = describe("batch_phase_seconds_total", "Time that micro-batches spent in a phase, by Spark's names; triggerExecution is the whole.", "query", "phase")
	completedDesc     = describe("last_batch_completed_timestamp_seconds", "When the latest micro-batch completed, Unix time.", "query")
	lagDesc           = describe("lag_records", "Records of a partition that the query has not processed yet.", "query", "partition")
	behindDesc        = describe("lag_seconds", "How long the oldest record that is not processed yet has waited, 0 if none does.", "query")
	watermarkDesc     = describe("watermark_delay_seconds", "How far the query's watermark is behind the clock.", "query")
	stateRowsDesc     = describe("state_rows", "Rows in the query's state.", "query")
	stateBytesDesc    = describe("state_bytes", "Memory that the query's state takes.", "query")
	droppedDesc       = describe("rows_dropped_by_watermark_total", "Rows that came after the watermark and are in no window.", "query")
	stallsDesc        = describe("stalls_total", "Times that records waited and no micro-batch completed.", "query")
	restartsDesc      = describe("restarts_total", "Times that the query was started again after it failed or Spark went away.", "query")
	rejectedDesc      = describe("rejected_records_total", "Records that are no events, as the table rejected_events has them.")
	reasonsDesc       = describe("rejection_reasons_total", "Reasons for which records were rejected; a record counts under each of its reasons.", "reason")
	leaseDesc         = describe("lease_held", "1 while this driver holds the job's lease, 0 while it cannot renew it and starts no query.")
	failedReportsDesc = describe("failed_reports_total", "Reports on the queries that Cassandra did not take.")
	buildDesc         = describe("build_info", "1, with what the driver was built from.", "version", "revision", "goversion")
)

// collector makes metrics of what a tracker knows.
type collector struct{ tracker *tracker }

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		stateDesc, inputRowsDesc, batchesDesc, phaseDesc, completedDesc, lagDesc, behindDesc, watermarkDesc, stateRowsDesc, stateBytesDesc,
		droppedDesc, stallsDesc, restartsDesc, rejectedDesc, reasonsDesc, leaseDesc, failedReportsDesc, buildDesc,
	} {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	now := time.Now()
	for _, r := range c.tracker.snapshot(now) {
		for _, state := range cassandra.QueryStates() {
			is := 0.0
			if state == r.State {
				is = 1
			}
			gauge(stateDesc, is, r.Query, string(state))
		}
		count(inputRowsDesc, float64(r.InputRows), r.Query)
		count(batchesDesc, float64(r.Batches), r.Query)
		count(droppedDesc, float64(r.DroppedRows), r.Query)
		count(stallsDesc, float64(r.Stalls), r.Query)
		count(restartsDesc, float64(r.Restarts), r.Query)
		for phase, d := range r.PhaseTime {
			count(phaseDesc, d.Seconds(), r.Query, phase)
		}
		if !r.LastBatchComplete.IsZero() {
			gauge(completedDesc, float64(r.LastBatchComplete.UnixMilli())/1000, r.Query)
		}
		if r.Lag != nil { // unknown is not zero
			for partition, n := range r.Lag {
				gauge(lagDesc, float64(n), r.Query, strconv.Itoa(partition))
			}
			gauge(behindDesc, r.Behind.Seconds(), r.Query)
		}
		if r.Last != nil {
			if at := r.Last.EventTime.Watermark; at != nil && at.Unix() > 0 { // the epoch is none yet
				gauge(watermarkDesc, now.Sub(*at).Seconds(), r.Query)
			}
			if len(r.Last.StateOperators) > 0 {
				rows, bytes := r.stateSize()
				gauge(stateRowsDesc, float64(rows), r.Query)
				gauge(stateBytesDesc, float64(bytes), r.Query)
			}
		}
	}
	rejected := c.tracker.rejections()
	count(rejectedDesc, float64(rejected.Records))
	for reason, n := range rejected.Reasons {
		count(reasonsDesc, float64(n), reason)
	}
	if held := c.tracker.leaseHeld; held != nil {
		is := 0.0
		if held() {
			is = 1
		}
		gauge(leaseDesc, is)
	}
	count(failedReportsDesc, float64(c.tracker.failedReports.Load()))
	version, revision := buildInfo()
	gauge(buildDesc, 1, version, revision, runtime.Version())
}

func buildInfo() (version, revision string) {
	version, revision = "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	return version, revision
}

// newRegistry returns what the driver's /metrics shows.
func newRegistry(t *tracker) *prometheus.Registry {
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "bookstore_job_batch_duration_seconds",
		Help:    "How long micro-batches took, from trigger to commit.",
		Buckets: []float64{.1, .2, .3, .5, .75, 1, 1.5, 2.5, 5, 10, 30, 60},
	}, []string{"query"})
	for _, name := range t.names {
		durations.WithLabelValues(name)
	}
	t.onBatch = func(query string, d time.Duration) { durations.WithLabelValues(query).Observe(d.Seconds()) }
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{t}, durations, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// serveMetrics answers /metrics and /healthz on the address, if there is one, until ctx
// ends. The job is worth more than its metrics: if the address cannot be had it says so
// and goes on.
func (w *watcher) serveMetrics(ctx context.Context) (wait func()) {
	if w.config.MetricsAddr == "" {
		return func() {}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", w.config.MetricsAddr)
	if err != nil {
		w.warn("Metrics are not served: "+err.Error()+"; perhaps another driver has the address, SPARKJOB_METRICS_ADDR sets another",
			"metrics are not served", "error", err)
		return func() {}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(newRegistry(w.tracker), promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		fmt.Fprintln(rw, `{"status":"alive"}`)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 15 * time.Second, IdleTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			w.warn("Metrics are not served any more: "+err.Error(), "metrics are not served any more", "error", err)
		}
	}()
	url := "http://" + listener.Addr().String() + "/metrics"
	w.info("Metrics are at "+url, "serving metrics", "url", url)
	return func() {
		_ = server.Close() // a scrape may be cut
		<-served
	}
}
