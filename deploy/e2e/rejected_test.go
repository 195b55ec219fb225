//go:build integration

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
)

// record is the value of a Kafka record and the reason why it is no event, ""
// where it is one.
type record struct {
	name    string
	value   []byte
	reason  string
	eventID string // of a good one

	partition int
	offset    int64
}

// Whatever is written to the topic ends either in events or, with the reason, its
// bytes and where it stood, in rejected_events. The job's SQL agrees with
// schema.Decode on each.
func TestEveryRecordIsStoredOrRejected(t *testing.T) {
	p := newPipeline(t)
	records := payloads(t)
	good := func() record {
		id := schema.NewEventID()
		value, err := json.Marshal(schema.Event{
			EventID: id, EventType: schema.Purchase, EventTime: time.Now(), UserID: "neighbour", BookID: "emma",
		})
		if err != nil {
			t.Fatal(err)
		}
		return record{name: "a good neighbour", value: value, eventID: id}
	}
	full := good()
	full.value = append(full.value, bytes.Repeat([]byte(" "), schema.MaxPayload-len(full.value))...)
	records = append(records, full,
		record{name: "no value", reason: "the record has no value"},
		record{name: "one byte too many", value: append(full.value[:len(full.value):len(full.value)], ' '), reason: "the payload has more than 65536 bytes"},
		record{name: "not UTF-8", value: []byte("{\"user_id\": \"\xff\xfe\"}"), reason: "the payload is not valid UTF-8"},
		record{name: "deeper than any event", value: []byte(strings.Repeat("[", 5000)), reason: "the payload is not a JSON object"},
	)
	// More bytes in one partition than Cassandra takes in one batch.
	for range 8 {
		records = append(records, record{name: "large", value: bytes.Repeat([]byte("x"), 30<<10), reason: "the payload is not a JSON object"})
	}
	// Good ones around each bad one.
	mixed := []record{good()}
	for _, r := range records {
		mixed = append(mixed, r, good())
	}
	produce(t, p.topic, mixed)
	p.submit(t)

	session := openCassandra(t)
	var ids []string
	rejected := map[string]record{}
	for _, r := range mixed {
		if r.reason == "" {
			ids = append(ids, r.eventID)
		} else {
			rejected[fmt.Sprint(r.partition, "/", r.offset)] = r
		}
	}
	if len(rejected) < 12 {
		t.Fatalf("only %d kinds of bad record", len(rejected))
	}
	var stored map[string]schema.Event
	eventually(t, 60*time.Second, func() (err error) {
		if stored, err = cassandra.FindEvents(t.Context(), session, ids); err != nil {
			return err
		}
		if len(stored) < len(ids) {
			return fmt.Errorf("%d of %d good records are in events", len(stored), len(ids))
		}
		return nil
	})
	for _, r := range mixed {
		if r.reason != "" {
			continue
		}
		want, err := schema.Decode(r.value)
		if err != nil {
			t.Fatal(err)
		}
		want.EventID = strings.ToLower(want.EventID)
		if got := stored[want.EventID]; got != want {
			t.Errorf("%s: stored %+v, want %+v", r.name, got, want)
		}
	}

	var rows []cassandra.RejectedEvent
	eventually(t, 60*time.Second, func() error {
		rows = nil
		days := []time.Time{time.Now()}
		if yesterday := days[0].Add(-10 * time.Minute); yesterday.UTC().Day() != days[0].UTC().Day() {
			days = append(days, yesterday) // midnight has passed meanwhile
		}
		for _, day := range days {
			for partition := range 6 {
				list, err := cassandra.RejectedInPartition(t.Context(), session, day, p.topic, partition)
				if err != nil {
					return err
				}
				rows = append(rows, list...)
			}
		}
		if len(rows) < len(rejected) {
			return fmt.Errorf("%d of %d bad records are in rejected_events", len(rows), len(rejected))
		}
		return nil
	})
	for _, row := range rows {
		key := fmt.Sprint(row.Partition, "/", row.Offset)
		r, ok := rejected[key]
		if !ok {
			t.Errorf("rejected_events has offset %s, which is no bad record: %s %q", key, row.Reason, row.Payload)
			continue
		}
		delete(rejected, key)
		if row.Reason != r.reason {
			t.Errorf("%s: reason %q, want %q", r.name, row.Reason, r.reason)
		}
		if !bytes.Equal(row.Payload, r.value) {
			t.Errorf("%s: payload %q, want %q", r.name, row.Payload, r.value)
		}
		if age := time.Since(row.ReceivedAt); age < 0 || age > 10*time.Minute {
			t.Errorf("%s: received_at %v", r.name, row.ReceivedAt)
		}
	}
	for key, r := range rejected {
		t.Errorf("%s at %s is not in rejected_events", r.name, key)
	}
}

// payloads reads the list that schema tests its Go decoder and JSON Schema with,
// each good one with an id of its own.
func payloads(t *testing.T) []record {
	t.Helper()
	text, err := os.ReadFile("../../schema/testdata/payloads.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []struct{ Name, Payload, Reason string }
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	var records []record
	for _, p := range list {
		r := record{name: p.Name, value: []byte(p.Payload), reason: p.Reason}
		if p.Reason == "" {
			event, err := schema.Decode(r.value)
			if err != nil {
				t.Fatal(err)
			}
			r.eventID = schema.NewEventID()
			id := r.eventID
			if event.EventID == strings.ToUpper(event.EventID) {
				id = strings.ToUpper(id)
			}
			r.value = bytes.ReplaceAll(r.value, []byte(event.EventID), []byte(id))
		}
		records = append(records, r)
	}
	return records
}

// produce writes records as any program may, past the store, and fills in where
// they landed.
func produce(t *testing.T, topic string, records []record) {
	t.Helper()
	inputs := make([]input, len(records))
	for i, r := range records {
		inputs[i] = input{key: []byte(fmt.Sprint(i)), value: r.value}
	}
	write(t, topic, inputs)
	for i, landed := range inputs {
		records[i].partition, records[i].offset = landed.partition, landed.offset
	}
}
