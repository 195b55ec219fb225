// Package supervisor runs the engines and programs of the bookstore as processes of
// this machine: it starts them in the order of the data's path, looks after nothing
// while they run, and stops them in reverse.
package supervisor

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/bookstore/deploy/stack/process"
	"example.com/bookstore/deploy/stack/service"
)

// Stack is one local stack: the main one, or a throwaway one of Exec.
type Stack struct {
	builder  *service.Builder
	services []*service.Service
	nodes    int       // that the configuration asks for
	out      io.Writer // tells the user what happens
	mu       sync.Mutex
}

// New returns the stack that the configuration describes. The project is the folder
// of the checkout; jars and programs are shared by all of its stacks.
func New(cfg service.Config, project string, out io.Writer) (*Stack, error) {
	project, err := filepath.Abs(project)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	b, services, err := build(service.Builder{Config: cfg, Project: project, Shared: filepath.Join(project, ".stack")}, dir)
	if err != nil {
		return nil, err
	}
	return &Stack{builder: b, services: services, nodes: cfg.Nodes, out: out}, nil
}

func (s *Stack) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, format+"\n", args...)
}

// Names returns the names of all services, in the order in which they start.
func (s *Stack) Names() []string {
	var names []string
	for _, svc := range s.services {
		names = append(names, svc.Name)
	}
	return names
}

func (s *Stack) find(name string) (*service.Service, error) {
	for _, svc := range s.services {
		if svc.Name == name {
			return svc, nil
		}
	}
	return nil, fmt.Errorf("there is no service %q, only %s", name, strings.Join(s.Names(), ", "))
}

// closure returns the named services and all that they need, in starting order.
func (s *Stack) closure(names []string) ([]*service.Service, error) {
	want := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		svc, err := s.find(name)
		if err != nil || want[name] {
			return err
		}
		want[name] = true
		for _, other := range slices.Concat(svc.After, svc.With) {
			if err := add(other); err != nil {
				return err
			}
		}
		return nil
	}
	for _, name := range names {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(slices.Clone(s.services), func(svc *service.Service) bool { return !want[svc.Name] }), nil
}

// lock keeps other commands from starting and stopping services of this stack.
func (s *Stack) lock(ctx context.Context) (unlock func(), err error) {
	return lock(ctx, filepath.Join(s.builder.Dir, "run", "lock"), func() {
		s.say("another command is starting or stopping this stack; waiting for it")
	})
}

// relative shortens a path for the reader.
func relative(path string) string {
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, path); err == nil && !strings.HasPrefix(rel, "..") {
			return rel
		}
	}
	return path
}

// withLog adds the last lines of a log to an error.
func withLog(err error, logFile string) error {
	lines, tailErr := process.Tail(logFile, 15)
	if tailErr != nil || len(lines) == 0 {
		return fmt.Errorf("%w (%s has no lines)", err, relative(logFile))
	}
	return fmt.Errorf("%w\nlast lines of %s:\n  %s", err, relative(logFile), strings.Join(lines, "\n  "))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
