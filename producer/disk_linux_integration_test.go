//go:build integration && linux

package main

import (
	"net/http"
	"strings"
	"syscall"
	"testing"

	"example.com/bookstore/producer/internal/testtopic"
	"example.com/bookstore/schema"
)

// A real disk without room, while the broker is away: refusals to the sender's face,
// nothing lost, and all as before once the broker is back.
func TestFullDiskRefuses(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("this test mounts a small disk, which this user may not: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	servers, name := testtopic.New(t)
	_, url, log := startStore(t, servers, name, "STORE_SPOOL_AFTER=100ms", "STORE_SPOOL_DIR="+disk, "STORE_RATE_LIMIT=0")
	resume := freeze(t)
	accepted := map[string]bool{}
	c := &crowd{acked: map[string][]string{}}
	c.url.Store(&url)
	client := &http.Client{}
	for refusals := 0; refusals < 3; {
		if id := schema.NewEventID(); c.send(client, "visitor", id) {
			accepted[id] = true
		} else {
			refusals++
		}
		if len(accepted) > 10_000 {
			t.Fatal("10,000 events are on a disk of 1 MiB")
		}
	}
	for _, refusal := range c.refused {
		if !strings.HasPrefix(refusal, "503 ") || !strings.Contains(refusal, "not-acknowledged") {
			t.Errorf("refused with %s", refusal)
		}
	}
	if status, body := get(t, url+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "no space left on device") {
		t.Errorf("/readyz = %d %s, want 503 and why", status, body)
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), "no space left on device") {
		t.Errorf("the log tells %d times that the disk is full, want once:\n%s", n, log)
	}
	resume()
	checkRecovery(t, url, servers, name, accepted)
}
