package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/gocql/gocql"

	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/sparkjob/driver"
	"example.com/bookstore/sparkjob/records"
	"example.com/bookstore/sparkjob/rejected"
	"example.com/bookstore/sparkjob/terminal"
)

type rejectedCommand struct {
	List   rejectedListCommand   `cmd:"" group:"sub" help:"List the latest rejected records, or count them by reason."`
	Show   rejectedShowCommand   `cmd:"" group:"sub" help:"Show all of one rejected record."`
	Replay rejectedReplayCommand `cmd:"" group:"sub" help:"Mend rejected records and send them again."`
}

func (rejectedCommand) Help() string {
	return `A record of the topic that is no event is kept in the table rejected_events, with the
reason. It is named by its place in the topic, PARTITION:OFFSET.

Examples:
  sparkjob rejected list --by-reason   what goes wrong, how often
  sparkjob rejected list               the latest
  sparkjob rejected show 3:1042        all of one
  sparkjob rejected replay 3:1042 --set book_id=dracula`
}

// onCassandra runs a command that reads the tables.
func onCassandra(ctx context.Context, s settings, do func(driver.Config, *gocql.Session) error) error {
	c, err := s.driverConfig()
	if err != nil {
		return err
	}
	session, err := c.Cassandra.Connect(ctx)
	if err != nil {
		return driver.Hint(err, c)
	}
	defer session.Close()
	return do(c, session)
}

type rejectedListCommand struct {
	cassandraSettings `embed:""`

	Topic    string `env:"KAFKA_TOPIC" default:"bookstore_events" group:"Kafka:" help:"Topic of the records (${env})."`
	Since    moment `help:"Only those that were received since then." placeholder:"TIME"`
	Reason   string `help:"Only those whose reason contains this." placeholder:"TEXT"`
	Limit    int    `short:"n" default:"20" help:"Records to show."`
	ByReason bool   `help:"Count the records by reason instead."`
	JSON     bool   `name:"json" help:"Print JSON: one record a line, the payload in Base64; by reason, one object."`
}

func (rejectedListCommand) Help() string {
	return `The latest come first. Times are in UTC.

Examples:
  sparkjob rejected list
  sparkjob rejected list --by-reason --since 24h
  sparkjob rejected list --reason event_time -n 100
  sparkjob rejected list --json | jq -r '.payload | @base64d'`
}

// Validate is called by kong after parsing.
func (cmd rejectedListCommand) Validate() error {
	return errors.Join(cmd.cassandraSettings.Validate(), atLeastOne("limit", cmd.Limit))
}

func (cmd rejectedListCommand) Run(ctx context.Context) error {
	filter := rejected.Filter{Topic: cmd.Topic, Since: cmd.Since.Time, Reason: cmd.Reason}
	return onCassandra(ctx, settings{cassandraSettings: cmd.cassandraSettings}, func(_ driver.Config, session *gocql.Session) error {
		if cmd.ByReason {
			counted, err := rejected.Count(ctx, session, filter)
			if err != nil {
				return err
			}
			if cmd.JSON {
				return printJSON([]watchedRejections{{counted.Records, counted.Reasons}})
			}
			fmt.Println(terminal.RejectedReasons(counted))
			return nil
		}
		rows, err := rejected.List(ctx, session, filter, cmd.Limit)
		if err != nil {
			return err
		}
		if cmd.JSON {
			return printJSON(rows)
		}
		if len(rows) == 0 {
			fmt.Println("no such record was rejected")
			return nil
		}
		fmt.Println(terminal.RejectedList(rows))
		return nil
	})
}

// watchedRejections is cassandra.Rejections as JSON has it.
type watchedRejections struct {
	Records int64            `json:"records"`
	Reasons map[string]int64 `json:"reasons"`
}

type rejectedShowCommand struct {
	topicSettings     `embed:""`
	cassandraSettings `embed:""`

	Record rejected.Position `arg:"" help:"PARTITION:OFFSET of the record."`
	Raw    bool              `help:"Write the payload as it is, byte by byte."`
}

func (rejectedShowCommand) Help() string {
	return `The key and the headers are shown as long as Kafka keeps the record. Times are in UTC.

Examples:
  sparkjob rejected show 3:1042
  sparkjob rejected show 3:1042 --raw > payload.bin`
}

// Validate is called by kong after parsing.
func (cmd rejectedShowCommand) Validate() error { return cmd.cassandraSettings.Validate() }

func (cmd rejectedShowCommand) Run(ctx context.Context) error {
	s := settings{kafkaSettings: cmd.kafka(), cassandraSettings: cmd.cassandraSettings}
	return onCassandra(ctx, s, func(c driver.Config, session *gocql.Session) error {
		row, written, err := rejected.Find(ctx, session, cmd.Topic, cmd.Record)
		if err != nil {
			return err
		}
		if cmd.Raw {
			_, err := os.Stdout.Write(row.Payload)
			return err
		}
		record, kafkaErr := records.At(ctx, c.Kafka, row.Topic, row.Partition, row.Offset)
		fmt.Println(terminal.RejectedRecord(row, written, record))
		return driver.Hint(kafkaErr, c)
	})
}

type rejectedReplayCommand struct {
	topicSettings     `embed:""`
	cassandraSettings `embed:""`

	Record     []rejected.Position `arg:"" help:"PARTITION:OFFSET of the records."`
	Set        map[string]string   `mapsep:"none" placeholder:"FIELD=VALUE" help:"Set a field of the payload to a text; may be given several times."`
	NewEventID bool                `help:"Set event_id to one that follows from the record's place, so that a repeated replay is the same event."`
	Payload    string              `placeholder:"FILE" predictor:"file" xor:"payload" help:"Send what is in the file instead, or on standard input for -."`
	Edit       bool                `xor:"payload" help:"Open the payload in VISUAL, EDITOR or vi before it is sent."`
	DryRun     bool                `help:"Show what would be sent, and send nothing."`
}

func (rejectedReplayCommand) Help() string {
	return `The mended payload is sent to the topic that it came from, with the visitor as its key and
a header that says which record it replaces, once it is an event; what would be rejected again is
not sent. It keeps its event_id, so that a repeated replay changes nothing. An event that happened
more than two minutes ago counts as late.

Examples:
  sparkjob rejected replay 3:1042 --set book_id=dracula
  sparkjob rejected replay 3:1042 3:1043 --new-event-id --set user_id=unknown
  sparkjob rejected replay 3:1042 --edit
  sparkjob rejected replay 3:1042 --payload mended.json --dry-run`
}

// Validate is called by kong after parsing.
func (cmd rejectedReplayCommand) Validate() error {
	if cmd.Payload != "" && len(cmd.Record) > 1 {
		return errors.New("--payload is for one record, since each has its own event_id")
	}
	return cmd.cassandraSettings.Validate()
}

func (cmd rejectedReplayCommand) Run(ctx context.Context) error {
	s := settings{kafkaSettings: cmd.kafka(), cassandraSettings: cmd.cassandraSettings}
	return onCassandra(ctx, s, func(c driver.Config, session *gocql.Session) error {
		var errs []error
		for _, at := range cmd.Record {
			if err := cmd.replay(ctx, c, session, at); err != nil {
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	})
}

func (cmd rejectedReplayCommand) replay(ctx context.Context, c driver.Config, session *gocql.Session, at rejected.Position) error {
	row, _, err := rejected.Find(ctx, session, cmd.Topic, at)
	if err != nil {
		return err
	}
	value, edited, err := cmd.mend(ctx, row, at)
	if err != nil {
		return err
	}
	record, event, err := rejected.Mended(row, value)
	if err != nil {
		if edited != "" {
			err = fmt.Errorf("%w; your text is in %s, which --payload takes", err, edited)
		}
		return err
	}
	if edited != "" {
		if err := os.Remove(edited); err != nil {
			return err
		}
	}
	if cmd.DryRun {
		fmt.Println(terminal.Wrap(fmt.Sprintf("%v would be sent to %s with the key %s as", at, record.Topic, event.UserID)))
		fmt.Println(terminal.Payload(record.Value))
		return nil
	}
	sent, err := records.Write(ctx, c.Kafka, record)
	if err != nil {
		return err
	}
	fmt.Println(terminal.Wrap(fmt.Sprintf("%v is sent again as event %s: %s, partition %d, offset %d", at, event.EventID, sent.Topic, sent.Partition, sent.Offset)))
	return nil
}

// mend returns the value to send, and the file that the person has edited it in.
func (cmd rejectedReplayCommand) mend(ctx context.Context, row cassandra.RejectedEvent, at rejected.Position) (value []byte, edited string, err error) {
	value = row.Payload
	switch cmd.Payload {
	case "":
	case "-":
		value, err = io.ReadAll(os.Stdin)
	default:
		value, err = os.ReadFile(cmd.Payload)
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading the payload: %w", err)
	}
	fields := map[string]string{}
	if cmd.NewEventID {
		fields["event_id"] = rejected.DerivedID(row.Topic, at)
	}
	for name, text := range cmd.Set {
		fields[name] = text
	}
	if value, err = rejected.Set(value, fields); err != nil {
		return nil, "", fmt.Errorf("replaying record %v of topic %s: %w", at, row.Topic, err)
	}
	if cmd.Edit {
		value, edited, err = rejected.Edit(ctx, rejected.Indent(value), "record-"+strings.ReplaceAll(at.String(), ":", "-")+"-*.json")
		if err != nil {
			return nil, edited, err
		}
	}
	return bytes.TrimSpace(value), edited, nil
}
