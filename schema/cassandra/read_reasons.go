package cassandra

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/gocql/gocql"
)

//go:embed queries/rejected_reasons.cql
var rejectedReasons string

// Rejections counts rejected records.
type Rejections struct {
	Records int64
	Reasons map[string]int64 // a record counts under each of its reasons
}

// CountRejections counts what one partition of a topic had rejected with an offset from
// from to before to, among the records that Kafka received on one of the days (UTC).
func CountRejections(ctx context.Context, session *gocql.Session, days []time.Time, topic string, partition int, from, to int64) (Rejections, error) {
	counted := Rejections{Reasons: map[string]int64{}}
	rows := session.Query(rejectedReasons, days, topic, partition, from, to).WithContext(ctx).Iter().Scanner()
	for rows.Next() {
		var reasons string
		if err := rows.Scan(&reasons); err != nil {
			return counted, fmt.Errorf("counting rejected_events: %w", err)
		}
		counted.Records++
		for reason := range strings.SplitSeq(reasons, "; ") {
			counted.Reasons[reason]++
		}
	}
	if err := rows.Err(); err != nil {
		return counted, fmt.Errorf("counting rejected_events: %w", err)
	}
	return counted, nil
}
