package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// untilRefused waits until the store has refused events for some seconds.
func untilRefused(ctx context.Context, s *stand) error {
	const enough = 10
	return poll(ctx, probeEvery, 2*time.Minute, func() error {
		if _, full, _ := s.probe.counts(); full < enough {
			return fmt.Errorf("the store answered %d requests with 503, and is to answer %d so before it gets its broker back", full, enough)
		}
		return nil
	})
}

// refusalsSayWhen holds each refusal to its Retry-After.
func refusalsSayWhen(_ context.Context, s *stand) error {
	if _, _, hasty := s.probe.counts(); hasty > 0 {
		return errors.New("an answer of 503 has no Retry-After")
	}
	return nil
}
