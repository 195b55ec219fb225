package machine

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestDescribe(t *testing.T) {
	m, err := Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if m.CPU == "" || m.Memory == "" || m.Cores != runtime.NumCPU() || time.Since(m.Date) > time.Minute {
		t.Errorf("something is missing: %+v", m)
	}
	for _, part := range []string{m.CPU, m.Memory, m.Go, m.Java} {
		if !strings.Contains(m.String(), part) {
			t.Errorf("%q does not say %q", m, part)
		}
	}
}

// Work of this process shows, whatever others do.
func TestBusyGrowsWithWork(t *testing.T) {
	before, err := Busy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		after, err := Busy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if after > before {
			return
		}
	}
	t.Error("the cores were never busy")
}

func TestSpeed(t *testing.T) {
	if s := Speed(50 * time.Millisecond); s <= 0 {
		t.Errorf("%v MiB/s", s)
	}
}
