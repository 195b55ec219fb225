package docs

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// Insert puts a text between two marks of a document, in place of what stands there.
func Insert(document []byte, begin, end, text string) ([]byte, error) {
	before, rest, begins := bytes.Cut(document, []byte(begin))
	_, after, ends := bytes.Cut(rest, []byte(end))
	if !begins || !ends {
		return nil, fmt.Errorf("there is no place for the table: it goes between %s and %s", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return bytes.Join([][]byte{before, []byte(begin + text + end), after}, nil), nil
}

// InsertInto does so in a file.
func InsertInto(path, begin, end, text string) error {
	document, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if document, err = Insert(document, begin, end, text); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, document, 0o644)
}
