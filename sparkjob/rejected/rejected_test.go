package rejected

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
)

func TestPosition(t *testing.T) {
	var p Position
	if err := p.UnmarshalText([]byte("3:1042")); err != nil || p != (Position{3, 1042}) || p.String() != "3:1042" {
		t.Errorf("3:1042 is read as %v, %v", p, err)
	}
	for _, text := range []string{"", "3", "3:", ":1", "a:1", "3:b", "-1:2", "3:-2", "3:1:2"} {
		if err := p.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "PARTITION:OFFSET") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestFilter(t *testing.T) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	row := cassandra.RejectedEvent{Reason: "event_id is missing or empty; user_id is not a string", ReceivedAt: at}
	for _, test := range []struct {
		filter Filter
		want   bool
	}{
		{Filter{}, true}, {Filter{Reason: "USER_ID"}, true}, {Filter{Reason: "book_id"}, false},
		{Filter{Since: at}, true}, {Filter{Since: at.Add(time.Millisecond)}, false},
	} {
		if got := test.filter.takes(row); got != test.want {
			t.Errorf("%+v takes the row: %v", test.filter, got)
		}
	}
}

func TestMend(t *testing.T) {
	row := cassandra.RejectedEvent{Topic: "books", Partition: 3, Offset: 7, Payload: []byte(`{"event_type": "purchase", "event_time": "2026-01-31T12:00:00Z", "user_id": "v<1>", "extra": [1, 2]}`)}
	if _, _, err := Mended(row, row.Payload); err == nil || !strings.Contains(err.Error(), "3:7 of topic books") ||
		!strings.Contains(err.Error(), "event_id is missing or empty; book_id is missing or empty") {
		t.Errorf("Mended with what is wrong still: %v", err)
	}
	id := DerivedID(row.Topic, Position{3, 7})
	if !schema.ValidEventID(id) || id != DerivedID("books", Position{3, 7}) || id == DerivedID("books", Position{3, 8}) {
		t.Errorf("the derived id is %s", id)
	}
	value, err := Set(row.Payload, map[string]string{"event_id": id, "book_id": "emma & more"})
	if err != nil {
		t.Fatal(err)
	}
	record, event, err := Mended(row, value)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"book_id":"emma & more","event_id":"` + id + `","event_time":"2026-01-31T12:00:00Z","event_type":"purchase","extra":[1,2],"user_id":"v<1>"}`
	if string(record.Value) != want || string(record.Key) != "v<1>" || event.BookID != "emma & more" || record.Topic != "books" ||
		record.Headers["schema_version"] != "1" || record.Headers["replayed_from"] != "books/3/7" {
		t.Errorf("Mended = %+v, value %s, want %s", record, record.Value, want)
	}
	for _, payload := range []string{"purchase;emma", "null", "[]"} {
		if _, err := Set([]byte(payload), map[string]string{"a": "b"}); err == nil || !strings.Contains(err.Error(), "--edit") {
			t.Errorf("Set in %q: %v", payload, err)
		}
		if same, err := Set([]byte(payload), nil); err != nil || string(same) != payload {
			t.Errorf("Set of nothing in %q = %q, %v", payload, same, err)
		}
	}
}

func TestEdit(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	t.Setenv("VISUAL", "")
	t.Setenv("EDITOR", "sed -i s/emma/persuasion/")
	edited, file, err := Edit(t.Context(), []byte(`{"book_id": "emma"}`), "record-*.json")
	if err != nil || string(edited) != `{"book_id": "persuasion"}`+"\n" || filepath.Dir(file) != folder {
		t.Errorf("Edit = %q, %s, %v", edited, file, err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	t.Setenv("EDITOR", "false")
	if _, _, err := Edit(t.Context(), nil, "record-*"); err == nil || !strings.Contains(err.Error(), "set EDITOR") {
		t.Errorf("Edit with an editor that fails: %v", err)
	}
}
