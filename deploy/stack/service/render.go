package service

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
)

// serial tells the files apart that are written at the same time.
var serial atomic.Uint64

var placeholder = regexp.MustCompile(`\$\{([A-Z][A-Z0-9_]*)\}`)

// render copies the named files from one folder to another and puts the value of
// each ${NAME} in its place. A name without a value is an error.
func render(from, to string, files []string, value func(name string) (string, bool)) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(from, file))
		if err != nil {
			return err
		}
		var missing []string
		filled := placeholder.ReplaceAllStringFunc(string(text), func(match string) string {
			name := placeholder.FindStringSubmatch(match)[1]
			v, ok := value(name)
			if !ok && !slices.Contains(missing, name) {
				missing = append(missing, name)
			}
			return v
		})
		if len(missing) > 0 {
			return fmt.Errorf("filling in %s: no value for %s", filepath.Join(from, file), strings.Join(missing, ", "))
		}
		// In one step: a service that shares the folder may be reading it.
		written := filepath.Join(to, fmt.Sprintf(".%s.%d", file, serial.Add(1)))
		if err := os.WriteFile(written, []byte(filled), 0o644); err != nil {
			return err
		}
		if err := os.Rename(written, filepath.Join(to, file)); err != nil {
			return err
		}
	}
	return nil
}
