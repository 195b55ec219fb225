package visitors

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

func TestBarIsForTerminals(t *testing.T) {
	terminal, screen, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	defer screen.Close()
	if err := pty.Setsize(screen, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()

	url, _ := store(t, nil)
	plan, err := NewPlan(quick(10, 2))
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRunner(RunConfig{StoreURL: url})
	if err != nil {
		t.Fatal(err)
	}
	ends := []func(){r.Watch(screen, 2*plan.Size()), r.Watch(file, plan.Size())}
	if err := r.Run(t.Context(), plan.Steps()); err != nil {
		t.Fatal(err)
	}
	if err := terminal.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var text string
	for buffer := make([]byte, 1024); !strings.Contains(text, "acknowledged 4") || !strings.Contains(text, "50%"); {
		n, err := terminal.Read(buffer)
		if text += string(buffer[:n]); err != nil {
			t.Fatalf("%v; the terminal shows %q", err, text)
		}
	}
	for _, end := range ends {
		end()
	}
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if n := len([]rune(line)); n >= 80 {
			t.Errorf("%d columns: %q", n, line)
		}
	}
	if info, err := file.Stat(); err != nil || info.Size() > 0 {
		t.Errorf("a file got %d bytes: %v", info.Size(), err)
	}
}
