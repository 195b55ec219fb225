package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"example.com/bookstore/deploy/stack/service"
)

// nodesFile tells, beside the data, of how many nodes they are: a cluster that has data
// is no other one because a setting is another.
const nodesFile = "nodes"

// nodesOf returns how many nodes the data in a stack's folder are of, 0 if there are none.
func nodesOf(dir string) (int, error) {
	file := filepath.Join(dir, "data", nodesFile)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading how many nodes there are: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("reading how many nodes there are: %s: %w", file, err)
	}
	return n, nil
}

// build makes the services of the stack in dir: as many nodes as its data are of, else
// as many as the configuration says.
func build(b service.Builder, dir string) (*service.Builder, []*service.Service, error) {
	b.Dir = dir
	n, err := nodesOf(dir)
	if err != nil {
		return nil, nil, err
	}
	if n > 0 {
		b.Config.Nodes = n
	}
	return &b, b.All(), nil
}

// sameNodes refuses to start another number of nodes than there are data of.
func (s *Stack) sameNodes() error {
	n, err := nodesOf(s.builder.Dir)
	if err != nil || n == 0 || n == s.nodes {
		return err
	}
	return fmt.Errorf("the data in %s are of %d nodes, but STACK_NODES is %d: set STACK_NODES=%[2]d in .env, or run clean to start with empty data",
		relative(s.builder.Dir), n, s.nodes)
}

// noteNodes remembers of how many nodes the data will be.
func (s *Stack) noteNodes() error {
	file := filepath.Join(s.builder.Dir, "data", nodesFile)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("noting how many nodes there are: %w", err)
	}
	if err := os.WriteFile(file, fmt.Appendln(nil, s.builder.Config.Nodes), 0o644); err != nil {
		return fmt.Errorf("noting how many nodes there are: %w", err)
	}
	return nil
}
