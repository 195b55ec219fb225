package visitors

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"
)

// Watch shows a bar while r runs, of how many of the total steps are done. On what
// is not a terminal it shows nothing. The function that it returns ends the bar.
func (r *Runner) Watch(out *os.File, total int) (end func()) {
	if !isatty.IsTerminal(out.Fd()) {
		return func() {}
	}
	bar := progressbar.NewOptions(total,
		progressbar.OptionSetWriter(out), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(20),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetTheme(progressbar.Theme{Saucer: "█", SaucerPadding: "░", BarStart: "", BarEnd: ""}),
	)
	// What cannot be shown is no reason to end the run.
	show := func() {
		s := r.Stats()
		_ = bar.Set(min(s.Done, total))
		bar.Describe(fmt.Sprintf("acknowledged %d, %.0f/s, p99 %s", s.Acknowledged, s.Rate(), milliseconds(s.P99)))
	}
	quit := make(chan struct{})
	var showing sync.WaitGroup
	showing.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				show()
			case <-quit:
				_ = bar.Clear()
				return
			}
		}
	})
	return func() {
		close(quit)
		showing.Wait()
	}
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
