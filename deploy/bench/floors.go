package main

import "example.com/bookstore/deploy/bench/figures"

// floors are what a run must reach, on 2 cores. Most are ratios of figures of one run, so
// that they say little of the machine and much of the programs.
var floors = []figures.Floor{
	{Name: "ingest: one / tutorial's", Of: ingest(storeOne, acknowledged(64)), Over: ingest(tutorialStore, acknowledged(64)), AtLeast: 30},
	{Name: "ingest: one / without Kafka", Of: ingest(storeOne, acknowledged(64)), Over: ingest(bound, acknowledged(64)), AtLeast: 0.35},
	{Name: "ingest: arrays of 100 / one", Of: ingest(storeArrays, acknowledged(64)), Over: ingest(storeOne, acknowledged(64)), AtLeast: 8},
	{Name: "ingest: p99 at half the top rate", Of: ingest(storeOne, halfP99), AtMost: 15, Unit: "ms"},
	{Name: "cold: in all / tutorial's", Of: coldly(jobContender), Over: coldly(tutorialJob), AtLeast: 2},
	{Name: "stream: job / gocql inserts", Of: streamed(jobContender), Over: streamed(inserts), AtLeast: 0.8},
	{Name: "latency: 100 events/s, p50", Of: late(100, 50), AtMost: 0.35, Unit: "s"},
	{Name: "latency: 100 events/s, p99", Of: late(100, 99), AtMost: 1.2, Unit: "s"},
	{Name: "latency: 1000 events/s, p99", Of: late(1000, 99), AtMost: 2, Unit: "s"},
	{Name: "stream: 3,000,000 / 300,000 rows", Of: streamed(manyRows.name), Over: figures.Key{Group: "stream", Contender: manyRows.name, Metric: aroundIt}, AtLeast: 0.9},
}

func coldly(contender string) figures.Key {
	return figures.Key{Group: "cold", Contender: contender, Metric: inAll}
}

func late(rate int, p float64) figures.Key {
	return figures.Key{Group: "latency", Contender: atRate(rate), Metric: percentile(visible, p)}
}

func streamed(contender string) figures.Key {
	return figures.Key{Group: "stream", Contender: contender, Metric: inAll}
}

func ingest(contender, metric string) figures.Key {
	return figures.Key{Group: "ingest", Contender: contender, Metric: metric}
}
