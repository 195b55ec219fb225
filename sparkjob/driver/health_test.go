package driver

import (
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/topic"
)

func TestHealth(t *testing.T) {
	now := time.Now()
	config := Config{Queries: []string{"events", "reads"}, Topic: topic.Spec{Name: "t"}, StalledAfter: 30 * time.Second}
	running := func(name string, ago time.Duration) QueryState {
		return QueryState{Name: name, Running: true, Last: batch(t, 0, now.Add(-ago), 0, 10)}
	}
	report := func(name string, state cassandra.QueryState, message string) cassandra.StreamingQuery {
		return cassandra.StreamingQuery{Query: name, State: state, Message: message}
	}
	well := sighting{
		at: now, states: []QueryState{running("events", time.Second), running("reads", time.Second)}, due: map[int]int64{0: 10},
		reports: map[string]cassandra.StreamingQuery{"events": report("events", "running", ""), "reads": report("reads", "running", "")},
		lease:   &cassandra.JobLease{PID: 7, Host: "h"},
	}
	away := errors.New("away\nstack")
	for name, test := range map[string]struct {
		change         func(*sighting)
		wrong, unknown []string
	}{
		"well":    {func(*sighting) {}, nil, nil},
		"behind":  {func(s *sighting) { s.due = map[int]int64{0: 12} }, nil, nil},
		"silent":  {func(s *sighting) { s.states = []QueryState{running("events", time.Minute), running("reads", 0)} }, nil, nil},
		"stalled": {func(s *sighting) { s.states[0], s.due = running("events", time.Minute), map[int]int64{0: 12} }, []string{"query events is stalled: 2 records have waited for 30s"}, nil},
		"stalled, and Cassandra away": {func(s *sighting) {
			s.states[0], s.due, s.reports, s.cassandraErr = running("events", time.Minute), map[int]int64{0: 12}, nil, away
		}, []string{"query events is stalled"}, []string{"away"}},
		"stalled in its first micro-batch": {func(s *sighting) {
			s.states[0].Last, s.reports["events"] = nil, report("events", "stalled", "5 records wait")
		}, []string{"query events is stalled: 5 records wait"}, nil},
		"the driver's word is older than Spark's": {func(s *sighting) { s.reports["events"] = report("events", "stalled", "") }, nil, nil},
		"starting":                      {func(s *sighting) { s.reports["reads"] = report("reads", "starting", "") }, []string{"query reads is starting and has not"}, nil},
		"runs and is not known to work": {func(s *sighting) { s.reports["reads"] = report("reads", "restarting", "why") }, []string{"query reads is being started again: why"}, nil},
		"stopped":                       {func(s *sighting) { s.states[1] = QueryState{Name: "reads"} }, []string{"query reads does not run; `sparkjob submit`"}, nil},
		"restarting": {func(s *sighting) {
			s.states[1], s.reports["reads"] = QueryState{Name: "reads"}, report("reads", "restarting", "why")
		}, []string{"query reads is being started again: why"}, nil},
		"failed": {func(s *sighting) {
			s.states[1], s.reports["reads"] = QueryState{Name: "reads"}, report("reads", "failed", "why")
		}, []string{"query reads has failed: why"}, nil},
		"no driver":     {func(s *sighting) { s.lease = nil }, []string{"no driver looks after the queries"}, nil},
		"silent driver": {func(s *sighting) { s.reports = nil }, []string{"the driver, pid 7 on h, since 0001-01-01 00:00:00Z, tells nothing"}, nil},
		"Kafka away":    {func(s *sighting) { s.due, s.kafkaErr = nil, away }, nil, []string{"away"}},
		"Spark away":    {func(s *sighting) { s.states, s.sparkErr = nil, away }, nil, []string{"away"}},
		"Spark away, told": {func(s *sighting) {
			s.states, s.sparkErr, s.reports["reads"] = nil, away, report("reads", "restarting", "Spark has gone away")
		}, []string{"query reads is being started again: Spark has gone away"}, []string{"away"}},
		"all away": {func(s *sighting) { *s = sighting{at: now, sparkErr: away, kafkaErr: away, cassandraErr: away} }, nil, []string{"away", "away", "away"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := well
			s.states = append([]QueryState(nil), well.states...)
			s.reports = map[string]cassandra.StreamingQuery{}
			for query, r := range well.reports {
				s.reports[query] = r
			}
			test.change(&s)
			h := s.judge(config)
			for _, list := range []struct{ got, want []string }{{h.Wrong, test.wrong}, {h.Unknown, test.unknown}} {
				if len(list.got) != len(list.want) {
					t.Fatalf("found %q, want %q", list.got, list.want)
				}
				for i, want := range list.want {
					if !strings.Contains(list.got[i], want) || strings.Contains(list.got[i], "\n") {
						t.Errorf("%q, want %q", list.got[i], want)
					}
				}
			}
		})
	}
}
