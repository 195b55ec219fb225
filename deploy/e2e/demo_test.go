//go:build integration

package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"example.com/bookstore/schema/ledger"
)

var counts = regexp.MustCompile(`(?m)^acknowledged=(\d+) stored=(\d+) rejected=(\d+)$`)

// And what it has stored, reconcile finds; see testReconcile.
func TestDemoPrintsEqualCounts(t *testing.T) {
	p := newPipeline(t)
	url, _ := p.store(t)
	driver := p.submit(t)
	env := p.with("STORE_URL=" + url)
	out, errOut, code := run(t, env, "demo", "--visitors", "4", "--books", "3")
	match := counts.FindStringSubmatch(out)
	if code != 0 || match == nil {
		t.Fatalf("demo: exit code %d\n%s%s", code, out, errOut)
	}
	acknowledged, _ := strconv.Atoi(match[1])
	if acknowledged < 4*3*2 || match[2] != match[1] || match[3] != "2" {
		t.Errorf("demo ends with %q", match[0])
	}
	if n := strings.Count(out, "description_open"); n != 4*3 {
		t.Errorf("the table has %d opened descriptions, want %d:\n%s", n, 4*3, out)
	}

	// Those who send late, twice or nonsense, too: what is acknowledged is stored.
	path := filepath.Join(t.TempDir(), "visits.jsonl")
	out, errOut, code = run(t, env, "visitors", "--visits", "30", "--as-fast-as-possible", "--seed", "7", "--late-phones", "0.2",
		"--duplicates", "0.1", "--bad-clients", "0.2", "--ledger", path, "--verify")
	entries, err := ledger.ReadAll(path)
	if err != nil {
		t.Fatal(err)
	}
	n := len(ledger.AcknowledgedEvents(entries))
	if code != 0 || n == 0 || errOut != "" || !strings.Contains(out, fmt.Sprintf("\nacknowledged=%d stored=%d\n", n, n)) {
		t.Errorf("visitors: exit code %d, %d events in the ledger\n%s%s", code, n, out, errOut)
	}
	testReconcile(t, p, driver, path)
}

// Without the job nothing is stored, and the demo says so.
func TestDemoFailsWithoutTheJob(t *testing.T) {
	p := newPipeline(t)
	url, _ := p.store(t)
	env := p.with("STORE_URL=" + url)
	out, errOut, code := run(t, env, "demo", "--visitors", "1", "--books", "1", "--timeout", "2s")
	match := counts.FindStringSubmatch(out)
	if code == 0 || match == nil || match[1] == "0" || match[2] != "0" || match[3] != "0" {
		t.Errorf("demo: exit code %d\n%s", code, out)
	}
	if !strings.Contains(errOut, "is not stored") || !strings.Contains(errOut, "0 of 2 foreign records") {
		t.Errorf("stderr lacks what is missing:\n%s", errOut)
	}
	out, errOut, code = run(t, env, "visitors", "--seed", "7", "--steps", "30", "--as-fast-as-possible", "--verify", "--timeout", "1s")
	if code != 1 || !strings.Contains(out, " stored=0\n") || strings.Count(errOut, "is not stored") != 20 || !strings.Contains(errOut, "\nand ") {
		t.Errorf("visitors: exit code %d\n%s%s", code, out, errOut)
	}
}
