//go:build integration

package stream_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"example.com/bookstore/sparkjob/stream"
	"github.com/google/uuid"
)

type pysparkQuery struct {
	ID       string             `json:"id"`
	RunID    string             `json:"runId"`
	Name     string             `json:"name"`
	IsActive bool               `json:"isActive"`
	Recent   []*stream.Progress `json:"recent"`
}

// pyspark runs PySpark's client with the given arguments.
func pyspark(t *testing.T, args ...string) pysparkQuery {
	t.Helper()
	python := os.Getenv("PYSPARK_PYTHON")
	if python == "" {
		python = "python3"
	}
	if err := exec.CommandContext(t.Context(), python, "-c", "import pyspark.sql.connect.session").Run(); err != nil {
		t.Skip("PySpark with its Connect client is not installed for " + python + " (PYSPARK_PYTHON names another)")
	}
	cmd := exec.CommandContext(t.Context(), python, append([]string{"testdata/pyspark_client.py"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("running PySpark: %v\n%s", err, stderr.Bytes())
	}
	var q pysparkQuery
	if err := json.Unmarshal(out, &q); err != nil {
		t.Fatalf("reading PySpark's output %q: %v", out, err)
	}
	return q
}

func TestPySparkSeesOurQuery(t *testing.T) {
	t.Parallel()
	id := uuid.NewString()
	s := connectAs(t, id)
	q := must(s.WriteStream(rate(t, s)).Format("noop").QueryName("ours").Start(t.Context()))(t)
	eventually(t, "progress", func() bool { return must(q.LastProgress(t.Context()))(t) != nil })

	theirs := pyspark(t, os.Getenv("SPARK_REMOTE")+"/;user_id=stream_test;session_id="+id, "get", q.ID())
	if theirs.ID != q.ID() || theirs.RunID != q.RunID() || theirs.Name != "ours" || !theirs.IsActive {
		t.Errorf("PySpark sees %+v, want %s, run %s, ours, active", theirs, q.ID(), q.RunID())
	}
	ours := must(q.RecentProgress(t.Context()))(t)
	if len(theirs.Recent) == 0 || len(ours) == 0 || !theirs.Recent[0].Timestamp.Equal(ours[0].Timestamp) || theirs.Recent[0].BatchID != ours[0].BatchID {
		t.Errorf("PySpark's first progress is not ours: %d and %d reports", len(theirs.Recent), len(ours))
	}
}

func TestWeSeePySparksQuery(t *testing.T) {
	t.Parallel()
	id := uuid.NewString()
	s := connectAs(t, id)
	theirs := pyspark(t, os.Getenv("SPARK_REMOTE")+"/;user_id=stream_test;session_id="+id, "start", "theirs")
	q := must(s.Streams().Get(t.Context(), theirs.ID))(t)
	if q.RunID() != theirs.RunID || q.Name() != "theirs" {
		t.Errorf("we see run %s, name %s, want %s, theirs", q.RunID(), q.Name(), theirs.RunID)
	}
	ours := must(s.Attach(theirs.ID, theirs.RunID).RecentProgress(t.Context()))(t)
	if len(theirs.Recent) == 0 || len(ours) == 0 || !theirs.Recent[0].Timestamp.Equal(ours[0].Timestamp) {
		t.Errorf("our first progress is not PySpark's: %d and %d reports", len(ours), len(theirs.Recent))
	}
}
