package reconcile

import (
	"errors"
	"fmt"
)

// Report is what was found.
type Report struct {
	Sent         int `json:"sent"`         // entries of the ledgers
	Acknowledged int `json:"acknowledged"` // different events that the store answered with 202
	Unknown      int `json:"unknown"`      // entries without an answer that tells: there or not, and neither is wrong
	Refused      int `json:"refused"`      // entries that the sender knows are not taken

	InKafka   int `json:"in_kafka"`  // acknowledged events with a record
	Stored    int `json:"stored"`    // acknowledged events with a row that equals them
	Rejected  int `json:"rejected"`  // records of the topic with a row in rejected_events
	Differing int `json:"differing"` // acknowledged events whose row says something else

	DuplicateDeliveries int `json:"duplicate_deliveries"` // records of acknowledged events beyond their first, which is no fault
	DuplicateRows       int `json:"duplicate_rows"`       // rows of acknowledged events in events_by_user beyond their first

	Pending int    `json:"pending"` // not written yet, by a query that has not come to the record
	Lost    []Loss `json:"lost"`

	Deleted int64 `json:"-"` // records that Kafka does not keep any more
	Differs Names `json:"-"`
	Twice   Names `json:"-"` // in events_by_user
	Waiting Names `json:"-"` // pending
}

// Loss is something that is not where it must be.
type Loss struct {
	EventID   string `json:"event_id"`  // "" of a record that is no event
	Partition *int   `json:"partition"` // of its first record; nil if it has none
	Offset    *int64 `json:"offset"`
	Where     string `json:"where"`
}

// Where something is missing.
const (
	InKafka          = "kafka"           // an acknowledged event without a record, and without a row
	InCassandra      = "cassandra"       // an acknowledged event with a record, and without a row
	AsRejected       = "rejected"        // an acknowledged event whose record was rejected
	InRejectedEvents = "rejected_events" // a record that is no event, and without a row in rejected_events
)

// mostNames bounds how many of a kind are named.
const mostNames = 20

// Names of some of what was found.
type Names []string

func (n Names) with(name string) Names {
	if len(n) < mostNames {
		n = append(n, name)
	}
	return n
}

// Err says what is not well, nil if all is.
func (r Report) Err() error {
	var errs []error
	say := func(n int, one, many string) {
		switch {
		case n == 1:
			errs = append(errs, errors.New("1 "+one))
		case n > 1:
			errs = append(errs, fmt.Errorf("%d %s", n, many))
		}
	}
	lost, unrejected := 0, 0
	for _, l := range r.Lost {
		if l.Where == InRejectedEvents {
			unrejected++
		} else {
			lost++
		}
	}
	say(lost, "acknowledged event is lost", "acknowledged events are lost")
	say(unrejected, "record that is no event has no row in rejected_events", "records that are no events have no rows in rejected_events")
	say(r.Differing, "event is stored with another content than was acknowledged", "events are stored with another content than was acknowledged")
	say(r.DuplicateRows, "row of events_by_user is there once too often", "rows of events_by_user are there once too often")
	say(r.Pending, "is still pending: no query has come to its record; does the job run? `sparkjob status` tells",
		"are still pending: no query has come to their records; does the job run? `sparkjob status` tells")
	return errors.Join(errs...)
}
