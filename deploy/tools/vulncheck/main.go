// Command vulncheck runs govulncheck over the project and fails if it calls code
// with a known vulnerability that a newer module would mend. Those that no module
// mends yet, or that only a newer Go does, are listed without failing: what is
// installed on a machine is not the project's to change.
//
// The database is the module golang.org/x/vulndb, pinned like every other tool, so
// that the same commit gives the same answer twice.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	modfile  = "-modfile=deploy/tools/govulncheck.mod"
	database = "golang.org/x/vulndb"
)

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "vulncheck:", err)
		os.Exit(1)
	}
}

func run(out io.Writer) error {
	folder, err := os.MkdirTemp("", "vulndb")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	downloaded, err := goCommand("mod", "download", modfile, "-json", database)
	if err != nil {
		return err
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(downloaded, &module); err != nil {
		return fmt.Errorf("downloading %s: %w", database, err)
	}
	if _, err := goCommand("tool", modfile, "indexdb", "-vulns", filepath.Join(module.Dir, "data", "osv"), "-out", folder); err != nil {
		return err
	}
	report, err := goCommand("tool", modfile, "govulncheck", "-format", "json", "-test", "-tags", "integration", "-db", "file://"+filepath.ToSlash(folder), "./...")
	if err != nil {
		return err
	}
	found, err := read(bytes.NewReader(report))
	if err != nil {
		return err
	}
	return tell(out, found)
}

func goCommand(args ...string) ([]byte, error) {
	var errOut bytes.Buffer
	cmd := exec.Command("go", args...) //nolint:noctx // ends with this program
	cmd.Stderr = &errOut
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("running go %s: %w\n%s", strings.Join(args, " "), err, errOut.Bytes())
	}
	return text, nil
}

// vulnerability is one that the project's code reaches.
type vulnerability struct {
	id, summary     string
	module, version string
	fixed           string // version of the module that has it no more; "" if none
}

// ours reports whether a change of go.mod would mend it.
func (v vulnerability) ours() bool { return v.fixed != "" && v.module != "stdlib" }

// read takes the messages of govulncheck's JSON output.
func read(report io.Reader) ([]vulnerability, error) {
	summaries := map[string]string{}
	reached := map[string]vulnerability{}
	for messages := json.NewDecoder(report); ; {
		var message struct {
			OSV *struct {
				ID, Summary string
			}
			Finding *struct {
				OSV   string
				Fixed string `json:"fixed_version"`
				Trace []struct{ Module, Version, Function string }
			}
		}
		err := messages.Decode(&message)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading govulncheck's report: %w", err)
		}
		if message.OSV != nil {
			summaries[message.OSV.ID] = message.OSV.Summary
		}
		// Without a function the code is there, but nothing calls it.
		if f := message.Finding; f != nil && len(f.Trace) > 0 && f.Trace[0].Function != "" {
			reached[f.OSV+f.Trace[0].Module] = vulnerability{
				id: f.OSV, module: f.Trace[0].Module, version: f.Trace[0].Version, fixed: f.Fixed,
			}
		}
	}
	var list []vulnerability
	for _, v := range reached {
		v.summary = summaries[v.id]
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b vulnerability) int { return strings.Compare(a.module+a.id, b.module+b.id) })
	return list, nil
}

// tell lists what the project can mend one by one, and the rest by module.
func tell(out io.Writer, list []vulnerability) error {
	ours := 0
	others := map[string][]string{}
	var modules []string
	for _, v := range list {
		if v.ours() {
			ours++
			fmt.Fprintf(out, "%s %s@%s: %s\n    go get %s@%s\n", v.id, v.module, v.version, v.summary, v.module, v.fixed)
			continue
		}
		module := v.module + "@" + v.version + ", which no release mends yet"
		if v.fixed != "" {
			module = "Go " + strings.TrimPrefix(v.version, "v") + ", which a newer Go mends"
		}
		if others[module] == nil {
			modules = append(modules, module)
		}
		others[module] = append(others[module], v.id)
	}
	for _, module := range modules {
		fmt.Fprintf(out, "known vulnerabilities of %s: %s\n", module, strings.Join(others[module], " "))
	}
	if ours > 0 {
		return fmt.Errorf("the project calls code with %d vulnerabilities that newer modules mend", ours)
	}
	return nil
}
