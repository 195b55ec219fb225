package cassandra

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/gocql/gocql"
)

//go:embed queries/reads.cql
var reads string

// Read is a row of reads: one visitor's opening of a book's description, with the
// closing that followed it.
type Read struct {
	BookID   string    `json:"book_id"`
	UserID   string    `json:"user_id"`
	OpenedAt time.Time `json:"opened_at"`          // UTC
	ClosedAt time.Time `json:"closed_at,omitzero"` // UTC; zero if it was never closed
	Seconds  float64   `json:"seconds"`            // of reading, to the millisecond; 0 if it was never closed
}

// Reads returns up to limit reads of one book that were opened on the day of day
// (UTC), the latest opened first.
func Reads(ctx context.Context, session *gocql.Session, bookID string, day time.Time, limit int) ([]Read, error) {
	rows := session.Query(reads, bookID, dayOf(day), limit).WithContext(ctx).Iter().Scanner()
	var list []Read
	for rows.Next() {
		var r Read
		var opened, closed time.Time
		if err := rows.Scan(&r.BookID, &r.UserID, &opened, &closed, &r.Seconds); err != nil {
			return nil, fmt.Errorf("reading reads: %w", err)
		}
		r.OpenedAt, r.ClosedAt = opened.UTC(), closed.UTC()
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading reads: %w", err)
	}
	return list, nil
}
