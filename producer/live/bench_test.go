package live

import (
	"log/slog"
	"testing"
	"time"

	"example.com/bookstore/schema"
)

// What each event of the topic costs a store that shows the live page.
func BenchmarkTakeRecord(b *testing.B) {
	h := New(Config{EventsTopic: topicName, Logger: slog.New(slog.DiscardHandler)})
	records := make([][]byte, 20_000)
	for i := range records {
		records[i] = event(schema.NewEventID(), time.Now())
	}
	now := time.Now()
	for i := 0; b.Loop(); i++ {
		h.takeRecord(records[i%len(records)], now)
	}
}
