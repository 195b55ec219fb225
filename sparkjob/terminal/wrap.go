package terminal

import (
	"io"
	"os"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"
)

// Wrap breaks a text into lines that fit.
func Wrap(s string) string { return ansi.Wrap(s, columns, "") }

// Stderr is where errors go: on a terminal they are broken into lines between words,
// elsewhere each stays one line.
func Stderr() io.Writer {
	if term.IsTerminal(int(os.Stderr.Fd())) {
		return wrapped{os.Stderr}
	}
	return os.Stderr
}

type wrapped struct{ io.Writer }

func (w wrapped) Write(text []byte) (int, error) {
	if _, err := io.WriteString(w.Writer, Wrap(string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}
