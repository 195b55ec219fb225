package live

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/bookstore/schema/cassandra"
)

// Problem is something that keeps the page from telling the whole truth, or the
// events from getting to where they should be.
type Problem struct {
	Kind   string    `json:"kind"`  // one of the constants below
	Grave  bool      `json:"grave"` // events are not stored, or it cannot be told
	Title  string    `json:"title"` // a short sentence
	Detail string    `json:"detail"`
	Action string    `json:"action"` // what to do
	Since  time.Time `json:"since,omitzero"`
}

// Kinds of problems.
const (
	KafkaUnreachable     = "kafka-unreachable"
	CassandraUnreachable = "cassandra-unreachable"
	CountsUnreachable    = "counts-unreachable"
	JobNotStarted        = "job-not-started"
	JobStopped           = "job-stopped"
	JobFailed            = "job-failed"
	JobGone              = "job-gone"
	JobStalled           = "job-stalled"
	JobRestarting        = "job-restarting"
	QueriesMissing       = "queries-missing"
)

const (
	// goneAfter is the age of a report after which nobody seems to watch a query.
	goneAfter = 10 * time.Second
	// stalledAfter is how long events wait without a row before that is called
	// stalled, whatever the driver says.
	stalledAfter = 30 * time.Second
)

const startJob = "Start the streaming job: task submit."

func gone(q cassandra.StreamingQuery, now time.Time) bool {
	return !ended(q) && now.Sub(q.ReportedAt) > goneAfter
}

func ended(q cassandra.StreamingQuery) bool {
	return q.State == cassandra.QueryStopped || q.State == cassandra.QueryFailed
}

// problems are those of now, the grave ones first.
func (h *Hub) problems(now time.Time) []Problem {
	list := []Problem{}
	if h.kafka.err != nil {
		list = append(list, Problem{
			Kind: KafkaUnreachable, Grave: true, Since: h.kafka.since, Title: "Kafka cannot be read",
			Detail: "What happens in the store cannot be seen, and may not get any further. " + sentence(h.kafka.err),
			Action: "Start it: task up.",
		})
	}
	switch {
	case h.cassandra.err != nil:
		list = append(list, Problem{
			Kind: CassandraUnreachable, Grave: true, Since: h.cassandra.since, Title: "Cassandra cannot be read",
			Detail: "The store goes on selling. What is stored, and whether the streaming job runs, cannot be told. " + sentence(h.cassandra.err),
			Action: "Start it: task up.",
		})
	case h.cassandra.known:
		list = append(list, h.jobProblems(now)...)
	}
	if h.activity.err != nil && h.kafka.err == nil {
		list = append(list, Problem{
			Kind: CountsUnreachable, Since: h.activity.since, Title: "There are no live counts",
			Detail: "The most opened and most bought books cannot be told. " + sentence(h.activity.err),
			Action: "Set the streaming job up and start it: task submit.",
		})
	}
	slices.SortStableFunc(list, func(a, b Problem) int {
		switch {
		case a.Grave == b.Grave:
			return 0
		case a.Grave:
			return -1
		}
		return 1
	})
	return list
}

func (h *Hub) jobProblems(now time.Time) []Problem {
	if len(h.queries) == 0 {
		return []Problem{{
			Kind: JobNotStarted, Grave: true, Title: "The streaming job has not been started",
			Detail: fmt.Sprintf("Events wait in Kafka, and none is stored. No query of job %q has ever reported.", h.cfg.Job),
			Action: startJob,
		}}
	}
	var active, missing []cassandra.StreamingQuery
	for _, q := range h.queries {
		if ended(q) || gone(q, now) {
			missing = append(missing, q)
		} else {
			active = append(active, q)
		}
	}
	if len(active) == 0 {
		return []Problem{noneActive(missing)}
	}

	var list []Problem
	if names := inState(active, cassandra.QueryStalled); len(names) > 0 {
		list = append(list, Problem{
			Kind: JobStalled, Grave: true, Since: sinceOf(active, cassandra.QueryStalled), Title: "The streaming job is stalled",
			Detail: "Events wait in Kafka and are not worked on by " + strings.Join(names, ", ") + "." + messageOf(active, cassandra.QueryStalled),
			Action: "See what Spark is doing: task status, and go run ./deploy/stack logs.",
		})
	} else if since := h.waitingSince(); slices.Contains(inState(active, cassandra.QueryRunning), eventsQuery) &&
		!since.IsZero() && now.Sub(since) > stalledAfter {
		list = append(list, Problem{
			Kind: JobStalled, Grave: true, Since: since, Title: "The streaming job is stalled",
			Detail: "Events wait in Kafka, and no row of them comes into Cassandra.",
			Action: "See what Spark is doing: task status, and go run ./deploy/stack logs.",
		})
	}
	if names := inState(active, cassandra.QueryRestarting); len(names) > 0 {
		list = append(list, Problem{
			Kind: JobRestarting, Since: sinceOf(active, cassandra.QueryRestarting), Title: "The streaming job is being restarted",
			Detail: "Its driver starts these again: " + strings.Join(names, ", ") + "." + messageOf(active, cassandra.QueryRestarting),
			Action: "It should go on by itself.",
		})
	}
	if len(missing) > 0 {
		names := inState(missing)
		list = append(list, Problem{
			Kind: QueriesMissing, Grave: slices.Contains(names, eventsQuery), Since: sinceOf(missing),
			Title:  "A part of the streaming job does not run",
			Detail: "These numbers stand still: " + strings.Join(names, ", ") + "." + messageOf(missing, cassandra.QueryFailed),
			Action: "Start the whole job: task submit.",
		})
	}
	return list
}

// eventsQuery is the query without which no event is stored.
const eventsQuery = "events"

// noneActive is for a job of which no query runs under its driver's eyes.
func noneActive(queries []cassandra.StreamingQuery) Problem {
	p := Problem{Grave: true, Since: sinceOf(queries), Action: startJob}
	switch {
	case slices.ContainsFunc(queries, func(q cassandra.StreamingQuery) bool { return !ended(q) }):
		p.Kind, p.Title = JobGone, "The streaming job is gone"
		p.Detail = "Its driver has not reported since. Queries may still run, but nobody watches them or starts them again."
		p.Action += " It takes over what still runs."
	case len(inState(queries, cassandra.QueryFailed)) > 0:
		p.Kind, p.Title = JobFailed, "The streaming job has failed"
		p.Detail = "Events wait in Kafka, and none is stored." + messageOf(queries, cassandra.QueryFailed)
	default:
		p.Kind, p.Title = JobStopped, "The streaming job is stopped"
		p.Detail = "Events wait in Kafka, none is lost and none is stored. It goes on where it was."
	}
	return p
}

// waitingSince is when events began to wait without any row coming; zero if they do not.
func (h *Hub) waitingSince() time.Time {
	if h.landing.waitingSince.IsZero() {
		return time.Time{}
	}
	return latest(latest(h.landing.waitingSince, h.landing.landedAt), h.started).UTC()
}

// inState is the names of the queries in a state, or of all if none is given.
func inState(queries []cassandra.StreamingQuery, states ...cassandra.QueryState) []string {
	var names []string
	for _, q := range queries {
		if len(states) == 0 || slices.Contains(states, q.State) {
			names = append(names, q.Query)
		}
	}
	return names
}

// sinceOf is the latest report of queries in a state, or of all if none is given.
func sinceOf(queries []cassandra.StreamingQuery, states ...cassandra.QueryState) time.Time {
	var since time.Time
	for _, q := range queries {
		if len(states) == 0 || slices.Contains(states, q.State) {
			since = latest(since, q.ReportedAt)
		}
	}
	return since.UTC()
}

// messageOf is what was said of the first query in a state, as a sentence to append.
func messageOf(queries []cassandra.StreamingQuery, state cassandra.QueryState) string {
	for _, q := range queries {
		if q.State == state && q.Message != "" {
			return " " + strings.TrimRight(q.Message, ". ") + "."
		}
	}
	return ""
}

func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + strings.TrimRight(text[1:], ".?") + "."
}
