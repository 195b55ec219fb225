package live

import (
	"time"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
)

// Snapshot is everything the live page shows, as it was at one moment. Times are UTC.
type Snapshot struct {
	At       time.Time     `json:"at"`
	Problems []Problem     `json:"problems"` // the gravest first; empty when all is well
	Rate     Rate          `json:"rate"`
	Latency  Latency       `json:"latency"`
	Landed   []Landed      `json:"landed"` // the latest first
	Opened   []BookCount   `json:"most_opened"`
	Bought   []BookCount   `json:"most_bought"`
	Funnel   Funnel        `json:"funnel"`
	Reading  Reading       `json:"reading"`
	Rejected Rejected      `json:"rejected"`
	Queries  []QueryReport `json:"queries"`

	// When the counts of bookstore_activity were last told; zero if never.
	CountsAt time.Time `json:"counts_at,omitzero"`
}

// Rate is how many records came to the topic of events, by Kafka's timestamps.
type Rate struct {
	PerSecond float64   `json:"per_second"` // mean of the last 10 seconds
	Seconds   []int     `json:"seconds"`    // of each second, oldest first; the last is the latest complete one
	Last      time.Time `json:"last,omitzero"`
}

// Latency is the time from Kafka's timestamp of an event to Cassandra's timestamp of
// its row, in seconds, over the last minutes. When there are many events it is taken
// from a sample.
type Latency struct {
	P50     float64 `json:"p50_seconds"`
	P95     float64 `json:"p95_seconds"`
	Samples int     `json:"samples"`
	Waiting int     `json:"waiting"` // events looked for in Cassandra and not there yet
}

// Landed is an event whose row is in Cassandra, without what belongs to its visitor
// alone: who knows an id could pass for the visitor.
type Landed struct {
	EventType schema.EventType `json:"event_type"`
	EventTime time.Time        `json:"event_time"`
	BookID    string           `json:"book_id"`
	Title     string           `json:"title"`   // of the book
	Visitor   string           `json:"visitor"` // the beginning of the id
	Received  time.Time        `json:"received_at"`
	Written   time.Time        `json:"written_at"`
}

// Seconds is how long the event took from Kafka to Cassandra.
func (l Landed) Seconds() float64 { return l.Written.Sub(l.Received).Seconds() }

// BookCount is how often something was done with a book in the last hour.
type BookCount struct {
	BookID string `json:"book_id"`
	Title  string `json:"title"`
	Events int64  `json:"events"`
}

// Funnel counts today's visitors by how far they came, each once for each book.
type Funnel struct {
	Opened int64     `json:"opened"`
	Read   int64     `json:"read"` // for 10 seconds or more
	Bought int64     `json:"bought"`
	At     time.Time `json:"at,omitzero"` // when it was read; zero if never
}

// Reading is how long descriptions stay open, told twice: at once from the events
// as they come, and as the table reads has it, some 15 minutes later.
type Reading struct {
	Now      ReadingTime `json:"now"`      // of the last hour, since the store was started at the earliest
	Finished ReadingTime `json:"finished"` // of today's rows of the table reads
	Since    time.Time   `json:"since"`    // from which Now counts
	At       time.Time   `json:"at,omitzero"`
}

// ReadingTime sums up readings.
type ReadingTime struct {
	Closed  int     `json:"closed"`         // readings that have an end
	Median  float64 `json:"median_seconds"` // of those
	Unended int     `json:"unended"`        // still open, or never closed
}

// Rejected is what came to the topic today and was no event.
type Rejected struct {
	Today   int64            `json:"today"`   // records
	Reasons []ReasonCount    `json:"reasons"` // the most frequent first; one record may have several
	Latest  []RejectedRecord `json:"latest"`  // the latest first
	At      time.Time        `json:"at,omitzero"`
}

// RejectedRecord is where a rejected record stands and why it was rejected. Its
// payload is for those who may run sparkjob.
type RejectedRecord struct {
	Partition  int       `json:"partition"`
	Offset     int64     `json:"offset"`
	Reason     string    `json:"reason"` // one or more, separated by "; "
	ReceivedAt time.Time `json:"received_at"`
}

// ReasonCount is how many of today's records were rejected for a reason.
type ReasonCount struct {
	Reason  string `json:"reason"`
	Records int64  `json:"records"`
}

// QueryReport is what the driver last said of a streaming query, and how far the
// query is behind the topic's end.
type QueryReport struct {
	cassandra.StreamingQuery
	Gone bool   `json:"gone"`          // the report is too old to be believed
	Lag  *int64 `json:"lag,omitempty"` // records not read yet; nil if that is not known
}
