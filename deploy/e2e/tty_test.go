//go:build integration

package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
)

// tty is a program on a terminal of its own.
type tty struct {
	cmd   *exec.Cmd
	file  *os.File // our end of the terminal
	done  chan struct{}
	ended atomic.Bool

	mu     sync.Mutex // of what follows, but for the screen's Read
	screen *vt.Emulator
	raw    bytes.Buffer // all that it has written
}

// startOn runs a program on a terminal of so many columns and lines until the test ends.
func startOn(t *testing.T, columns, lines int, env []string, name string, args ...string) *tty {
	t.Helper()
	term := &tty{cmd: exec.Command(filepath.Join(binaries, name), args...), screen: vt.NewEmulator(columns, lines), done: make(chan struct{})}
	term.cmd.Dir = t.TempDir()
	term.cmd.Env = append(append(slices.DeleteFunc(os.Environ(), aboutTerminals), "TERM=xterm-256color"), env...)
	var err error
	if term.file, err = pty.StartWithSize(term.cmd, &pty.Winsize{Cols: uint16(columns), Rows: uint16(lines)}); err != nil {
		t.Fatal(err)
	}
	var copying sync.WaitGroup
	copying.Go(func() { // what the program writes goes to the screen
		buffer := make([]byte, 32<<10)
		for {
			n, err := term.file.Read(buffer)
			term.mu.Lock()
			term.raw.Write(buffer[:n])
			term.screen.Write(buffer[:n])
			term.mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	var answering sync.WaitGroup
	answering.Go(func() { // what the terminal answers goes to the program
		buffer := make([]byte, 1<<10)
		for {
			n, err := term.screen.Read(buffer)
			if err != nil || term.ended.Load() {
				return
			}
			term.file.Write(buffer[:n])
		}
	})
	go func() {
		term.cmd.Wait()
		close(term.done)
	}()
	t.Cleanup(func() {
		term.cmd.Process.Kill()
		<-term.done
		term.file.Close()
		copying.Wait()
		// The emulator cannot be closed while it is read: an answer ends the reading.
		term.ended.Store(true)
		term.screen.Write([]byte(ansi.RequestPrimaryDeviceAttributes))
		answering.Wait()
	})
	return term
}

// aboutTerminals is true of what a program would ask about the terminal of the tests: this
// one is another, and on a CI machine programs would believe that nobody looks at it.
func aboutTerminals(setting string) bool {
	name, _, _ := strings.Cut(setting, "=")
	return slices.Contains([]string{"CI", "NO_COLOR", "COLORTERM", "CLICOLOR", "CLICOLOR_FORCE"}, name)
}

// press sends keys as they are typed.
func (term *tty) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := term.file.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// shown is what stands on the screen.
func (term *tty) shown() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	var lines []string
	for line := range strings.SplitSeq(term.screen.String(), "\n") {
		lines = append(lines, strings.TrimRight(line, " \r"))
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

// written is all that the program has written.
func (term *tty) written() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.raw.String()
}

// await waits until the screen shows all the texts.
func (term *tty) await(t *testing.T, timeout time.Duration, texts ...string) string {
	t.Helper()
	var screen string
	eventually(t, timeout, func() error {
		screen = term.shown()
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				return errors.New("the screen lacks " + text + ":\n" + screen)
			}
		}
		return nil
	})
	return screen
}

// wait returns the exit code.
func (term *tty) wait(t *testing.T, timeout time.Duration) int {
	t.Helper()
	select {
	case <-term.done:
		return term.cmd.ProcessState.ExitCode()
	case <-time.After(timeout):
		t.Fatalf("%s has not ended after %v; its screen:\n%s", term.cmd.Path, timeout, term.shown())
		return -1
	}
}

// plainLines are the lines of a program's output, without what only a terminal reads.
func plainLines(output string) []string {
	return strings.Split(strings.TrimRight(strings.ReplaceAll(ansi.Strip(output), "\r", ""), "\n"), "\n")
}

// fits checks that no line is wider than a terminal of 80 columns.
func fits(t *testing.T, command, output string) {
	t.Helper()
	for _, line := range plainLines(output) {
		if width := ansi.StringWidth(line); width > 80 {
			t.Errorf("a line of %d columns from %s:\n%s", width, command, line)
		}
	}
}

// transcript writes what was seen to a file of TRANSCRIPTS_DIR, for the documentation.
func transcript(t *testing.T, name string, parts ...string) {
	t.Helper()
	folder := os.Getenv("TRANSCRIPTS_DIR")
	if folder == "" {
		return
	}
	text := strings.Join(parts, "\n") + "\n"
	if strings.Contains(text, os.TempDir()+"/") || strings.Contains(text, os.Getenv("STACK_DIR")) {
		t.Errorf("transcript %s names a folder of this machine:\n%s", name, text)
	}
	if err := errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(filepath.Join(folder, name+".txt"), []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// onTerminal runs a program to its end on a terminal of 80 by 24, and returns what it
// printed and its exit code.
func onTerminal(t *testing.T, env []string, name string, args ...string) (string, int) {
	t.Helper()
	term := startOn(t, 80, 24, env, name, args...)
	code := term.wait(t, 90*time.Second)
	// What was written last may still be on its way.
	var output string
	eventually(t, 5*time.Second, func() error {
		if now := term.written(); now != output || now == "" {
			output = now
			return errors.New("it prints nothing")
		}
		return nil
	})
	if strings.Contains(output, "\x1b]") {
		t.Errorf("%s %v asks the terminal for something: %q", name, args, output)
	}
	text := strings.Join(plainLines(output), "\n")
	fits(t, name+" "+strings.Join(args, " "), text)
	return text, code
}

// command is a command line as a person types it.
func command(args ...string) string {
	quoted := slices.Clone(args)
	for i, arg := range quoted {
		if strings.ContainsAny(arg, " ;|") {
			quoted[i] = "'" + arg + "'"
		}
	}
	line := "$ sparkjob " + strings.Join(quoted, " ")
	if len(line) > 80 {
		end := strings.LastIndex(line[:78], " ")
		line = line[:end] + ` \` + "\n    " + line[end+1:]
	}
	return line
}
