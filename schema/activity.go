package schema

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// ActivityTopic is the Kafka topic to which the job's query of the same name
	// writes what is being done with each book, while it is being done: an
	// Activity a record, whose key is Activity.Key. It is compacted, since a
	// record replaces the one before it of the same key.
	ActivityTopic = "bookstore_activity"

	// ActivityWindow is the length of the time that an Activity counts.
	ActivityWindow = time.Minute
)

// ActivityJSONSchema is the JSON Schema (draft 2020-12) of an Activity's value.
//
//go:embed activity.schema.json
var ActivityJSONSchema []byte

// ActivityTopicOf names the topic for the activity in a topic of events:
// ActivityTopic for Topic, and one of its own for any other.
func ActivityTopicOf(topic string) string {
	if topic == Topic {
		return ActivityTopic
	}
	return topic + "_activity"
}

// Activity says how often one thing was done with one book in one minute of event
// time. In ActivityTopic it is the count so far, and the latest record of a Key is
// the one that counts; in Cassandra's activity_by_minute it is final.
type Activity struct {
	WindowStart time.Time `json:"window_start"` // of the minute, UTC
	BookID      string    `json:"book_id"`
	EventType   EventType `json:"event_type"`
	Events      int64     `json:"events"` // different event ids, at least 1
}

// Key is the key of the record: what identifies an Activity.
func (a Activity) Key() string {
	return a.WindowStart.UTC().Format(TimeLayout) + "|" + string(a.EventType) + "|" + a.BookID
}

// activityFields is an Activity without its methods, for encoding/json.
type activityFields Activity

// wireActivity is an Activity as JSON has it: times in the layout of an Event's.
type wireActivity struct {
	WindowStart string `json:"window_start"` // hides that of the fields
	activityFields
}

// MarshalJSON writes a as a record's value. It does not validate.
func (a Activity) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireActivity{WindowStart: a.WindowStart.UTC().Format(TimeLayout), activityFields: activityFields(a)})
}

// DecodeActivity reads and validates the value of one record of an activity topic.
// Unknown fields are ignored.
func DecodeActivity(value []byte) (Activity, error) {
	var w wireActivity
	if err := json.Unmarshal(value, &w); err != nil {
		return Activity{}, fmt.Errorf("decoding an activity: %w", err)
	}
	a := Activity(w.activityFields)
	var err error
	if a.WindowStart, err = ParseTime(w.WindowStart); err != nil {
		return Activity{}, fmt.Errorf("decoding an activity: window_start: %w", err)
	}
	switch {
	case !slices.Contains(EventTypes(), a.EventType):
		return Activity{}, fmt.Errorf("decoding an activity: there is no event_type %q", a.EventType)
	case a.BookID == "":
		return Activity{}, errors.New("decoding an activity: book_id is missing or empty")
	case a.Events < 1:
		return Activity{}, fmt.Errorf("decoding an activity: events is %d, not at least 1", a.Events)
	}
	return a, nil
}
