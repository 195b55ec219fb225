package checkpoint

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Misfit says that a query cannot go on from its checkpoint, however often it is started.
type Misfit struct {
	Query    string
	Location string // URL of the folder
	Differs  string // what does not fit
	Cause    error  // Spark's, nil if it was not asked
}

// Error says what differs and what to do.
func (m *Misfit) Error() string {
	return fmt.Sprintf("query %s does not fit its checkpoint %s: %s; `sparkjob checkpoint rewind %[1]s --beginning` starts it over with the first records that Kafka has and keeps the checkpoint beside it, then `sparkjob submit`",
		m.Query, m.Location, m.Differs)
}

// Unwrap gives Spark's error.
func (m *Misfit) Unwrap() error { return m.Cause }

// Compare tells what of the checkpoint does not fit a topic whose partitions have the
// records from first up to end, "" if all does.
func (c *Checkpoint) Compare(topic string, first, end Offsets) (differs string) {
	if len(c.Batches) == 0 {
		return ""
	}
	last := c.Batches[len(c.Batches)-1]
	if c.Topic != topic {
		return fmt.Sprintf("it is of topic %s, and the query reads %s", c.Topic, topic)
	}
	// A micro-batch that is not committed is run again.
	next := last.End
	if !last.Committed {
		next = last.Start
	}
	for _, partition := range slices.Sorted(maps.Keys(last.furthest)) {
		read := last.furthest[partition]
		has, ok := end[partition]
		switch {
		case !ok:
			return fmt.Sprintf("it has read partition %d of topic %s, which is not there any more; the topic was made anew", partition, topic)
		case has < read:
			return fmt.Sprintf("it has read partition %d of topic %s up to offset %d, and the topic ends at %d; the topic was made anew", partition, topic, read, has)
		}
	}
	for _, partition := range slices.Sorted(maps.Keys(next)) {
		if offset, kept := next[partition], first[partition]; offset < kept {
			return fmt.Sprintf("it goes on at offset %d of partition %d of topic %s, and Kafka keeps it only from %d on; %d records are gone that the query has not read",
				offset, partition, topic, kept, kept-offset)
		}
	}
	return ""
}

// signs of a checkpoint that does not fit in what Spark 3.5 says, which has no name for
// most of them. What the pattern takes out stands in the sentence.
var signs = []struct {
	pattern *regexp.Regexp
	differs string
}{
	{
		regexp.MustCompile(`There are \[(\d+)\] sources in the\s+checkpoint offsets and now there are \[(\d+)\] sources`),
		"it has the offsets of $1 sources, and the query reads from $2",
	},
	{
		regexp.MustCompile(`Provided schema doesn't match to the schema for existing state`),
		"its state has other columns than the query's",
	},
	{
		// A query that had no state, or another.
		regexp.MustCompile(`Error reading delta file (\S+)[^\n]*does not exist`),
		"its state lacks $1, as where the query had no state before or another",
	},
	{
		regexp.MustCompile(`Partition (\S+)-(\d+)'s offset was changed from (\d+) to (\d+)`),
		"it goes on at offset $3 of partition $2 of topic $1, and the topic ends at $4; the topic was made anew",
	},
	{
		// Of a topic that was made anew, or one that has dropped what was not read.
		regexp.MustCompile(`Some data may have been lost because they are not available in Kafka any more`),
		"Kafka does not have the records any more that come next",
	},
	{
		regexp.MustCompile(`maximum supported log version is (\S+), but encountered (\S+)\.`),
		"a newer Spark has written it: its log is of version $2, and this Spark reads up to $1",
	},
}

// Explain tells what of its checkpoint does not fit a query that has failed with this
// message of Spark's, "" if that is not what it says.
func Explain(message string) (differs string) {
	for _, sign := range signs {
		if found := sign.pattern.FindStringSubmatchIndex(message); found != nil {
			return string(sign.pattern.ExpandString(nil, sign.differs, message, found))
		}
	}
	return ""
}

// IsMisfit reports whether err says that a checkpoint does not fit.
func IsMisfit(err error) bool {
	var misfit *Misfit
	return errors.As(err, &misfit)
}

// ShufflePartitions is the number of partitions of the query's state, as text, "" if it
// is not told. Spark keeps to it whatever the session's setting is.
func (c *Checkpoint) ShufflePartitions() string {
	if !c.Stateful() || len(c.Batches) == 0 {
		return ""
	}
	_, rest, _ := strings.Cut(string(c.Batches[len(c.Batches)-1].meta), `"spark.sql.shuffle.partitions":"`)
	number, _, _ := strings.Cut(rest, `"`)
	return number
}
