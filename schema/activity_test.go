package schema_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"example.com/bookstore/schema"
)

func TestActivity(t *testing.T) {
	a := schema.Activity{
		WindowStart: time.Date(2026, 1, 31, 13, 0, 0, 0, time.FixedZone("", 3600)),
		BookID:      "emma", EventType: schema.Purchase, Events: 3,
	}
	value, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"window_start":"2026-01-31T12:00:00.000Z","book_id":"emma","event_type":"purchase","events":3}`; string(value) != want {
		t.Errorf("value %s, want %s", value, want)
	}
	if want := "2026-01-31T12:00:00.000Z|purchase|emma"; a.Key() != want {
		t.Errorf("Key = %q, want %q", a.Key(), want)
	}
	a.WindowStart = a.WindowStart.UTC()
	if back, err := schema.DecodeActivity(value); err != nil || back != a {
		t.Errorf("DecodeActivity = %+v, %v; want %+v", back, err, a)
	}
}

func TestActivityTopicOf(t *testing.T) {
	for topic, want := range map[string]string{schema.Topic: schema.ActivityTopic, "other": "other_activity"} {
		if got := schema.ActivityTopicOf(topic); got != want {
			t.Errorf("ActivityTopicOf(%q) = %q, want %q", topic, got, want)
		}
	}
}

// Go and the JSON Schema take and refuse the same values.
func TestActivityDefinitionsAgree(t *testing.T) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema.ActivityJSONSchema))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("activity.json", document); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("activity.json")
	if err != nil {
		t.Fatal(err)
	}
	fields := document.(map[string]any)
	properties := fields["properties"].(map[string]any)
	goType := reflect.TypeFor[schema.Activity]()
	if len(properties) != goType.NumField() {
		t.Errorf("Activity has %d fields, its JSON Schema %d", goType.NumField(), len(properties))
	}
	for i, required := range fields["required"].([]any) {
		if name := goType.Field(i).Tag.Get("json"); name != required || properties[name] == nil {
			t.Errorf("field %d is %q in Go, %q in the JSON Schema", i, name, required)
		}
	}
	good := `{"window_start":"2026-01-31T12:00:00.000Z","book_id":"emma","event_type":"purchase","events":3}`
	for value, want := range map[string]bool{
		good: true,
		strings.Replace(good, "{", `{"more":1,`, 1):           true,
		strings.Replace(good, `"emma"`, `""`, 1):              false,
		strings.Replace(good, `"emma"`, `7`, 1):               false,
		strings.Replace(good, `"purchase"`, `"sale"`, 1):      false,
		strings.Replace(good, `:3}`, `:0}`, 1):                false,
		strings.Replace(good, `:3}`, `:"3"}`, 1):              false,
		strings.Replace(good, `,"events":3`, ``, 1):           false,
		strings.Replace(good, `2026-01-31T12:00`, `12:00`, 1): false,
		strings.Replace(good, `"window_start"`, `"start"`, 1): false,
		"[]": false,
		"no": false,
	} {
		_, err := schema.DecodeActivity([]byte(value))
		if (err == nil) != want {
			t.Errorf("DecodeActivity(%s): %v", value, err)
		}
		instance, err := jsonschema.UnmarshalJSON(strings.NewReader(value))
		if err == nil {
			err = compiled.Validate(instance)
		}
		if (err == nil) != want {
			t.Errorf("JSON Schema on %s: %v", value, err)
		}
	}
}
