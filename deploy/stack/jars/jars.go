// Package jars brings an engine's jars onto this machine, as its Maven POM pins
// them, before the local stack starts it.
package jars

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Set is the jars of one engine.
type Set struct {
	Name string
	POM  string // path of the pom.xml
	Dir  string // folder that holds the jars, and nothing else but the stamp
}

const stampFile = ".stamp"

// Present reports whether the folder holds what the POM asks for now, with the
// versions that the environment has now.
func (s Set) Present() (bool, error) {
	want, err := s.stamp()
	if err != nil {
		return false, err
	}
	got, err := os.ReadFile(filepath.Join(s.Dir, stampFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return string(got) == want, err
}

var reference = regexp.MustCompile(`\$\{env\.(\w+)\}`)

// stamp is a hash of the POM and of the versions it takes from the environment.
func (s Set) stamp() (string, error) {
	pom, err := os.ReadFile(s.POM)
	if err != nil {
		return "", fmt.Errorf("reading the POM of %s: %w", s.Name, err)
	}
	hash := sha256.New()
	hash.Write(pom)
	for _, match := range reference.FindAllSubmatch(pom, -1) {
		name := string(match[1])
		value, ok := os.LookupEnv(name)
		if !ok || value == "" {
			return "", fmt.Errorf("reading %s: %s is not set; deploy/stack.env should set it", s.POM, name)
		}
		fmt.Fprintf(hash, "\n%s=%s", name, value)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// Fetch brings the jars with Maven unless they are there. The folder appears
// complete or not at all, so that an interrupted fetch is simply done again.
func (s Set) Fetch(ctx context.Context, maven string) error {
	stamp, err := s.stamp()
	if err != nil {
		return err
	}
	partial := s.Dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return fmt.Errorf("fetching the jars of %s: %w", s.Name, err)
	}
	if err := os.MkdirAll(partial, 0o755); err != nil {
		return fmt.Errorf("fetching the jars of %s: %w", s.Name, err)
	}
	cmd := exec.CommandContext(ctx, maven, "--batch-mode", "--quiet", "--no-transfer-progress", "--file", s.POM,
		"dependency:copy-dependencies", "-DoutputDirectory="+partial)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("fetching the jars of %s: %w", s.Name, context.Cause(ctx))
		}
		return fmt.Errorf("fetching the jars of %s: Maven says so (%w); check the network and Maven's settings.xml, then do the same again:\n%s",
			s.Name, err, firstErrors(string(out)))
	}
	if err := os.WriteFile(filepath.Join(partial, stampFile), []byte(stamp), 0o644); err != nil {
		return fmt.Errorf("fetching the jars of %s: %w", s.Name, err)
	}
	if err := os.RemoveAll(s.Dir); err != nil {
		return fmt.Errorf("fetching the jars of %s: removing the jars of before: %w", s.Name, err)
	}
	if err := os.Rename(partial, s.Dir); err != nil {
		return fmt.Errorf("fetching the jars of %s: %w", s.Name, err)
	}
	return nil
}

// firstErrors returns the lines that tell what went wrong: Maven puts them first and
// general advice after them.
func firstErrors(out string) string {
	var lines []string
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line != "" && line != "[ERROR]" && len(lines) < 8 {
			lines = append(lines, "  "+line)
		}
	}
	return strings.Join(lines, "\n")
}
