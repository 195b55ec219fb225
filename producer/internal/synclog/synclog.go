// Package synclog is where programs under test write their logs. It stands beside the
// data's path, in tests alone.
package synclog

import (
	"bytes"
	"strings"
	"sync"
)

// Buffer is a log that may be read while it is written. The zero value is empty.
type Buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String returns all that was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Lines returns how many lines were written so far.
func (b *Buffer) Lines() int { return strings.Count(b.String(), "\n") }
