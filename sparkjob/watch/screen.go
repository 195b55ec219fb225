package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	_ "example.com/bookstore/sparkjob/watch/background" // before Bubble Tea
)

// Screen shows a Watcher's queries on the whole terminal until the person at it quits or
// ctx ends.
func Screen(ctx context.Context, w *Watcher) error {
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	asking.Go(func() { w.Run(ctx, func() {}) })

	m := model{watcher: w, screen: screen{snapshot: w.Snapshot(), every: w.interval}}
	_, err := tea.NewProgram(m, tea.WithAltScreen(), tea.WithContext(ctx), tea.WithoutSignalHandler()).Run()
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("drawing on the terminal: %w", err)
	}
	return nil
}

// Lines writes what is known of the queries once an interval until ctx ends, each query
// a line of text or of JSON. Problems are told on errOut when they begin and when they end.
func Lines(ctx context.Context, w *Watcher, out, errOut io.Writer, asJSON bool) error {
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	answered := make(chan struct{})
	asking.Go(func() { w.Run(ctx, func() { close(answered) }) })
	select {
	case <-answered:
	case <-ctx.Done():
		return nil
	}
	tick := time.NewTicker(w.interval)
	defer tick.Stop()
	told := map[string]bool{}
	for {
		s := w.Snapshot()
		tell(errOut, s.Problems(), told)
		if err := Write(out, s, asJSON); err != nil {
			return fmt.Errorf("writing what is known: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// tell writes the problems that are new, and remembers them.
func tell(errOut io.Writer, problems []string, told map[string]bool) {
	now := map[string]bool{}
	for _, problem := range problems {
		now[problem] = true
		if !told[problem] {
			fmt.Fprintln(errOut, "sparkjob: "+problem)
		}
		told[problem] = true
	}
	for problem := range told {
		if !now[problem] {
			delete(told, problem)
		}
	}
}

// Write writes each query of a snapshot as a line of text or of JSON.
func Write(out io.Writer, s Snapshot, asJSON bool) error {
	if asJSON {
		return WriteJSON(out, s)
	}
	return WriteLines(out, s)
}

// redraw is how often the screen looks for what is new.
const redraw = 250 * time.Millisecond

type tick struct{}

func nextTick() tea.Cmd { return tea.Tick(redraw, func(time.Time) tea.Msg { return tick{} }) }

// model is the screen as Bubble Tea runs it.
type model struct {
	watcher interface{ Snapshot() Snapshot }
	screen  screen

	width, height int
}

// Init is called by Bubble Tea.
func (m model) Init() tea.Cmd { return nextTick() }

// Update is called by Bubble Tea.
func (m model) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	switch message := message.(type) {
	case tick:
		m.screen.snapshot = m.watcher.Snapshot()
		return m, nextTick()
	case tea.WindowSizeMsg:
		m.width, m.height = message.Width, message.Height
	case tea.KeyMsg:
		keys := []string{message.String()}
		if message.Type == tea.KeyRunes { // what was typed fast comes as one
			keys = strings.Split(string(message.Runes), "")
		}
		for _, key := range keys {
			if m.screen.press(key) {
				return m, tea.Quit
			}
		}
	}
	return m, nil
}

// press takes a key, by Bubble Tea's name of it, and reports whether the person quits.
func (s *screen) press(key string) (quit bool) {
	count := max(len(s.snapshot.Queries), 1)
	switch key {
	case "q", "ctrl+c":
		return true
	case "?", "h":
		s.help = !s.help
	case "esc":
		s.help = false
	case "tab", "down", "j":
		s.query = (s.query + 1) % count
	case "shift+tab", "up", "k":
		s.query = (s.query + count - 1) % count
	case "home":
		s.query = 0
	case "end":
		s.query = count - 1
	}
	return false
}

// View is called by Bubble Tea.
func (m model) View() string {
	if m.width == 0 { // before Bubble Tea has said how large the terminal is
		return ""
	}
	return m.screen.render(m.width, m.height)
}
