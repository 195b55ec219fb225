package rejected

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/google/uuid"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/sparkjob/records"
)

// ReplayHeader is the Kafka header of a record that was sent again:
// topic/partition/offset of the one that was rejected.
const ReplayHeader = "replayed_from"

// Set returns the payload, a JSON object, with fields set to texts.
func Set(payload []byte, fields map[string]string) ([]byte, error) {
	if len(fields) == 0 {
		return payload, nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(payload, &object); err != nil || object == nil {
		return nil, errors.New("setting fields: the payload is not a JSON object; give a whole one with --payload or --edit")
	}
	for name, text := range fields {
		value, err := encode(text)
		if err != nil {
			return nil, fmt.Errorf("setting field %s: %w", name, err)
		}
		object[name] = value
	}
	value, err := encode(object)
	if err != nil {
		return nil, fmt.Errorf("setting fields: %w", err)
	}
	return value, nil
}

// encode is json.Marshal without the escapes that only a page needs.
func encode(v any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return bytes.TrimSpace(out.Bytes()), err
}

// DerivedID returns the event id for a record that has none: it follows from where the
// record stands, so that each attempt at it is the same event.
func DerivedID(topic string, at Position) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(source(topic, at))).String()
}

func source(topic string, at Position) string {
	return fmt.Sprintf("%s/%d/%d", topic, at.Partition, at.Offset)
}

// Indent returns a JSON text set out for a person, or the text itself if it is no JSON.
func Indent(text []byte) []byte {
	var out bytes.Buffer
	if json.Indent(&out, text, "", "  ") != nil {
		return text
	}
	return out.Bytes()
}

// Edit lets the person change a text in their editor and returns it, and the name of the
// file that has it, which the caller removes.
func Edit(ctx context.Context, text []byte, pattern string) (edited []byte, file string, err error) {
	editor := os.Getenv("VISUAL")
	if editor == "" {
		editor = os.Getenv("EDITOR")
	}
	if editor == "" {
		editor = "vi"
	}
	f, err := os.CreateTemp("", pattern)
	if err != nil {
		return nil, "", fmt.Errorf("editing the payload: %w", err)
	}
	_, err = f.Write(append(bytes.Clone(text), '\n'))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, f.Name(), fmt.Errorf("editing the payload: %w", err)
	}
	// As a shell would, since the variable may hold arguments.
	cmd := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", f.Name()) //nolint:gosec // the person's own editor
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, f.Name(), fmt.Errorf("editing the payload with %s: %w; set EDITOR to your editor", editor, err)
	}
	edited, err = os.ReadFile(f.Name())
	if err != nil {
		return nil, f.Name(), fmt.Errorf("editing the payload: %w", err)
	}
	return edited, f.Name(), nil
}

// Mended returns the record that takes the place of a rejected one. The error has the
// reasons if the value is no event either.
func Mended(row cassandra.RejectedEvent, value []byte) (records.Record, schema.Event, error) {
	at := Position{row.Partition, row.Offset}
	var compact bytes.Buffer
	if json.Compact(&compact, value) == nil {
		value = compact.Bytes()
	}
	event, err := schema.Decode(value)
	if err != nil {
		return records.Record{}, event, fmt.Errorf("replaying record %v of topic %s: it would be rejected again: %s", at, row.Topic, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return records.Record{
		Topic: row.Topic, Key: []byte(event.UserID), Value: value,
		Headers: map[string]string{schema.VersionHeader: schema.Version, ReplayHeader: source(row.Topic, at)},
	}, event, nil
}
