//go:build prometheus

package metrics

import (
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	_ "github.com/prometheus/prometheus/discovery/dns" // which prometheus.yml uses
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
)

const evaluation = 5 * time.Second // as prometheus.yml has it

// alerts are all rules of the files, by name.
func alerts(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	files, err := filepath.Glob("rules/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("rules/*.yml: %v, %v", files, err)
	}
	all := map[string]rulefmt.Rule{}
	for _, file := range files {
		groups, errs := rulefmt.ParseFile(file, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.Default())
		for _, err := range errs {
			t.Error(err)
		}
		if groups == nil {
			t.FailNow()
		}
		for _, group := range groups.Groups {
			for _, rule := range group.Rules {
				if _, twice := all[rule.Alert]; twice {
					t.Errorf("%s: alert %s is there twice", file, rule.Alert)
				}
				all[rule.Alert] = rule
			}
		}
	}
	return all
}

func TestRulesTellWhatToDo(t *testing.T) {
	for name, rule := range alerts(t) {
		for _, annotation := range []string{"summary", "description", "runbook"} {
			if rule.Annotations[annotation] == "" {
				t.Errorf("alert %s has no %s", name, annotation)
			}
		}
		if s := rule.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("alert %s has severity %q", name, s)
		}
		for _, alert := range regexp.MustCompile(`\b(?:See|see|for) ([A-Z][a-z]+[A-Z]\w+)`).FindAllStringSubmatch(rule.Annotations["runbook"], -1) {
			if _, ok := alerts(t)[alert[1]]; !ok {
				t.Errorf("the runbook of %s names %s, which is no alert", name, alert[1])
			}
		}
	}
}

func TestConfiguration(t *testing.T) {
	c, err := config.LoadFile("prometheus.yml", false, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	if got := time.Duration(c.GlobalConfig.EvaluationInterval); got != evaluation {
		t.Errorf("rules are evaluated every %v, the tests take %v", got, evaluation)
	}
	jobs := map[string]bool{}
	for _, scrape := range c.ScrapeConfigs {
		jobs[scrape.JobName] = true
	}
	for name, rule := range alerts(t) {
		for _, job := range regexp.MustCompile(`job="([^"]+)"`).FindAllStringSubmatch(rule.Expr, -1) {
			if !jobs[job[1]] {
				t.Errorf("alert %s asks for job %s, which is not scraped", name, job[1])
			}
		}
	}
}

// cases hold, for each alert, series with which it must be firing at a time, and series
// with which it must not. A series is a line of Prometheus's notation for tests, with a
// value every five seconds.
var cases = map[string]struct {
	at     time.Duration
	fires  string
	labels map[string]string // that one of the firing alerts has
	quiet  string
}{
	"EventsSpooled": {
		at:    3 * time.Minute,
		fires: `bookstore_store_spooling{instance="store"} 0x6 1x60`,
		quiet: `bookstore_store_spooling{instance="store"} 0x6 1x6 0x60`, // Kafka was soon back
	},
	"SpoolFilling": {
		at: time.Minute,
		fires: `bookstore_store_spool_limit_bytes 1000x60
			bookstore_store_spool_bytes 0+100x60`,
		quiet: `bookstore_store_spool_limit_bytes 1000x60
			bookstore_store_spool_bytes 0+10x60`,
	},
	"EventsSetAside": {
		at:    5 * time.Minute,
		fires: `bookstore_store_spool_set_aside_total 0x10 1x60`,
		quiet: `bookstore_store_spool_set_aside_total 0x70`,
	},
	"SpoolDamaged": {
		at:    time.Minute,
		fires: `bookstore_store_spool_damaged_files_total 1x60`, // from the start on, where it is found
		quiet: `bookstore_store_spool_damaged_files_total 0x60`,
	},
	"DriverGone": {
		at:    2 * time.Minute,
		fires: `up{job="sparkjob"} 1x6 0x60`,
		quiet: `up{job="sparkjob"} 1x10 0x3 1x60`, // it was only started again
	},
	"QueryDown": {
		at:     2 * time.Minute,
		labels: map[string]string{"query": "events"},
		fires: `bookstore_job_query_state{query="events",state="running"} 1x5 0x60
			bookstore_job_query_state{query="events",state="restarting"} 0x5 1x60`,
		quiet: `bookstore_job_query_state{query="events",state="running"} 1x60
			bookstore_job_query_state{query="events",state="restarting"} 0x5 1x3 0x60`,
	},
	"QueryStalled": {
		at:     time.Minute,
		labels: map[string]string{"query": "events"},
		fires:  `bookstore_job_query_state{query="events",state="stalled"} 0x5 1x60`,
		quiet:  `bookstore_job_query_state{query="events",state="stalled"} 1x5 0x60`,
	},
	"FallingBehind": {
		at:     15 * time.Minute,
		labels: map[string]string{"query": "events"},
		fires: `bookstore_job_lag_seconds{query="events"} 0+3x200
			bookstore_job_lag_records{query="events",partition="0"} 0+100x200
			bookstore_job_lag_records{query="events",partition="1"} 0+100x200`,
		quiet: `bookstore_job_lag_seconds{query="events"} 900-1x200
			bookstore_job_lag_records{query="events",partition="0"} 100000-400x200`, // it catches up
	},
	"WatermarkLate": {
		at:     20 * time.Minute,
		labels: map[string]string{"query": "reads"},
		fires: `bookstore_job_watermark_delay_seconds{query="reads"} 600+5x300
			bookstore_job_input_rows_total{query="reads"} 0+10x300`,
		quiet: `bookstore_job_watermark_delay_seconds{query="reads"} 600+5x300
			bookstore_job_input_rows_total{query="reads"} 700x300`, // nothing comes, so nothing is late
	},
	"RowsDroppedByWatermark": {
		at:    10 * time.Minute,
		fires: `bookstore_job_rows_dropped_by_watermark_total{query="reads"} 0x60 3x100`,
		quiet: `bookstore_job_rows_dropped_by_watermark_total{query="reads"} 3x200`,
	},
	"RejectsSpike": {
		at: 15 * time.Minute,
		fires: `bookstore_job_rejected_records_total 0+1x200
			bookstore_job_input_rows_total{query="rejected_events"} 0+10x200`,
		quiet: `bookstore_job_rejected_records_total 0+1x200
			bookstore_job_input_rows_total{query="rejected_events"} 0+100x200`,
	},
	"ReportsFail": {
		at:    10 * time.Minute,
		fires: `bookstore_job_failed_reports_total 0+1x200`,
		quiet: `bookstore_job_failed_reports_total 0x20 1x200`,
	},
	"StoreDown": {
		at:    time.Minute,
		fires: `up{job="store"} 0x60`,
		quiet: `up{job="store"} 1x60`,
	},
	"StoreErrors": {
		at: 10 * time.Minute,
		fires: `bookstore_store_http_request_duration_seconds_count{route="/events",status="202"} 0+50x200
			bookstore_store_http_request_duration_seconds_count{route="/events",status="503"} 0+1x200`,
		quiet: `bookstore_store_http_request_duration_seconds_count{route="/events",status="202"} 0+500x200
			bookstore_store_http_request_duration_seconds_count{route="/events",status="400"} 0+50x200
			bookstore_store_http_request_duration_seconds_count{route="/events",status="503"} 0+1x200`,
	},
	"EventsNotAcknowledged": {
		at:     5 * time.Minute,
		labels: map[string]string{"reason": "not-acknowledged"},
		fires:  `bookstore_store_events_refused_total{reason="not-acknowledged",event_type="purchase"} 0+1x200`,
		quiet:  `bookstore_store_events_refused_total{reason="invalid-event",event_type="unknown"} 0+1x200`,
	},
	"EventsInvalid": {
		at: 10 * time.Minute,
		fires: `bookstore_store_events_refused_total{reason="invalid-event",event_type="unknown"} 0+1x200
			bookstore_store_events_acknowledged_total{event_type="purchase"} 0+10x200`,
		quiet: `bookstore_store_events_refused_total{reason="invalid-event",event_type="unknown"} 0+1x200
			bookstore_store_events_acknowledged_total{event_type="purchase"} 0+100x200`,
	},
	"ProduceSlow": {
		at: 15 * time.Minute,
		fires: `bookstore_store_produce_duration_seconds_bucket{result="acknowledged",le="0.1"} 0+1x200
			bookstore_store_produce_duration_seconds_bucket{result="acknowledged",le="1"} 0+10x200
			bookstore_store_produce_duration_seconds_bucket{result="acknowledged",le="+Inf"} 0+10x200`,
		quiet: `bookstore_store_produce_duration_seconds_bucket{result="acknowledged",le="0.1"} 0+10x200
			bookstore_store_produce_duration_seconds_bucket{result="acknowledged",le="1"} 0+10x200
			bookstore_store_produce_duration_seconds_bucket{result="acknowledged",le="+Inf"} 0+10x200`,
	},
	"KafkaDown": {
		at:    time.Minute,
		fires: `up{job="cassandra"} 1x60`, // Kafka is not even asked
		quiet: `up{job="kafka"} 1x60`,
	},
	"KafkaUnderReplicated": {
		at:    5 * time.Minute,
		fires: `kafka_under_replicated_partitions 2x100`,
		quiet: `kafka_under_replicated_partitions 0x10 2x10 0x100`,
	},
	"KafkaUnderMinIsr": {
		at: time.Minute,
		fires: `kafka_under_min_isr_partitions 1x100
			kafka_offline_partitions 0x100`,
		quiet: `kafka_under_min_isr_partitions 0x100
			kafka_offline_partitions 0x100`,
	},
	"CassandraDown": {
		at:    time.Minute,
		fires: `up{job="cassandra"} 0x60`,
		quiet: `up{job="cassandra"} 1x60`,
	},
	"CassandraErrors": {
		at:     5 * time.Minute,
		labels: map[string]string{"request": "Write", "error": "Timeouts"},
		fires:  `cassandra_client_request_errors_total{request="Write",error="Timeouts"} 0+1x100`,
		quiet:  `cassandra_client_request_errors_total{request="Write",error="Timeouts"} 7x100`,
	},
	"CassandraCompactionsPending": {
		at:    20 * time.Minute,
		fires: `cassandra_compaction_pending_tasks 80x300`,
		quiet: `cassandra_compaction_pending_tasks 80x100 3x200`,
	},
	"SparkWorkersGone": {
		at:    2 * time.Minute,
		fires: `metrics_master_aliveWorkers_Value{type="gauges"} 0x60`,
		quiet: `metrics_master_aliveWorkers_Value{type="gauges"} 1x60`,
	},
	"SparkConnectDown": {
		at:    2 * time.Minute,
		fires: `up{job="spark-connect"} 0x60`,
		quiet: `up{job="spark-connect"} 1x60`,
	},
	"HeapNearlyFull": {
		at:     20 * time.Minute,
		labels: map[string]string{"job": "cassandra"},
		fires: `jvm_memory_used_bytes{job="cassandra",area="heap"} 99x300
			jvm_memory_max_bytes{job="cassandra",area="heap"} 100x300`,
		quiet: `jvm_memory_used_bytes{job="cassandra",area="heap"} 99x100 40x10 99x50 40x200
			jvm_memory_max_bytes{job="cassandra",area="heap"} 100x300`,
	},
}

func TestAlerts(t *testing.T) {
	all := alerts(t)
	if got, want := slices.Sorted(maps.Keys(cases)), slices.Sorted(maps.Keys(all)); !slices.Equal(got, want) {
		t.Fatalf("there are cases for %q\nand alerts %q", got, want)
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			firing := evaluate(t, all[name], c.fires, c.at)
			if len(firing) == 0 {
				t.Error("does not fire")
			}
			for label, want := range c.labels {
				if !slices.ContainsFunc(firing, func(a *rules.Alert) bool { return a.Labels.Get(label) == want }) {
					t.Errorf("no alert has %s=%q: %v", label, want, firing)
				}
			}
			for _, alert := range firing {
				alert.Annotations.Range(func(l labels.Label) {
					if strings.Contains(l.Value, "{{") || strings.Contains(l.Value, "<error") || strings.Contains(l.Value, "<no value>") {
						t.Errorf("%s reads: %s", l.Name, l.Value)
					}
				})
			}
			if firing := evaluate(t, all[name], c.quiet, c.at); len(firing) > 0 {
				t.Errorf("fires without a reason: %v", firing[0].Labels)
			}
		})
	}
}

// evaluate runs a rule over series, as Prometheus does, and returns the alerts that are
// firing at the given time.
func evaluate(t *testing.T, rule rulefmt.Rule, series string, at time.Duration) []*rules.Alert {
	t.Helper()
	storage := promqltest.LoadedStorage(t, fmt.Sprintf("load %v\n\t%s\n", evaluation, series))
	defer storage.Close()
	engine := promqltest.NewTestEngine(t, false, 5*time.Minute, 1_000_000)
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(rule.Expr)
	if err != nil {
		t.Fatal(err)
	}
	alerting := rules.NewAlertingRule(rule.Alert, expr, time.Duration(rule.For), 0, labels.FromMap(rule.Labels), labels.FromMap(rule.Annotations),
		labels.EmptyLabels(), "", true, slog.New(slog.DiscardHandler))
	query := rules.EngineQueryFunc(engine, storage)
	for now := time.Duration(0); now <= at; now += evaluation {
		if _, err := alerting.Eval(t.Context(), 0, time.Unix(0, 0).Add(now), query, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	return slices.DeleteFunc(alerting.ActiveAlerts(), func(a *rules.Alert) bool { return a.State != rules.StateFiring })
}
