// Package metrics holds what is made of the metrics of the programs and the engines:
// Prometheus's configuration, alert rules and dashboards. It has no code but the tests,
// which check each file against Prometheus's own parser, and each alert against a series
// that must raise it and one that must not:
//
//	go test -modfile=deploy/tools/prometheus.mod -tags prometheus ./deploy/metrics
//
// That every name in them is one that a program or an engine really shows is tested where
// those run, in deploy/e2e.
package metrics
