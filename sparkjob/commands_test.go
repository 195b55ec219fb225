package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"example.com/bookstore/sparkjob/job"
)

func parser(t *testing.T, out *bytes.Buffer) *kong.Kong {
	t.Helper()
	var c commands
	p, err := newParser(&c, kong.Writers(out, out), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Every command has help with examples that fits a terminal of 80 columns.
func TestHelp(t *testing.T) {
	var check func(node *kong.Node, line []string)
	check = func(node *kong.Node, line []string) {
		var out bytes.Buffer
		p := parser(t, &out)
		_, _ = p.Parse(append(line, "--help")) // goes on after the help, and misses arguments
		text, _, _ := strings.Cut(out.String(), "sparkjob: error")
		for line := range strings.Lines(text) {
			if width := utf8.RuneCountInString(strings.TrimRight(line, "\n")); width > 80 {
				t.Errorf("a line of %d columns in the help of %q:\n%s", width, node.Path(), line)
			}
		}
		if len(line) > 0 && !strings.Contains(text, "Examples:\n") {
			t.Errorf("the help of %q has no examples:\n%s", node.Path(), text)
		}
		for _, child := range node.Children {
			check(child, append(slices.Clone(line), child.Name))
		}
	}
	var out bytes.Buffer
	check(parser(t, &out).Model.Node, nil)
}

func TestArguments(t *testing.T) {
	for line, want := range map[string]string{
		"watch emma":                                      `there is no query "emma"; the queries are events`,
		"watch --interval 1ms":                            "--interval is 1ms, not at least 100ms",
		"trace":                                           "<event-id>",
		"trace x --scan 0":                                "--scan is 0",
		"trace x --since yesterday":                       `"yesterday" is no time`,
		"rejected show 3":                                 `"3" is not PARTITION:OFFSET`,
		"rejected replay 3:1 3:2 --payload x":             "--payload is for one record",
		"rejected replay 3:1 --payload x --edit":          "can't be used together",
		"rejected list -n 0":                              "--limit is 0",
		"checkpoint show emma":                            `there is no query "emma"`,
		"checkpoint rewind events":                        "give --to TIME, --batch N or --beginning",
		"checkpoint rewind events --to 1h --batch 3":      "can't be used together",
		"checkpoint rewind events reads --batch 3":        "--batch is for one query",
		"checkpoint rewind --beginning":                   "<query> ...",
		"watch events rejected_events --interval 5s":      "",
		"checkpoint rewind events --batch 0":              "",
		"rejected replay 3:1 3:2 --set a=b;c --set d=e=f": "",
	} {
		var out bytes.Buffer
		_, err := parser(t, &out).Parse(strings.Fields(line))
		switch {
		case want == "" && err != nil:
			t.Errorf("sparkjob %s: %v", line, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("sparkjob %s: %v, want %q", line, err, want)
		}
	}
}

func TestMoment(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 30, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"90m": "2026-01-31T11:00:00Z", "2026-01-30T12:00:00+02:00": "2026-01-30T10:00:00Z", "2026-01-30 12:00": "2026-01-30T12:00:00Z",
		"2026-01-30 12:00:05": "2026-01-30T12:00:05Z", "2026-01-30": "2026-01-30T00:00:00Z", "09:15": "2026-01-31T09:15:00Z", "09:15:07": "2026-01-31T09:15:07Z",
		"-5m": "", "noon": "", "": "",
	} {
		var m moment
		err := m.parse(text, now)
		got := ""
		if err == nil {
			got = m.UTC().Format(time.RFC3339)
		}
		if got != want {
			t.Errorf("%q is read as %q, %v; want %q", text, got, err, want)
		}
	}
}

// A shell gets commands, flags and, as often as they may be given, names of queries.
func TestCompletion(t *testing.T) {
	for line, want := range map[string][]string{
		"sparkjob ":                                {"submit", "watch", "checkpoint", "rejected", "trace"},
		"sparkjob w":                               {"watch"},
		"sparkjob checkpoint ":                     {"show", "rewind"},
		"sparkjob watch ":                          job.Names,
		"sparkjob watch events rej":                {"rejected_events"},
		"sparkjob checkpoint rewind events rejec":  {"rejected_events"},
		"sparkjob stop --stop-timeout 5s eve":      {"events"},
		"sparkjob checkpoint rewind events --begi": {"--beginning"},
		"sparkjob completion z":                    {"zsh"},
	} {
		t.Setenv("COMP_LINE", line)
		var out bytes.Buffer
		done, err := completeLine(parser(t, &out))
		if err != nil || !done {
			t.Errorf("%q is not completed: %v", line, err)
		}
		got := strings.Fields(out.String())
		for _, word := range want {
			if !slices.Contains(got, word) {
				t.Errorf("%q goes on with %v, want %s among them", line, got, word)
			}
		}
	}
	os.Unsetenv("COMP_LINE")
	var out bytes.Buffer
	if done, err := completeLine(parser(t, &out)); done || err != nil {
		t.Errorf("without a shell that asks: %v, %v", done, err)
	}
}
