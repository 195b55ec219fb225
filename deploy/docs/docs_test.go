package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"
)

const root = "../.."

// documents that the tests follow, from the project's folder.
func documents(t *testing.T) []string {
	t.Helper()
	list := []string{"README.md", "CONTRIBUTING.md", "sparkjob/stream/README.md"}
	guides, err := filepath.Glob("*.md")
	if err != nil || len(guides) == 0 {
		t.Fatalf("no documents here: %v", err)
	}
	for _, name := range guides {
		list = append(list, "deploy/docs/"+name)
	}
	return list
}

// block is a fenced piece of a document, with the directives before it: comments that
// a reader does not see, each "name: value".
//
//	<!-- file: PATH -->               the block is this file's content
//	<!-- background until: REGEXP --> the command goes on; wait for that in its output
//	<!-- retry until: REGEXP -->      run it again until its output is so
//	<!-- exit: CODE -->               it ends with this code instead of 0
//	<!-- shows: REGEXP -->            its output must be so
//	<!-- run by: TEST -->             a test of that name runs it, not this one
type block struct {
	document   string
	line       int
	language   string
	content    string
	directives map[string]string
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.document, b.line) }

var directive = regexp.MustCompile(`(?s)<!--\s*(file|background until|retry until|exit|shows|run by):\s*(.*?)\s*-->`)

func blocks(t *testing.T, document string) []block {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(root, document))
	if err != nil {
		t.Fatal(err)
	}
	var found []block
	directives := map[string]string{}
	tree := goldmark.DefaultParser().Parse(text.NewReader(source))
	// Fences also stand in lists.
	err = ast.Walk(tree, func(node ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch node := node.(type) {
		case *ast.HTMLBlock:
			for _, match := range directive.FindAllStringSubmatch(string(node.Lines().Value(source)), -1) {
				directives[match[1]] = match[2]
			}
		case *ast.FencedCodeBlock:
			line := 0
			if node.Lines().Len() > 0 {
				line = strings.Count(string(source[:node.Lines().At(0).Start]), "\n") + 1
			}
			found = append(found, block{
				document, line, string(node.Language(source)), string(node.Lines().Value(source)), directives,
			})
			directives = map[string]string{}
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(directives) > 0 {
		t.Errorf("%s: directives %v before no block", document, directives)
	}
	return found
}

// Blocks that another test runs name one that is there.
func TestRunByNamesATest(t *testing.T) {
	for _, document := range documents(t) {
		for _, b := range blocks(t, document) {
			name, ok := b.directives["run by"]
			if !ok {
				continue
			}
			out, err := exec.Command("git", "-C", root, "grep", "-l", "func "+name+"(t", "--", "*_test.go").Output()
			if err != nil || len(out) == 0 {
				t.Errorf("%s: no test is called %s", b, name)
			}
		}
	}
}

// Links to files of the project, and pictures, lead somewhere.
func TestLinksLeadSomewhere(t *testing.T) {
	checked := 0
	for _, document := range documents(t) {
		source, err := os.ReadFile(filepath.Join(root, document))
		if err != nil {
			t.Fatal(err)
		}
		tree := goldmark.DefaultParser().Parse(text.NewReader(source))
		err = ast.Walk(tree, func(node ast.Node, entering bool) (ast.WalkStatus, error) {
			var target string
			switch node := node.(type) {
			case *ast.Link:
				target = string(node.Destination)
			case *ast.Image:
				target = string(node.Destination)
			}
			target, _, _ = strings.Cut(target, "#")
			if !entering || target == "" || strings.Contains(target, "://") {
				return ast.WalkContinue, nil
			}
			checked++
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(document), target)); err != nil {
				t.Errorf("%s links to %s: %v", document, target, err)
			}
			return ast.WalkContinue, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if checked == 0 {
		t.Error("no document has a link")
	}
}

// Outputs that are shown fit a terminal of 80 columns.
func TestOutputsFitATerminal(t *testing.T) {
	for _, document := range documents(t) {
		for _, b := range blocks(t, document) {
			if !slices.Contains([]string{"", "text"}, b.language) {
				continue
			}
			for i, line := range strings.Split(b.content, "\n") {
				if n := len([]rune(line)); n > 80 {
					t.Errorf("%s:%d has %d columns: %s", b.document, b.line+i, n, line)
				}
			}
		}
	}
}
