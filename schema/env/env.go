// Package env gives a program started by hand the same settings that the stack
// runs with. It stands before the data's path: each main calls it first.
package env

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/joho/godotenv"
)

// Files are read in this order, from the working directory. What the environment
// or an earlier file has set is never overridden.
var Files = []string{".env", composeFile, tlsFile, "deploy/stack.env"}

// composeFile is read only where STACK says that the engines run in containers.
const composeFile = "deploy/compose.env"

// tlsFile is read only where STACK_TLS says that the local engines are encrypted.
const tlsFile = "deploy/tls.env"

// Load puts the variables of Files into the environment. A reference such as
// ${KAFKA_PORT} takes the value in force, wherever it was set. A file that does
// not exist is passed over.
func Load() error {
	for _, name := range Files {
		if name == composeFile && os.Getenv("STACK") != "compose" {
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
		if err := load(string(text)); err != nil {
			return fmt.Errorf("reading settings of %s: %w", name, err)
		}
	}
	return nil
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
		}
	}
	return nil
}
