// Package env gives a program started by hand the same settings that the stack
// runs with. It stands before the data's path: each main calls it first.
package env

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/joho/godotenv"
)

// Files are read in this order, from the working directory. What the environment
// or an earlier file has set is never overridden.
var Files = []string{".env", composeClusterFile, composeFile, tlsFile, stackFile}

const (
	// composeFile is read only where STACK says that the engines run in containers.
	composeFile = "deploy/compose.env"
	// composeClusterFile is read only where there are several nodes as well.
	composeClusterFile = "deploy/compose-cluster.env"
	// tlsFile is read only where STACK_TLS says that the local engines are encrypted.
	tlsFile   = "deploy/tls.env"
	stackFile = "deploy/stack.env"
	// clusterFile has lines that take the place of stackFile's where STACK_NODES says that
	// there are several nodes.
	clusterFile = "deploy/stack-cluster.env"
)

// Load puts the variables of Files into the environment. A reference such as
// ${KAFKA_PORT} takes the value in force, wherever it was set. A file that does
// not exist is passed over.
func Load() error {
	for _, name := range Files {
		if (name == composeFile || name == composeClusterFile) && os.Getenv("STACK") != "compose" ||
			name == composeClusterFile && !cluster() {
			continue
		}
		if name == tlsFile && os.Getenv("STACK_TLS") != "true" {
			continue
		}
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading settings: %w", err)
		}
		if name == stackFile && cluster() {
			if text, err = Stack("."); err != nil {
				return err
			}
		}
		if err := load(string(text)); err != nil {
			return fmt.Errorf("reading settings of %s: %w", name, err)
		}
	}
	return nil
}

// ours are the variables that Load has set.
var ours []string

// Reload sets a variable on which others may depend, and reads Files anew.
func Reload(name, value string) error {
	for _, other := range ours {
		if err := os.Unsetenv(other); err != nil {
			return err
		}
	}
	ours = nil
	if err := os.Setenv(name, value); err != nil {
		return err
	}
	return Load()
}

func cluster() bool {
	nodes := os.Getenv("STACK_NODES")
	return nodes != "" && nodes != "1"
}

// Stack returns the text of deploy/stack.env in the project's folder. Where STACK_NODES
// asks for several nodes, the lines of deploy/stack-cluster.env stand in place of its own.
func Stack(project string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(project, stackFile))
	if err != nil {
		return nil, fmt.Errorf("reading settings: %w", err)
	}
	if !cluster() {
		return text, nil
	}
	lines, err := os.ReadFile(filepath.Join(project, clusterFile))
	if err != nil {
		return nil, fmt.Errorf("reading settings: %w", err)
	}
	instead := map[string][]byte{}
	for _, match := range assignment.FindAllSubmatch(lines, -1) {
		instead[string(match[1])] = match[0]
	}
	return assignment.ReplaceAllFunc(text, func(line []byte) []byte {
		if other, ok := instead[string(assignment.FindSubmatch(line)[1])]; ok {
			return other
		}
		return line
	}), nil
}

var assignment = regexp.MustCompile(`(?m)^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=.*$`)

// load sets the variables of one file. godotenv expands references from the file
// alone, so an assignment that the environment overrides is replaced first.
func load(text string) error {
	text = assignment.ReplaceAllStringFunc(text, func(line string) string {
		name := assignment.FindStringSubmatch(line)[1]
		if value, ok := os.LookupEnv(name); ok {
			return name + "='" + strings.ReplaceAll(value, "'", `\'`) + "'"
		}
		return line
	})
	vars, err := godotenv.Unmarshal(text)
	if err != nil {
		return err
	}
	for name, value := range vars {
		if _, ok := os.LookupEnv(name); !ok {
			if err := os.Setenv(name, value); err != nil {
				return err
			}
			ours = append(ours, name)
		}
	}
	return nil
}
