package preflight

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

var emptyPassword = regexp.MustCompile(`(?m)^(\w+_PASSWORD)=[ \t]*$`)

// EnvFile writes the file of secrets from its example, with a random password where
// the example has an empty one, readable by its owner only. It leaves a file that
// exists alone, and reports whether it made one.
func EnvFile(path, example string) (created bool, err error) {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	text, err := os.ReadFile(example)
	if err != nil {
		return false, fmt.Errorf("making %s: %w", path, err)
	}
	filled := emptyPassword.ReplaceAllStringFunc(string(text), func(line string) string {
		return emptyPassword.FindStringSubmatch(line)[1] + "=" + rand.Text()
	})
	// Complete or absent: a half-written file would lock us out of our own data. The
	// link fails if another command was faster, whose passwords then count.
	tmp, err := os.CreateTemp(filepath.Dir(path), ".env.*.new") // mode 0600
	if err != nil {
		return false, fmt.Errorf("making %s: %w", path, err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.WriteString(filled)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return false, fmt.Errorf("making %s: %w", path, err)
	}
	err = os.Link(tmp.Name(), path)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("making %s: %w", path, err)
	}
	return true, nil
}
