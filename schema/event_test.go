package schema_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
)

// The columns of an event as each of the four definitions has them.
func TestDefinitionsAgree(t *testing.T) {
	type column struct{ name, kind string }

	var goColumns []column
	value, err := json.Marshal(schema.Event{})
	if err != nil {
		t.Fatal(err)
	}
	goType := reflect.TypeFor[schema.Event]()
	for i, match := range regexp.MustCompile(`"(\w+)":`).FindAllSubmatch(value, -1) {
		field := goType.Field(i)
		if want := strings.ReplaceAll(string(match[1]), "_", ""); !strings.EqualFold(field.Name, want) {
			t.Errorf("field %d of Event is %s, its JSON %s", i, field.Name, match[1])
		}
		goColumns = append(goColumns, column{string(match[1]), field.Type.String()})
	}
	if len(goColumns) != goType.NumField() {
		t.Fatalf("Event has %d fields, its JSON %d", goType.NumField(), len(goColumns))
	}

	var jsonSchema struct {
		Required   []string
		Properties map[string]struct {
			Type, Format string
			Enum         []string
			MaxLength    int
		}
	}
	if err := json.Unmarshal(schema.JSONSchema, &jsonSchema); err != nil {
		t.Fatal(err)
	}

	ddl := strings.Split(strings.TrimSpace(schema.SparkDDL), ", ")
	migration, err := cassandra.Migrations.ReadFile("migrations/0001_events.up.cql")
	if err != nil {
		t.Fatal(err)
	}
	cql := regexp.MustCompile(`(?m)^    (\w+)\s+(uuid|text|timestamp)\b`).FindAllSubmatch(migration, -1)

	type types struct{ goType, jsonFormat, spark, cql string }
	want := map[string]types{
		"event_id":   {"string", "uuid", "STRING", "uuid"},
		"event_type": {"schema.EventType", "", "STRING", "text"},
		"event_time": {"time.Time", "date-time", "TIMESTAMP", "timestamp"},
		"user_id":    {"string", "", "STRING", "text"},
		"book_id":    {"string", "", "STRING", "text"},
	}
	if len(goColumns) != len(want) || len(jsonSchema.Properties) != len(want) || len(ddl) != len(want) || len(cql) != len(want) {
		t.Fatalf("columns: Go %d, JSON Schema %d, Spark %d, CQL %d; want %d each",
			len(goColumns), len(jsonSchema.Properties), len(ddl), len(cql), len(want))
	}
	for i, c := range goColumns {
		got := types{goType: c.kind, jsonFormat: jsonSchema.Properties[c.name].Format, cql: string(cql[i][2])}
		name, sparkType, _ := strings.Cut(ddl[i], " ")
		got.spark = sparkType
		if got != want[c.name] {
			t.Errorf("%s: %+v, want %+v", c.name, got, want[c.name])
		}
		if name != c.name || string(cql[i][1]) != c.name || jsonSchema.Required[i] != c.name {
			t.Errorf("column %d is %s in Go, %s in Spark, %s in CQL, %s in JSON Schema",
				i, c.name, name, cql[i][1], jsonSchema.Required[i])
		}
		if jsonSchema.Properties[c.name].Type != "string" {
			t.Errorf("%s has JSON type %q, want string", c.name, jsonSchema.Properties[c.name].Type)
		}
	}
	var enum []schema.EventType
	for _, name := range jsonSchema.Properties["event_type"].Enum {
		enum = append(enum, schema.EventType(name))
	}
	if !reflect.DeepEqual(enum, schema.EventTypes()) {
		t.Errorf("event types: JSON Schema %v, Go %v", enum, schema.EventTypes())
	}
	for _, name := range []string{"user_id", "book_id"} {
		if got := jsonSchema.Properties[name].MaxLength; got != schema.MaxIDLength {
			t.Errorf("maxLength of %s is %d, want %d", name, got, schema.MaxIDLength)
		}
	}
}

// payloads.json lists record values and what is wrong with each. Go and the JSON
// Schema are held against it here, the job's SQL on a real Spark in deploy/e2e.
func TestPayloads(t *testing.T) {
	text, err := os.ReadFile("testdata/payloads.json")
	if err != nil {
		t.Fatal(err)
	}
	var payloads []struct{ Name, Payload, Reason string }
	if err := json.Unmarshal(text, &payloads); err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema.JSONSchema))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("event.json", document); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("event.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range payloads {
		t.Run(p.Name, func(t *testing.T) {
			event, err := schema.Decode([]byte(p.Payload))
			var reason string
			if err != nil {
				reason = strings.ReplaceAll(err.Error(), "\n", "; ")
			}
			if reason != p.Reason {
				t.Errorf("Decode(%s): %q, want %q", p.Payload, reason, p.Reason)
			}
			instance, err := jsonschema.UnmarshalJSON(strings.NewReader(p.Payload))
			if err == nil {
				err = compiled.Validate(instance)
			}
			if (err == nil) != (p.Reason == "") {
				t.Errorf("JSON Schema on %s: %v, want reason %q", p.Payload, err, p.Reason)
			}
			if p.Reason != "" {
				return
			}
			again, err := json.Marshal(event)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := schema.Decode(again); err != nil || back != event {
				t.Errorf("written and read again: %+v, %v; want %+v", back, err, event)
			}
		})
	}
}

func TestDecodeBounds(t *testing.T) {
	value, err := json.Marshal(schema.Event{
		EventID: schema.NewEventID(), EventType: schema.Purchase, EventTime: time.Now(), UserID: "u", BookID: "b",
	})
	if err != nil {
		t.Fatal(err)
	}
	fill := func(size int) []byte {
		return append(value[:len(value):len(value)], bytes.Repeat([]byte(" "), size-len(value))...)
	}
	if _, err := schema.Decode(fill(schema.MaxPayload)); err != nil {
		t.Errorf("a payload of MaxPayload bytes: %v", err)
	}
	if _, err := schema.Decode(fill(schema.MaxPayload + 1)); err == nil {
		t.Error("a payload of MaxPayload+1 bytes was accepted")
	}
	if _, err := schema.Decode(bytes.Replace(value, []byte(`"u"`), []byte("\"\xff\""), 1)); err == nil {
		t.Error("a payload that is not UTF-8 was accepted")
	}
}

func TestTimeLayout(t *testing.T) {
	for _, at := range []time.Time{
		time.Unix(0, 0), time.Unix(-1, 999_999_999), time.Unix(1_700_000_000, 7_000_000), time.Unix(1_700_000_000, 70_999_999),
		time.Date(1, 1, 1, 0, 0, 0, 1_000_000, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999_000_000, time.UTC),
		time.Date(2026, 1, 31, 12, 0, 0, 123_456_789, time.FixedZone("", 2*60*60)),
	} {
		raw, err := json.Marshal(schema.Event{EventTime: at})
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf(`"event_time":%q`, at.UTC().Format(schema.TimeLayout)); !strings.Contains(string(raw), want) {
			t.Errorf("%s has no %s", raw, want)
		}
	}
}

func TestParseTime(t *testing.T) {
	got, err := schema.ParseTime("2026-03-01T12:15:30.123987+02:00")
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2026, 3, 1, 10, 15, 30, 123e6, time.UTC); got != want {
		t.Errorf("ParseTime = %v, want %v", got, want)
	}
}
