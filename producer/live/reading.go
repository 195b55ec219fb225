package live

import (
	"slices"
	"time"

	"example.com/bookstore/schema"
)

const (
	readingWindow = time.Hour
	// longestReading is the pause after which the job, too, takes a description for
	// one that was never closed.
	longestReading = 10 * time.Minute
	// maxReadings and maxOpen bound what is kept; of readings, the latest are.
	maxReadings = 20_000
	maxOpen     = 50_000
)

type reader struct{ user, book string }

// reading pairs the openings and closings of descriptions as they come.
type reading struct {
	open    map[reader]time.Time
	closed  []closedReading // by the time at which they ended
	unended []time.Time     // openings that nothing followed but another opening
	pruned  time.Time
}

type closedReading struct {
	at      time.Time
	seconds float64
}

func (r *reading) add(e schema.Event) {
	if r.open == nil {
		r.open = map[reader]time.Time{}
	}
	who := reader{e.UserID, e.BookID}
	switch e.EventType {
	case schema.DescriptionOpen:
		before, again := r.open[who]
		if again && e.EventTime.After(before) {
			r.unended = appendLatest(r.unended, before)
		}
		if again || len(r.open) < maxOpen {
			r.open[who] = e.EventTime
		}
	case schema.DescriptionClose:
		opened, ok := r.open[who]
		if took := e.EventTime.Sub(opened); ok && took >= 0 && took < longestReading {
			delete(r.open, who)
			r.closed = appendLatest(r.closed, closedReading{e.EventTime, took.Seconds()})
		}
	}
}

// sum is the readings of the last hour.
func (r *reading) sum(now time.Time) ReadingTime {
	oldest := now.Add(-readingWindow)
	if now.Sub(r.pruned) > 10*time.Second {
		r.pruned = now
		for who, opened := range r.open {
			if now.Sub(opened) > longestReading {
				delete(r.open, who)
				r.unended = appendLatest(r.unended, opened)
			}
		}
		r.closed = slices.DeleteFunc(r.closed, func(c closedReading) bool { return c.at.Before(oldest) })
		r.unended = slices.DeleteFunc(r.unended, oldest.After)
	}
	seconds := make([]float64, len(r.closed))
	for i, c := range r.closed {
		seconds[i] = c.seconds
	}
	slices.Sort(seconds)
	return ReadingTime{Closed: len(seconds), Median: quantile(seconds, 0.5), Unended: len(r.open) + len(r.unended)}
}

// appendLatest appends to a list of which the latest elements are kept.
func appendLatest[T any](list []T, element T) []T {
	list = append(list, element)
	return list[max(0, len(list)-maxReadings):]
}

// quantile of sorted values, by the nearest rank; 0 if there are none.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
