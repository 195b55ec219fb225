package driver

import (
	"errors"
	"fmt"
	"testing"

	"example.com/bookstore/sparkjob/checkpoint"
	"example.com/bookstore/sparkjob/stream"
)

// Spark says it in its answer to the start, or later as the query's exception.
func TestMisfitIsExplained(t *testing.T) {
	const message = "assertion failed: There are [2] sources in the checkpoint offsets and now there are [1] sources requested by the query. Cannot continue."
	r := &run{watcher: &watcher{}, name: "events"}
	for _, cause := range []error{&stream.QueryException{Message: message}, fmt.Errorf("starting streaming query events: %w", &stream.ServerError{Message: message})} {
		if err := r.explain(cause); !checkpoint.IsMisfit(err) || !errors.Is(err, cause) || !failed(err) {
			t.Errorf("%v is explained as %v", cause, err)
		}
	}
	other := &stream.QueryException{Message: "Failed to write"}
	if err := r.explain(other); !errors.Is(err, other) || checkpoint.IsMisfit(err) {
		t.Errorf("%v is explained as %v", other, err)
	}
}
