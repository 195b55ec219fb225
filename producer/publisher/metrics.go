package publisher

import (
	"encoding/json"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of a Publisher. What librdkafka itself counts comes with its statistics.
type metrics struct {
	duration             *prometheus.HistogramVec
	acknowledged, failed prometheus.Observer // of duration

	mu    sync.Mutex
	stats statistics
}

// statistics are the parts of librdkafka's that are shown. Times are in microseconds.
type statistics struct {
	Messages int64 `json:"msg_cnt"`
	Bytes    int64 `json:"msg_size"`
	Brokers  map[string]struct {
		NodeID  int    `json:"nodeid"` // -1 for an address that was configured
		Waiting int64  `json:"waitresp_cnt"`
		Retries int64  `json:"txretries"`
		Errors  int64  `json:"txerrs"`
		Name    string `json:"nodename"`
		RTT     struct {
			Avg int64 `json:"avg"`
			P99 int64 `json:"p99"`
			Max int64 `json:"max"`
		} `json:"rtt"`
	} `json:"brokers"`
}

const statisticsInterval = 5000 // milliseconds

var (
	inFlightDesc = prometheus.NewDesc("bookstore_store_records_in_flight", "Records taken that the brokers have neither acknowledged nor refused.", nil, nil)
	queueDesc    = prometheus.NewDesc("bookstore_store_kafka_queue_records", "Records in librdkafka's queue and under way, by its latest statistics.", nil, nil)
	bytesDesc    = prometheus.NewDesc("bookstore_store_kafka_queue_bytes", "Size of the records in librdkafka's queue and under way.", nil, nil)
	waitingDesc  = prometheus.NewDesc("bookstore_store_kafka_requests_in_flight", "Requests that a broker has not answered.", []string{"broker"}, nil)
	rttDesc      = prometheus.NewDesc("bookstore_store_kafka_rtt_seconds", "Time until a broker answers a request, over the last seconds.", []string{"broker", "stat"}, nil)
	retriesDesc  = prometheus.NewDesc("bookstore_store_kafka_retries_total", "Requests that were sent to a broker again.", []string{"broker"}, nil)
	errorsDesc   = prometheus.NewDesc("bookstore_store_kafka_errors_total", "Requests to a broker that failed.", []string{"broker"}, nil)
)

func newMetrics() *metrics {
	m := &metrics{duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "bookstore_store_produce_duration_seconds",
		Help:    "Time from handing a record to the producer until the brokers' acknowledgement or its failure.",
		Buckets: []float64{.001, .0025, .005, .0075, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"result"})}
	m.acknowledged, m.failed = m.duration.WithLabelValues("acknowledged"), m.duration.WithLabelValues("failed")
	return m
}

// read takes in librdkafka's statistics.
func (m *metrics) read(text string) error {
	var stats statistics
	if err := json.Unmarshal([]byte(text), &stats); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats = stats
	return nil
}

// Describe is part of prometheus.Collector.
func (p *Publisher) Describe(ch chan<- *prometheus.Desc) {
	p.metrics.duration.Describe(ch)
	for _, d := range []*prometheus.Desc{inFlightDesc, queueDesc, bytesDesc, waitingDesc, rttDesc, retriesDesc, errorsDesc} {
		ch <- d
	}
}

// Collect is part of prometheus.Collector.
func (p *Publisher) Collect(ch chan<- prometheus.Metric) {
	p.metrics.duration.Collect(ch)
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(inFlightDesc, float64(p.inFlight.Load()))
	p.metrics.mu.Lock()
	defer p.metrics.mu.Unlock()
	stats := p.metrics.stats
	gauge(queueDesc, float64(stats.Messages))
	gauge(bytesDesc, float64(stats.Bytes))
	for _, b := range stats.Brokers {
		if b.NodeID < 0 { // the same broker under the address that was configured
			continue
		}
		gauge(waitingDesc, float64(b.Waiting), b.Name)
		for stat, us := range map[string]int64{"avg": b.RTT.Avg, "p99": b.RTT.P99, "max": b.RTT.Max} {
			gauge(rttDesc, float64(us)/1e6, b.Name, stat)
		}
		ch <- prometheus.MustNewConstMetric(retriesDesc, prometheus.CounterValue, float64(b.Retries), b.Name)
		ch <- prometheus.MustNewConstMetric(errorsDesc, prometheus.CounterValue, float64(b.Errors), b.Name)
	}
}
