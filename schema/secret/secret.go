// Package secret keeps passwords out of whatever a program prints. It stands beside
// the data's path: every configuration holds its passwords as secret.String.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// String is a password that shows nowhere: in no format, no log, no JSON. The
// conversion string(s) gives it to the client that logs in with it.
//
// A field of this type must be exported: fmt and slog see only the bare text of one
// that is not.
type String string

const hidden = "(hidden)"

// String says whether there is one.
func (s String) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// Format hides it from every verb, such as %#v and a mistaken %d.
func (s String) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText hides it from JSON and its kind.
func (s String) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue hides it from logs.
func (s String) LogValue() slog.Value { return slog.StringValue(s.String()) }
