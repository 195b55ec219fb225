package job

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/sparkjob/stream"
)

// Each query has its file and its table, and each file its query.
func TestQueriesAndTables(t *testing.T) {
	files, err := queries.ReadDir("queries")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(Names)+len(windowedViews) {
		t.Errorf("%d files below queries for %d queries and %d views", len(files), len(Names), len(windowedViews))
	}
	migrations, err := cassandra.Migrations.ReadDir("migrations")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Concat(windowedViews, Names) {
		if _, err := text(name); err != nil {
			t.Error(err)
		}
	}
	for _, query := range Queries {
		if query.ToKafka {
			continue
		}
		name, found := query.Name, false
		if query.Mode != stream.Append {
			t.Errorf("%s does not append, which is all that Cassandra's sink can do", name)
		}
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
	text, err := text("classified")
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
			t.Errorf("queries/classified.sql lacks %q", want)
		}
	}
}

// The watermark waits at least as long as an event on time may be behind another one.
func TestWatermarkCoversWhatIsOnTime(t *testing.T) {
	text, err := text("valid_events")
	if err != nil {
		t.Fatal(err)
	}
	minutes := 0
	for _, part := range regexp.MustCompile(`received_at [-+] INTERVAL '(\d+)' MINUTE`).FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(part[1])
		if err != nil {
			t.Fatal(err)
		}
		minutes += n
	}
	if minutes != 3 || Watermark < 5*time.Minute {
		t.Errorf("an event on time is up to %d min behind another, and the watermark waits %v", minutes, Watermark)
	}
}

func TestActivityIsThatOfTheSchema(t *testing.T) {
	text, err := text("bookstore_activity")
	if err != nil {
		t.Fatal(err)
	}
	window := fmt.Sprintf("window(event_time, '%d minute')", int(schema.ActivityWindow.Minutes()))
	if !strings.Contains(text, window) {
		t.Errorf("queries/bookstore_activity.sql lacks %q", window)
	}
	if !WritesActivity(schema.ActivityTopic) || WritesActivity("events") || WritesActivity("x") {
		t.Error("WritesActivity is wrong")
	}
}

func TestCheckNames(t *testing.T) {
	if err := CheckNames(Names...); err != nil {
		t.Error(err)
	}
	err := CheckNames("events", "event")
	if err == nil || !strings.Contains(err.Error(), `"event"`) || !strings.Contains(err.Error(), "rejected_events") {
		t.Errorf("CheckNames of a name that no query has: %v", err)
	}
}

func TestCheckpointIsTheTopicsOwn(t *testing.T) {
	c := Config{CheckpointLocation: "file:///c/", Topic: "t"}
	if got, want := c.Checkpoint("events"), "file:///c/t/events"; got != want {
		t.Errorf("Checkpoint = %q, want %q", got, want)
	}
}

// The bounds of what is on time stand in the SQL as literals.
func TestBoundsOfOnTimeStandInTheSQL(t *testing.T) {
	text, err := text("valid_events")
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("received_at - INTERVAL '%.0f' MINUTE AND received_at + INTERVAL '%.0f' MINUTE", MaxLate.Minutes(), MaxAhead.Minutes())
	if !strings.Contains(text, want) {
		t.Errorf("queries/valid_events.sql lacks %q", want)
	}
}

func TestConnection(t *testing.T) {
	c := cassandra.Config{Hosts: []string{"a", "b"}, Port: 9042, Datacenter: "d", User: "u", Password: "hush"}
	for name := range connection(c, "/ca.p12") {
		if strings.Contains(name, ".ssl.") {
			t.Errorf("without TLS there is %s", name)
		}
	}
	c.TLS.Enabled = true
	for _, test := range []struct{ trustStore, kind string }{{"/ca.p12", "PKCS12"}, {"/ca.jks", "JKS"}, {"", ""}} {
		options := connection(c, test.trustStore)
		if options["spark.cassandra.connection.ssl.enabled"] != "true" || options["spark.cassandra.auth.password"] != "hush" {
			t.Errorf("options = %v", options)
		}
		if got := options["spark.cassandra.connection.ssl.trustStore.path"]; got != test.trustStore {
			t.Errorf("trust store = %q, want %q", got, test.trustStore)
		}
		if got := options["spark.cassandra.connection.ssl.trustStore.type"]; got != test.kind {
			t.Errorf("%s is of type %q, want %q", test.trustStore, got, test.kind)
		}
	}
}
