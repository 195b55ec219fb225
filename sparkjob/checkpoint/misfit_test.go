package checkpoint

import (
	"errors"
	"strings"
	"testing"
)

func TestCompare(t *testing.T) {
	// Up to 40 and 85, and the last micro-batch, from 30 and 65 on, is not committed.
	c := open(t, write(t, 0, 3, true))
	for name, test := range map[string]struct {
		topic      string
		first, end Offsets
		want       string
	}{
		"fits":              {"books", Offsets{0: 0, 1: 0}, Offsets{0: 40, 1: 85}, ""},
		"Kafka has dropped": {"books", Offsets{0: 30, 1: 65}, Offsets{0: 100, 1: 100}, ""},
		"more partitions":   {"books", Offsets{0: 0, 1: 0, 2: 0}, Offsets{0: 40, 1: 85, 2: 7}, ""},
		"another topic":     {"films", Offsets{0: 0, 1: 0}, Offsets{0: 40, 1: 85}, "it is of topic books, and the query reads films"},
		"made anew":         {"books", Offsets{0: 0, 1: 0}, Offsets{0: 40, 1: 84}, "partition 1 of topic books up to offset 85, and the topic ends at 84"},
		"fewer partitions":  {"books", Offsets{0: 0}, Offsets{0: 40}, "partition 1 of topic books, which is not there"},
		"unread, and gone":  {"books", Offsets{0: 33, 1: 0}, Offsets{0: 100, 1: 100}, "at offset 30 of partition 0 of topic books, and Kafka keeps it only from 33 on; 3 records are gone"},
	} {
		got := c.Compare(test.topic, test.first, test.end)
		if (test.want == "" && got != "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	if got := (&Checkpoint{}).Compare("books", nil, nil); got != "" {
		t.Errorf("a checkpoint before its first micro-batch: %q", got)
	}
	if n := c.ShufflePartitions(); n != "2" {
		t.Errorf("ShufflePartitions = %q", n)
	}
	if n := open(t, write(t, 0, 3, false)).ShufflePartitions(); n != "" {
		t.Errorf("without state ShufflePartitions = %q", n)
	}
}

func TestExplain(t *testing.T) {
	const lost = "\nSome data may have been lost because they are not available in Kafka any more; either the\ndata was aged out by Kafka or the topic may have been deleted"
	for message, want := range map[string]string{
		"[STREAM_FAILED] Query [id = a, runId = b] terminated with exception: assertion failed: There are [2] sources in the checkpoint offsets and now there are [1] sources requested by the query. Cannot continue.": "it has the offsets of 2 sources, and the query reads from 1",
		"Job aborted due to stage failure: Task 0 in stage 3.0 failed 4 times, most recent failure: Provided schema doesn't match to the schema for existing state! Please note":                                        "its state has other columns than the query's",
		"Error reading delta file file:/c/reads/state/0/0/1.delta of HDFSStateStoreProvider[id = (op=0,part=0)]: file:/c/reads/state/0/0/1.delta does not exist":                                                        "its state lacks file:/c/reads/state/0/0/1.delta, as where",
		"Partition my-topic-3's offset was changed from 20 to 5, some data may have been missed. " + lost:                                                                                                               "it goes on at offset 20 of partition 3 of topic my-topic, and the topic ends at 5",
		"Cannot fetch offset 7" + lost: "Kafka does not have the records any more",
		"UnsupportedLogVersion: maximum supported log version is v1, but encountered v2. The log file was produced by a newer version": "a newer Spark has written it: its log is of version v2, and this Spark reads up to v1",
		"Failed to connect to Cassandra": "",
	} {
		got := Explain(message)
		if (want == "" && got != "") || !strings.HasPrefix(got, want) {
			t.Errorf("%q is explained as %q, want %q", message, got, want)
		}
	}
	cause := errors.New("cause")
	var err error = &Misfit{Query: "reads", Location: "file:///c/reads", Differs: "why", Cause: cause}
	if !IsMisfit(err) || IsMisfit(cause) || !errors.Is(err, cause) || !strings.Contains(err.Error(), "`sparkjob checkpoint rewind reads --beginning`") {
		t.Error(err)
	}
}
