//go:build prometheus

package metrics

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

type dashboard struct {
	UID    string
	Title  string
	Panels []struct {
		ID         int
		Type       string
		Title      string
		Datasource *struct{ UID string }
		GridPos    struct{ X, Y, W, H int }
		Targets    []struct{ RefID, Expr string }
	}
}

func TestDashboards(t *testing.T) {
	files, err := filepath.Glob("grafana/dashboards/*.json")
	if err != nil || len(files) != 3 {
		t.Fatalf("dashboards: %v, %v", files, err)
	}
	source, err := os.ReadFile("grafana/provisioning/datasources/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var board dashboard
		if err := json.Unmarshal(text, &board); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if board.UID == "" || seen[board.UID] || board.Title == "" {
			t.Errorf("%s: uid %q, title %q", file, board.UID, board.Title)
		}
		seen[board.UID] = true
		ids := map[int]bool{}
		taken := map[[2]int]string{}
		for _, panel := range board.Panels {
			if ids[panel.ID] {
				t.Errorf("%s: id %d is there twice", file, panel.ID)
			}
			ids[panel.ID] = true
			for x := panel.GridPos.X; x < panel.GridPos.X+panel.GridPos.W; x++ {
				for y := panel.GridPos.Y; y < panel.GridPos.Y+panel.GridPos.H; y++ {
					if other, ok := taken[[2]int{x, y}]; ok || x >= 24 {
						t.Fatalf("%s: %q lies over %q or beyond the edge", file, panel.Title, other)
					}
					taken[[2]int{x, y}] = panel.Title
				}
			}
			if panel.Type == "row" {
				continue
			}
			if len(panel.Targets) == 0 {
				t.Errorf("%s: %q shows nothing", file, panel.Title)
			}
			if panel.Datasource == nil || !strings.Contains(string(source), "uid: "+panel.Datasource.UID+"\n") {
				t.Errorf("%s: %q asks a source that is not provisioned", file, panel.Title)
			}
			for _, target := range panel.Targets {
				expr := strings.ReplaceAll(target.Expr, "$__rate_interval", "1m")
				if _, err := parser.NewParser(parser.Options{}).ParseExpr(expr); err != nil {
					t.Errorf("%s: %q: %s: %v", file, panel.Title, target.Expr, err)
				}
			}
		}
	}
}
