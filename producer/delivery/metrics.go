package delivery

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/bookstore/producer/spool"
)

// metrics of a Delivery, beside those of its publisher.
type metrics struct {
	spooled, replayed, resent, setAside, reconnected prometheus.Counter
	spooling                                         prometheus.Gauge
	bytes, limit, waiting, age                       prometheus.GaugeFunc
	disk                                             []prometheus.Collector
	oldest                                           atomic.Int64 // time of receipt of the oldest event in the spool, Unix nanoseconds; 0 without one
}

func newMetrics(s *spool.Spool) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "bookstore_store_" + name, Help: help})
	}
	gauge := func(name, help string, f func() float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "bookstore_store_" + name, Help: help}, f)
	}
	m := &metrics{
		spooled:     counter("spool_written_total", "Events that went to the spool and were acknowledged for that."),
		replayed:    counter("spool_replayed_total", "Events of the spool that the brokers have acknowledged."),
		resent:      counter("spool_resent_total", "Events that were sent again although the brokers may have them: duplicate deliveries of the same event_id."),
		setAside:    counter("spool_set_aside_total", "Acknowledged events that the brokers refuse for good."),
		reconnected: counter("publisher_reconnected_total", "Producers that came to their end and were replaced."),
		spooling: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bookstore_store_spooling", Help: "1 while events go to the spool, 0 while they go to the brokers.",
		}),
		bytes:   gauge("spool_bytes", "Size of the spool on disk.", func() float64 { return float64(s.Bytes()) }),
		waiting: gauge("spool_events", "Events in the spool.", func() float64 { return float64(s.Len()) }),
		limit:   gauge("spool_limit_bytes", "Most that the spool may hold.", func() float64 { return float64(s.Limit()) }),
		disk:    s.Collectors(),
	}
	m.age = gauge("spool_oldest_age_seconds", "Age of the oldest event in the spool; 0 if it is empty.", func() float64 {
		if at := m.oldest.Load(); at != 0 {
			return time.Since(time.Unix(0, at)).Seconds()
		}
		return 0
	})
	return m
}

func (m *metrics) collectors() []prometheus.Collector {
	return append([]prometheus.Collector{m.spooled, m.replayed, m.resent, m.setAside, m.reconnected, m.spooling, m.bytes, m.limit, m.waiting, m.age}, m.disk...)
}

// Describe is part of prometheus.Collector.
func (d *Delivery) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range d.metrics.collectors() {
		c.Describe(ch)
	}
	d.current().Describe(ch)
}

// Collect is part of prometheus.Collector.
func (d *Delivery) Collect(ch chan<- prometheus.Metric) {
	for _, c := range d.metrics.collectors() {
		c.Collect(ch)
	}
	d.current().Collect(ch)
}

// current is the publisher as of now. Like a new event it may have to wait while the last
// of the spool is sent, at most for Config.SpoolAfter.
func (d *Delivery) current() Publisher {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.publisher
}
