//go:build integration

package e2e

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var counts = regexp.MustCompile(`(?m)^acknowledged=(\d+) stored=(\d+) rejected=(\d+)$`)

func TestDemoPrintsEqualCounts(t *testing.T) {
	p := newPipeline(t)
	url, _ := p.store(t)
	p.submit(t)
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
}
