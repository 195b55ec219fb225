//go:build integration

package docs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// commandTimeout is how long one block may take; the first of them also builds the
	// programs.
	commandTimeout = 4 * time.Minute
	// stopTimeout is how long a command in the background may take to end.
	stopTimeout = time.Minute
)

// Each command of each document works as it stands, in a fresh copy of the project and
// on the stack that the tests have.
func TestDocuments(t *testing.T) {
	if os.Getenv("STACK_DIR") == "" {
		t.Fatal("STACK_DIR is not set: run this test with `task test`")
	}
	folder := copyProject(t)
	environment := append(os.Environ(),
		"PATH="+taskAsCommand(t, folder)+string(os.PathListSeparator)+os.Getenv("PATH"),
		"NO_COLOR=1", "COLUMNS=80", "LINES=24")
	// What a document has started with `task demo` goes on, and would take the cores
	// from the tests that follow.
	t.Cleanup(func() {
		stop := exec.Command("go", "run", "./deploy/stack", "stop", "sparkjob")
		stop.Dir, stop.Env = folder, environment
		if out, err := stop.CombinedOutput(); err != nil {
			t.Errorf("stopping the job that the documents have started: %v\n%s", err, out)
		}
	})
	for _, document := range documents(t) {
		t.Run(strings.ReplaceAll(document, "/", "."), func(t *testing.T) {
			for _, b := range blocks(t, document) {
				switch _, elsewhere := b.directives["run by"]; {
				case b.directives["file"] != "":
					write(t, filepath.Join(folder, b.directives["file"]), b.content)
				case b.language == "sh" && !elsewhere:
					follow(t, folder, environment, b)
				}
			}
		})
	}
}

// copyProject copies what git knows of the project, so that the documents leave no file
// in it.
func copyProject(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	list, err := exec.Command("git", "-C", root, "ls-files", "-z").Output()
	if err != nil {
		t.Fatalf("listing the project's files: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		info, err := os.Stat(filepath.Join(root, name))
		if os.IsNotExist(err) { // deleted, and not committed yet
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(folder, name), string(content))
		if err := os.Chmod(filepath.Join(folder, name), info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// taskAsCommand returns a folder with a program called task, as if it were installed.
func taskAsCommand(t *testing.T, project string) string {
	t.Helper()
	folder := t.TempDir()
	script := "#!/bin/sh\nexec go tool -modfile='" + project + "/deploy/tools/task.mod' task \"$@\"\n"
	if err := os.WriteFile(filepath.Join(folder, "task"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return folder
}

// output of a command, which may still run.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func command(ctx context.Context, folder string, environment []string, script string) (*exec.Cmd, *output) {
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	out := new(output)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = folder, environment, out, out
	// `go run` and Task pass signals on only from a terminal, which sends them to the
	// whole group.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = stopTimeout
	return cmd, out
}

// follow runs a block as its directives say.
func follow(t *testing.T, folder string, environment []string, b block) {
	t.Helper()
	began := time.Now()
	defer func() { t.Logf("%s: %.1f s", b, time.Since(began).Seconds()) }()
	if wanted, ok := b.directives["background until"]; ok {
		background(t, folder, environment, b, regexp.MustCompile(wanted))
		return
	}
	code := 0
	if text, ok := b.directives["exit"]; ok {
		var err error
		if code, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: exit code %q: %v", b, text, err)
		}
	}
	wanted, again := b.directives["retry until"]
	if !again {
		wanted = b.directives["shows"]
	}
	shows := regexp.MustCompile(wanted)
	deadline := began.Add(commandTimeout)
	for {
		ctx, cancel := context.WithDeadline(t.Context(), deadline)
		cmd, out := command(ctx, folder, environment, b.content)
		err := cmd.Run()
		cancel()
		if cmd.ProcessState == nil {
			t.Fatalf("%s: %v", b, err)
		}
		got := cmd.ProcessState.ExitCode()
		if got == code && shows.MatchString(out.String()) {
			return
		}
		if !again || time.Now().After(deadline) {
			t.Fatalf("%s: exit code %d, want %d and an output that matches %q\n%s\n%s", b, got, code, wanted, b.content, out)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// background starts a command and stops it, as Ctrl-C would, at the document's end.
func background(t *testing.T, folder string, environment []string, b block, until *regexp.Regexp) {
	t.Helper()
	ctx, interrupt := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd, out := command(ctx, folder, environment, b.content)
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // an interrupted `go run` always reports that
		close(ended)
	}()
	t.Cleanup(func() {
		began := time.Now()
		interrupt()
		<-ended
		if took := time.Since(began); took >= stopTimeout {
			t.Errorf("%s: has not ended %v after an interrupt\n%s", b, stopTimeout, out)
		}
	})
	deadline := time.After(commandTimeout)
	for !until.MatchString(out.String()) {
		select {
		case <-ended:
			t.Fatal(fmt.Sprintf("%s: ended early\n%s\n%s", b, b.content, out))
		case <-deadline:
			t.Fatalf("%s: no output that matches %q within %v\n%s\n%s", b, until, commandTimeout, b.content, out)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
