package main

import (
	"fmt"
	"time"
)

// moment is a time as a person gives it: one of a clock, in UTC where it names no other
// zone, or how long ago.
type moment struct{ time.Time }

// UnmarshalText is called by kong.
func (m *moment) UnmarshalText(text []byte) error { return m.parse(string(text), time.Now().UTC()) }

func (m *moment) parse(text string, now time.Time) error {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		m.Time = now.Add(-ago)
		return nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999", "2006-01-02T15:04:05.999", "2006-01-02 15:04", "2006-01-02T15:04", time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			m.Time = at.UTC()
			return nil
		}
	}
	for _, layout := range []string{"15:04:05.999", "15:04"} {
		if at, err := time.Parse(layout, text); err == nil {
			day := now.UTC().Truncate(24 * time.Hour)
			m.Time = day.Add(at.Sub(at.Truncate(24 * time.Hour)))
			return nil
		}
	}
	return fmt.Errorf("%q is no time; give one such as 2026-01-31T12:00:00Z, 12:00 (of today, UTC) or 90m (ago)", text)
}
