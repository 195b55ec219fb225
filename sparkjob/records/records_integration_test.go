//go:build integration

package records_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/kafkaclient"
	"example.com/bookstore/schema/topic"
	"example.com/bookstore/sparkjob/records"
)

// What is written lies where Partition says, and is read back whole.
func TestWriteAndRead(t *testing.T) {
	brokers := kafkaclient.Config{BootstrapServers: os.Getenv("KAFKA_BOOTSTRAP_SERVERS")}
	admin, err := topic.NewAdmin(brokers, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	name := "records_test_" + schema.NewEventID()
	if _, err := admin.Ensure(t.Context(), topic.Spec{Name: name, Partitions: 5, ReplicationFactor: 1, Retention: time.Hour}); err != nil {
		t.Fatal(err)
	}
	began := time.Now().Truncate(time.Millisecond)
	for i := range 8 {
		key := fmt.Sprint("visitor-", i)
		written, err := records.Write(t.Context(), brokers, records.Record{
			Topic: name, Key: []byte(key), Value: []byte(fmt.Sprint(i)), Headers: map[string]string{"a": "1", "b": "2"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := records.Partition(key, 5); written.Partition != want {
			t.Errorf("the record of %s lies in partition %d, want %d", key, written.Partition, want)
		}
	}
	from, err := admin.StartOffsets(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	to, err := admin.EndOffsets(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	n, err := records.Read(t.Context(), brokers, name, from, to, 100, func(r records.Record) bool {
		seen[string(r.Key)+string(r.Value)] = true
		if r.Headers["a"] != "1" || r.Headers["b"] != "2" || r.Timestamp.Before(began) || r.Timestamp.After(time.Now()) || r.Topic != name {
			t.Errorf("read %+v", r)
		}
		return true
	})
	if err != nil || n != 8 || len(seen) != 8 || !seen["visitor-33"] {
		t.Errorf("Read = %d, %v; saw %v", n, err, seen)
	}
	if n, err := records.Read(t.Context(), brokers, name, from, to, 3, func(records.Record) bool { return true }); n != 3 || err != nil {
		t.Errorf("Read of at most 3 = %d, %v", n, err)
	}
	if n, err := records.Read(t.Context(), brokers, name, from, to, 100, func(records.Record) bool { return false }); n != 1 || err != nil {
		t.Errorf("Read that is told to end = %d, %v", n, err)
	}
	if n, err := records.Read(t.Context(), brokers, name, to, to, 100, func(records.Record) bool { return true }); n != 0 || err != nil {
		t.Errorf("Read of nothing = %d, %v", n, err)
	}
	if _, err := records.Write(t.Context(), brokers, records.Record{Topic: "no_such_" + name, Value: []byte("x")}); err == nil {
		t.Error("Write to no topic returned no error")
	}
}
