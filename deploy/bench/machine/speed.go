package machine

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Speed is how much text all cores together compress in a while, in MiB a second. It tells
// one machine from another, and one minute from another where the cores are shared with
// somebody who is not seen.
func Speed(while time.Duration) float64 {
	var text bytes.Buffer
	for n := range 4_000 {
		fmt.Fprintf(&text, "event %d of visitor %d", n, n*n%1_000)
	}
	var compressed atomic.Int64
	var cores sync.WaitGroup
	began := time.Now()
	for range runtime.NumCPU() {
		cores.Go(func() {
			w := gzip.NewWriter(io.Discard)
			for time.Since(began) < while {
				w.Reset(io.Discard)
				n, _ := w.Write(text.Bytes()) // io.Discard takes everything
				compressed.Add(int64(n))
			}
		})
	}
	cores.Wait()
	return float64(compressed.Load()) / (1 << 20) / time.Since(began).Seconds()
}
