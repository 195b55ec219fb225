package live

import "time"

const (
	// recently is how far back the page looks where it says "the last minutes".
	recently = 5 * time.Minute
	// rateMean is over how long the present rate is taken.
	rateMean = 10 * time.Second
)

// rate counts records by the second.
type rate struct {
	counts [recently/time.Second + 1]struct { // the present second, not complete, is one more
		second int64 // Unix time
		n      int
	}
	last time.Time
}

func (r *rate) add(at time.Time) {
	if at.After(r.last) {
		r.last = at
	}
	second := at.Unix()
	slot := &r.counts[int(second)%len(r.counts)]
	switch {
	case slot.second == second:
		slot.n++
	case slot.second < second:
		slot.second, slot.n = second, 1
	}
}

// sum is the seconds before that of now, oldest first.
func (r *rate) sum(now time.Time) Rate {
	seconds := make([]int, len(r.counts)-1)
	mean := 0
	for i := range seconds {
		second := now.Unix() - int64(len(seconds)) + int64(i)
		if slot := r.counts[int(second)%len(r.counts)]; slot.second == second {
			seconds[i] = slot.n
		}
		if i >= len(seconds)-int(rateMean/time.Second) {
			mean += seconds[i]
		}
	}
	return Rate{PerSecond: float64(mean) / rateMean.Seconds(), Seconds: seconds, Last: r.last}
}
