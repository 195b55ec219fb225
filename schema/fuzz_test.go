package schema_test

import (
	"encoding/json"
	"os"
	"testing"
	"unicode/utf8"

	"example.com/bookstore/schema"
)

// Whatever a record holds, Decode answers, and what it takes for an event is one: valid,
// and the same when it is written and read again.
func FuzzDecode(f *testing.F) {
	text, err := os.ReadFile("testdata/payloads.json")
	if err != nil {
		f.Fatal(err)
	}
	var payloads []struct{ Payload string }
	if err := json.Unmarshal(text, &payloads); err != nil {
		f.Fatal(err)
	}
	for _, p := range payloads {
		f.Add([]byte(p.Payload))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		event, err := schema.Decode(value)
		if err != nil {
			if err.Error() == "" || !utf8.ValidString(err.Error()) {
				t.Errorf("the reason %q cannot be stored", err)
			}
			return
		}
		if err := event.Validate(); err != nil {
			t.Errorf("%s is decoded as %+v, which is not valid: %v", value, event, err)
		}
		again, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		back, err := schema.Decode(again)
		if err != nil || back != event {
			t.Errorf("%s is decoded as %+v, written as %s and read again as %+v, %v", value, event, again, back, err)
		}
	})
}
