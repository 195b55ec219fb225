package main

import "example.com/bookstore/deploy/bench/figures"

// floors are what a run must reach, on 2 cores. Most are ratios of figures of one run, so
// that they say little of the machine and much of the programs.
var floors = []figures.Floor{
	{Name: "ingest: one / tutorial's", Of: ingest(storeOne, acknowledged(64)), Over: ingest(tutorialStore, acknowledged(64)), AtLeast: 30},
	{Name: "ingest: one / without Kafka", Of: ingest(storeOne, acknowledged(64)), Over: ingest(bound, acknowledged(64)), AtLeast: 0.35},
	{Name: "ingest: arrays of 100 / one", Of: ingest(storeArrays, acknowledged(64)), Over: ingest(storeOne, acknowledged(64)), AtLeast: 8},
	{Name: "ingest: p99 at half the top rate", Of: ingest(storeOne, halfP99), AtMost: 15, Unit: "ms"},
	{Name: "stream: in all / tutorial's", Of: streamed(jobContender, inAll), Over: streamed(tutorialJob, inAll), AtLeast: 2},
	{Name: "stream: warm / gocql inserts", Of: streamed(jobContender, warm), Over: streamed(inserts, inAll), AtLeast: 0.8},
	{Name: "latency: 100 events/s, p50", Of: late(100, 50), AtMost: 0.35, Unit: "s"},
	{Name: "latency: 100 events/s, p99", Of: late(100, 99), AtMost: 1.2, Unit: "s"},
	{Name: "latency: 1000 events/s, p99", Of: late(1000, 99), AtMost: 2, Unit: "s"},
	{Name: "scale: warm 3,000,000 / 300,000", Of: scaled(3_000_000), Over: scaled(streamRows), AtLeast: 0.9},
}

func scaled(rows int) figures.Key {
	return figures.Key{Group: "scale", Contender: rowsIn(rows, 6), Metric: warm}
}

func late(rate int, p float64) figures.Key {
	return figures.Key{Group: "latency", Contender: atRate(rate), Metric: percentile(visible, p)}
}

func streamed(contender, metric string) figures.Key {
	return figures.Key{Group: "stream", Contender: contender, Metric: metric}
}

func ingest(contender, metric string) figures.Key {
	return figures.Key{Group: "ingest", Contender: contender, Metric: metric}
}
