package web

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"regexp"
	"strings"

	"example.com/bookstore/schema"
)

var traceForm = regexp.MustCompile(`^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$`)

// traceParent returns the W3C trace context of a request, unchanged, so that the
// record belongs to the client's trace. Without a valid one it begins a trace,
// which nobody has recorded yet.
func traceParent(h http.Header) string {
	given := h.Get(schema.TraceHeader)
	if m := traceForm.FindStringSubmatch(given); m != nil && strings.Trim(m[1], "0") != "" && strings.Trim(m[2], "0") != "" {
		return given
	}
	var id [24]byte
	_, _ = rand.Read(id[:]) // never fails
	return "00-" + hex.EncodeToString(id[:16]) + "-" + hex.EncodeToString(id[16:]) + "-00"
}
