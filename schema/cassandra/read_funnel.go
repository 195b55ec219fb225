package cassandra

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/gocql/gocql"
)

//go:embed queries/funnel_counts.cql
var funnelCounts string

// Funnel counts the visitors who came to each stage with a book on a day. A visitor
// counts once a stage, and may have skipped those before it.
type Funnel struct {
	Opened int `json:"opened"` // opened the description
	Read   int `json:"read"`   // and closed it after 10 s or more
	Bought int `json:"bought"` // bought the book
}

// FunnelCounts returns the funnel of one book on the day of day (UTC). Where nothing
// happened all its counts are 0.
func FunnelCounts(ctx context.Context, session *gocql.Session, bookID string, day time.Time) (Funnel, error) {
	rows := session.Query(funnelCounts, bookID, dayOf(day)).WithContext(ctx).Iter().Scanner()
	var f Funnel
	for rows.Next() {
		var stage string
		var visitors int
		if err := rows.Scan(&stage, &visitors); err != nil {
			return Funnel{}, fmt.Errorf("reading funnel: %w", err)
		}
		switch stage {
		case "opened":
			f.Opened = visitors
		case "read":
			f.Read = visitors
		case "bought":
			f.Bought = visitors
		default:
			return Funnel{}, fmt.Errorf("reading funnel: there is no stage %q", stage)
		}
	}
	if err := rows.Err(); err != nil {
		return Funnel{}, fmt.Errorf("reading funnel: %w", err)
	}
	return f, nil
}
