package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.com/bookstore/deploy/bench/figures"
	"example.com/bookstore/deploy/bench/machine"
	"example.com/bookstore/deploy/docs"
)

// The files that a run leaves behind.
const (
	linesFile = "bench.jsonl"
	tableFile = "bench.md"
)

// runCmd measures group after group and shows what came out.
type runCmd struct {
	Only   []string       `placeholder:"GROUP" help:"Only these groups: ${groups}."`
	Match  *regexp.Regexp `placeholder:"REGEXP" help:"Only contenders with a name that matches."`
	Quick  bool           `help:"A first look: one round, and short ones."`
	Rounds int            `default:"3" help:"How often the contenders take turns."`
	Out    string         `type:"path" default:".stack/bench" placeholder:"DIR" help:"Folder for the figures: bench.jsonl, bench.md, and the logs of what was measured."`
	Readme bool           `help:"Put the tables into README.md, in place of those that it has."`
}

// Validate is called by kong after parsing.
func (c *runCmd) Validate() error {
	if c.Rounds < 1 {
		return fmt.Errorf("--rounds is %d, not at least 1", c.Rounds)
	}
	for _, name := range c.Only {
		if _, ok := findGroup(name); !ok {
			return fmt.Errorf("--only: there is no group %q; the groups are %s", name, groupNames())
		}
	}
	return nil
}

func (c *runCmd) Run(ctx context.Context) error {
	if _, err := os.Stat("deploy/stack.env"); err != nil {
		return errors.New("there is no deploy/stack.env here: run this command from the project's folder")
	}
	if c.Quick {
		c.Rounds = 1
	}
	about, err := machine.Describe(ctx)
	if err != nil {
		return err
	}
	fmt.Println(strings.ReplaceAll(about.String(), "; ", "\n")) // too long for one line
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return err
	}
	lines := filepath.Join(c.Out, linesFile)
	first, err := json.Marshal(about)
	if err != nil {
		return err
	}
	if err := os.WriteFile(lines, append(first, '\n'), 0o644); err != nil {
		return err
	}

	began := time.Now()
	var failures []error
	for _, on := range byStack(c.groups()) {
		if err := c.measure(ctx, on, lines); err != nil {
			failures = append(failures, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	list, err := readFigures(lines)
	if err != nil {
		return errors.Join(append(failures, err)...)
	}
	summaries, verdicts := figures.Summarize(list), judge(list, c.Only)
	fmt.Printf("\n%s\n\ntook %.0f s; figures in %s\n", figures.Terminal(summaries, verdicts), time.Since(began).Seconds(), c.Out)
	document := about.String() + ".\n\n" + figures.Markdown(summaries, verdicts) + "\n"
	failures = append(failures, os.WriteFile(filepath.Join(c.Out, tableFile), []byte(document), 0o644))
	if c.Readme {
		failures = append(failures, replaceIn("README.md", document))
	}
	return errors.Join(failures...)
}

// groups are those that were asked for.
func (c *runCmd) groups() []group {
	return slices.DeleteFunc(slices.Clone(groups), func(g group) bool {
		return (len(c.Only) > 0 && !slices.Contains(c.Only, g.name)) ||
			(c.Quick && !slices.ContainsFunc(g.contenders, func(c contender) bool { return c.quick }))
	})
}

// measure has a throwaway stack brought up, and this program measure the groups on it.
func (c *runCmd) measure(ctx context.Context, on []group, lines string) error {
	args := append([]string{"measure"}, names(on)...)
	args = append(args, "--out", c.Out, "--figures", lines, "--rounds", strconv.Itoa(c.Rounds))
	if c.Quick {
		args = append(args, "--quick")
	}
	if c.Match != nil {
		args = append(args, "--match", c.Match.String())
	}
	if err := onStack(ctx, on[0].services, c.Out, args...); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(names(on), ", "), err)
	}
	return nil
}

// onStack runs this program on a throwaway stack with these services; without a stack if
// there are none.
func onStack(ctx context.Context, services, out string, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args = append([]string{self}, args...)
	if services != "" {
		// Not by `go run`, which does not pass on that this program is told to end.
		logs := filepath.Join(out, "logs")
		if err := os.MkdirAll(logs, 0o755); err != nil {
			return err
		}
		stack, err := build(ctx, logs, "./deploy/stack")
		if err != nil {
			return err
		}
		on := []string{stack, "exec"}
		if services != allEngines {
			on = append(on, "--only", services)
		}
		args = append(append(on, "--"), args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	return cmd.Run()
}

func readFigures(name string) ([]figures.Figure, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return figures.Read(file)
}

// judge looks at the floors of the groups that were asked for.
func judge(list []figures.Figure, only []string) []figures.Verdict {
	var verdicts []figures.Verdict
	for _, floor := range floors {
		if len(only) == 0 || slices.Contains(only, floor.Of.Group) {
			verdicts = append(verdicts, floor.Judge(list))
		}
	}
	return verdicts
}

// The marks in a document between which the tables stand.
const (
	tablesBegin = "<!-- bench: begin -->\n"
	tablesEnd   = "<!-- bench: end -->\n"
)

// replaceIn puts the tables into a document.
func replaceIn(name, tables string) error {
	return docs.InsertInto(name, tablesBegin, tablesEnd, tables)
}
