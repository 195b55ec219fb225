package stream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Progress is what a query did in one micro-batch, as PySpark's
// StreamingQueryProgress. A query without new data gives an idle one every ten
// seconds.
type Progress struct {
	// ID, RunID and Name are the query's.
	ID, RunID, Name string
	// Timestamp is when the trigger began.
	Timestamp time.Time
	// BatchID counts the micro-batches of the checkpoint, from 0. An idle
	// query's is that of the batch to come.
	BatchID int64
	// BatchDuration is how long the micro-batch took.
	BatchDuration time.Duration
	// Durations is how long each phase took: triggerExecution is the whole,
	// latestOffset, queryPlanning, walCommit, addBatch and others are its parts.
	Durations map[string]time.Duration
	// EventTime holds event times seen in the batch, and the watermark. All are
	// nil for a query without a watermark.
	EventTime EventTime
	// StateOperators describes each stateful operator's state.
	StateOperators []StateOperator
	// Sources says what was read from each source.
	Sources []SourceProgress
	// Sink says what was written.
	Sink SinkProgress
	// ObservedMetrics holds one JSON object for each name given to a
	// DataFrame's observe.
	ObservedMetrics map[string]json.RawMessage
	// Raw is what the server sent, complete, with fields that are not above.
	Raw json.RawMessage
}

// EventTime holds statistics of the event-time column of one micro-batch.
type EventTime struct {
	Min, Avg, Max *time.Time
	// Watermark is the one that the batch used: rows with an earlier event time
	// are late.
	Watermark *time.Time
}

// StateOperator describes the state of one operator, over all its partitions.
// Times are in milliseconds where the name ends so, and sizes in bytes.
type StateOperator struct {
	OperatorName              string           `json:"operatorName"`
	NumRowsTotal              int64            `json:"numRowsTotal"`
	NumRowsUpdated            int64            `json:"numRowsUpdated"`
	NumRowsRemoved            int64            `json:"numRowsRemoved"`
	NumRowsDroppedByWatermark int64            `json:"numRowsDroppedByWatermark"`
	AllUpdatesTimeMs          int64            `json:"allUpdatesTimeMs"`
	AllRemovalsTimeMs         int64            `json:"allRemovalsTimeMs"`
	CommitTimeMs              int64            `json:"commitTimeMs"`
	MemoryUsedBytes           int64            `json:"memoryUsedBytes"`
	NumShufflePartitions      int64            `json:"numShufflePartitions"`
	NumStateStoreInstances    int64            `json:"numStateStoreInstances"`
	CustomMetrics             map[string]int64 `json:"customMetrics"`
}

// SourceProgress says what a micro-batch read from one source.
type SourceProgress struct {
	// Description names the source, such as KafkaV2[Subscribe[events]].
	Description string `json:"description"`
	// StartOffset, EndOffset and LatestOffset are in the source's own form: a
	// number, or an object of topics and partitions for Kafka; null if unknown.
	// The server sends them as text, as Raw has them; here they are unpacked.
	StartOffset  json.RawMessage `json:"startOffset"`
	EndOffset    json.RawMessage `json:"endOffset"`
	LatestOffset json.RawMessage `json:"latestOffset"`
	NumInputRows int64           `json:"numInputRows"`
	// InputRowsPerSecond is the rate at which data came, 0 if unknown.
	InputRowsPerSecond float64 `json:"inputRowsPerSecond"`
	// ProcessedRowsPerSecond is the rate at which data was processed, 0 if
	// unknown.
	ProcessedRowsPerSecond float64 `json:"processedRowsPerSecond"`
	// Metrics are the source's own, such as maxOffsetsBehindLatest for Kafka.
	Metrics map[string]string `json:"metrics"`
}

// SinkProgress says what a micro-batch wrote.
type SinkProgress struct {
	// Description names the sink.
	Description string `json:"description"`
	// NumOutputRows is -1 if the sink does not count.
	NumOutputRows int64 `json:"numOutputRows"`
	// Metrics are the sink's own.
	Metrics map[string]string `json:"metrics"`
}

// Idle tells that the query looked for new data and found none, so that there
// was no micro-batch.
func (p *Progress) Idle() bool {
	_, executed := p.Durations["addBatch"]
	return !executed && p.NumInputRows() == 0
}

// NumInputRows is the number of rows read from all sources.
func (p *Progress) NumInputRows() int64 {
	var n int64
	for _, s := range p.Sources {
		n += s.NumInputRows
	}
	return n
}

// InputRowsPerSecond is the rate at which data came from all sources.
func (p *Progress) InputRowsPerSecond() float64 {
	var rate float64
	for _, s := range p.Sources {
		rate += s.InputRowsPerSecond
	}
	return rate
}

// ProcessedRowsPerSecond is the rate at which data was processed, over all
// sources.
func (p *Progress) ProcessedRowsPerSecond() float64 {
	var rate float64
	for _, s := range p.Sources {
		rate += s.ProcessedRowsPerSecond
	}
	return rate
}

// same tells whether p and other are one and the same report.
func (p *Progress) same(other *Progress) bool {
	return other != nil && p.RunID == other.RunID && p.BatchID == other.BatchID && p.Timestamp.Equal(other.Timestamp)
}

// UnmarshalJSON reads Spark's form.
func (p *Progress) UnmarshalJSON(text []byte) error {
	var in struct {
		ID              string                     `json:"id"`
		RunID           string                     `json:"runId"`
		Name            string                     `json:"name"`
		Timestamp       time.Time                  `json:"timestamp"`
		BatchID         int64                      `json:"batchId"`
		BatchDuration   int64                      `json:"batchDuration"`
		DurationMs      map[string]int64           `json:"durationMs"`
		EventTime       map[string]time.Time       `json:"eventTime"`
		StateOperators  []StateOperator            `json:"stateOperators"`
		Sources         []SourceProgress           `json:"sources"`
		Sink            SinkProgress               `json:"sink"`
		ObservedMetrics map[string]json.RawMessage `json:"observedMetrics"`
	}
	in.Sink.NumOutputRows = -1
	if err := json.Unmarshal(text, &in); err != nil {
		return fmt.Errorf("reading a progress report: %w", err)
	}
	*p = Progress{
		ID: in.ID, RunID: in.RunID, Name: in.Name,
		Timestamp: in.Timestamp, BatchID: in.BatchID,
		BatchDuration:  time.Duration(in.BatchDuration) * time.Millisecond,
		Durations:      make(map[string]time.Duration, len(in.DurationMs)),
		StateOperators: in.StateOperators, Sources: in.Sources, Sink: in.Sink,
		ObservedMetrics: in.ObservedMetrics,
		Raw:             bytes.Clone(text),
	}
	for i := range p.Sources {
		s := &p.Sources[i]
		for _, offset := range []*json.RawMessage{&s.StartOffset, &s.EndOffset, &s.LatestOffset} {
			*offset = unpack(*offset)
		}
	}
	for phase, ms := range in.DurationMs {
		p.Durations[phase] = time.Duration(ms) * time.Millisecond
	}
	for name, field := range map[string]**time.Time{
		"min": &p.EventTime.Min, "avg": &p.EventTime.Avg, "max": &p.EventTime.Max, "watermark": &p.EventTime.Watermark,
	} {
		if t, ok := in.EventTime[name]; ok {
			*field = &t
		}
	}
	return nil
}

// unpack gives the JSON that a JSON string holds; what is no such string stays
// as it is.
func unpack(packed json.RawMessage) json.RawMessage {
	var text string
	if json.Unmarshal(packed, &text) != nil || !json.Valid([]byte(text)) {
		return packed
	}
	return json.RawMessage(text)
}

// MarshalJSON writes Spark's form, as it was received.
func (p *Progress) MarshalJSON() ([]byte, error) {
	if p.Raw == nil {
		return []byte("null"), nil
	}
	return p.Raw, nil
}
