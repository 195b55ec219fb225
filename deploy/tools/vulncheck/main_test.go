package main

import (
	"strings"
	"testing"
)

const report = `
{"config": {"scanner_name": "govulncheck"}}
{"osv": {"id": "GO-1", "summary": "in Go"}}
{"osv": {"id": "GO-2", "summary": "in a module"}}
{"osv": {"id": "GO-3", "summary": "without a remedy"}}
{"osv": {"id": "GO-4", "summary": "never called"}}
{"finding": {"osv": "GO-1", "fixed_version": "v1.26.9", "trace": [{"module": "stdlib", "version": "v1.26.8", "function": "F"}]}}
{"finding": {"osv": "GO-3", "trace": [{"module": "m", "version": "v1.0.0", "function": "F"}]}}
{"finding": {"osv": "GO-4", "fixed_version": "v2.0.0", "trace": [{"module": "m", "version": "v1.0.0"}]}}
`

func TestOnlyWhatTheProjectCanMendFails(t *testing.T) {
	const ours = `{"finding": {"osv": "GO-2", "fixed_version": "v1.0.1", "trace": [{"module": "m", "version": "v1.0.0", "function": "F"}]}}`
	for name, test := range map[string]struct {
		report string
		fails  bool
		lines  []string
	}{
		"not ours": {report, false, []string{"Go 1.26.8, which a newer Go mends: GO-1", "m@v1.0.0, which no release mends yet: GO-3"}},
		"ours":     {report + ours, true, []string{"GO-2 m@v1.0.0: in a module", "go get m@v1.0.1"}},
		"none":     {`{"config": {}}`, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := read(strings.NewReader(test.report))
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if err := tell(&out, list); (err != nil) != test.fails {
				t.Errorf("tell: %v", err)
			}
			for _, line := range test.lines {
				if !strings.Contains(out.String(), line) {
					t.Errorf("%q is missing:\n%s", line, out.String())
				}
			}
			if strings.Contains(out.String(), "GO-4") || (len(test.lines) == 0 && out.Len() > 0) {
				t.Errorf("too much:\n%s", out.String())
			}
		})
	}
	if _, err := read(strings.NewReader("{")); err == nil {
		t.Error("read took half a message")
	}
}
