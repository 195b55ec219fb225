package terminal

import (
	"io"
	"os"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"
)

// Wrap breaks a text into lines that fit a terminal.
func Wrap(s string) string { return WrapTo(s, columns) }

// WrapTo breaks a text into lines of at most width columns: at spaces, and within a word
// only where the word is longer. An id or an address stays whole, so that it can be
// copied.
func WrapTo(s string, width int) string {
	var b strings.Builder
	for i, line := range strings.Split(s, "\n") {
		if i > 0 {
			b.WriteString("\n")
		}
		used := 0
		for j, word := range strings.Split(line, " ") {
			length := ansi.StringWidth(word)
			switch {
			case j > 0 && used+1+length <= width:
				b.WriteString(" ")
				used++
			case j > 0:
				b.WriteString("\n")
				used = 0
			}
			b.WriteString(ansi.Hardwrap(word, width, true))
			used += length
			if length > width {
				used = length % width
			}
		}
	}
	return b.String()
}

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
