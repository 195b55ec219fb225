package job

import (
	"fmt"
	"strings"
	"testing"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
)

// Each query has its file and its table, and each file its query.
func TestQueriesAndTables(t *testing.T) {
	files, err := queries.ReadDir("queries")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(Names)+1 { // and the view that they read
		t.Errorf("%d files below queries for %d queries and one view", len(files), len(Names))
	}
	migrations, err := cassandra.Migrations.ReadDir("migrations")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(Names, classifiedView) {
		if _, err := sql(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range Names {
		found := false
		for _, migration := range migrations {
			text, err := cassandra.Migrations.ReadFile("migrations/" + migration.Name())
			if err != nil {
				t.Fatal(err)
			}
			found = found || strings.Contains(string(text), "CREATE TABLE IF NOT EXISTS "+name+" (")
		}
		if !found {
			t.Errorf("no migration creates table %s", name)
		}
	}
}

// The limits of the schema stand in the SQL as literals.
func TestLimitsAreThoseOfTheSchema(t *testing.T) {
	text, err := sql(classifiedView)
	if err != nil {
		t.Fatal(err)
	}
	types := make([]string, 0, 3)
	for _, name := range schema.EventTypes() {
		types = append(types, fmt.Sprintf("'%s'", name))
	}
	for _, want := range []string{
		fmt.Sprintf("octet_length(value) > %d ", schema.MaxPayload),
		fmt.Sprintf("char_length(user_id) > %d ", schema.MaxIDLength),
		fmt.Sprintf("char_length(book_id) > %d ", schema.MaxIDLength),
		"NOT IN (" + strings.Join(types, ", ") + ")",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("queries/%s.sql lacks %q", classifiedView, want)
		}
	}
}

func TestCheckpointIsTheTopicsOwn(t *testing.T) {
	c := Config{CheckpointLocation: "file:///c/", Topic: "t"}
	if got, want := c.Checkpoint("events"), "file:///c/t/events"; got != want {
		t.Errorf("Checkpoint = %q, want %q", got, want)
	}
}
