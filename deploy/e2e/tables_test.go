//go:build integration

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/gocql/gocql"
	"golang.org/x/sync/errgroup"

	"example.com/bookstore/producer/visitors"
	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/sparkjob/job"
	"example.com/bookstore/sparkjob/stream"
)

// The rows of every query, over an input that has each case in which they differ.
func TestTablesOfEachCase(t *testing.T) {
	p := newPipeline(t)
	p.env = p.with("SPARK_QUERIES=") // all
	c := newCases(p)
	emma, dune, other := c.books+"emma", c.books+"dune", c.books+"other"

	// Reading: openings and closings, by visitor.
	c.visit("reads", emma, c.open("0s"), c.close("12.345s"))
	c.visit("glances", emma, c.open("1s"), c.close("10.999s"))
	c.visit("reads 10 s", emma, c.open("2s"), c.close("12s"))
	c.visit("never closes", emma, c.open("3s"))
	c.visit("closes only", emma, c.close("5s"))
	c.visit("at once", emma, c.close("13s"), c.open("13s"))
	// On time or not, to the millisecond.
	c.visit("just in time", emma, c.open("8s"), c.close("28s").received("2m"))
	c.visit("late", emma, c.open("7s"), c.close("27s").received("2m0.001s"))
	c.visit("just ahead", emma, c.open("30s"), c.close("50s").received("-1m"))
	c.visit("ahead", emma, c.open("9s"), c.close("29s").received("-1m0.001s"))
	// Counting.
	sold := c.buy("20s")
	c.visit("buys", dune, sold, c.buy("20s"), c.buy("59.999s"), c.buy("1m"))
	c.visit("buys", dune, sold)
	c.visit("buys late", dune, c.buy("30s").received("1h"))
	c.visit("buys next year", dune, c.buy("8760h").received("-8759h"))
	odd := c.open("14s")
	c.visit("odd", dune, odd)
	c.raw("odd", strings.ToUpper(odd.id), "description_open", strings.Replace(clock(odd.at), ".000", ".000999", 1)+"Z", dune)
	c.raw("bad", "no id", "purchase", clock(sold.at)+"Z", dune)
	// What goes on after a micro-batch has ended.
	c.visit("opens twice", emma, c.open("4s"), c.open("20s"))
	first := c.records
	c.records = nil
	c.visit("opens twice", emma, c.close("35s"))
	c.visit("backwards", emma, c.close("26s"), c.open("6s").received("1m"))
	c.visit("buys", dune, sold)
	c.visit("10 minutes", emma, c.open("10s"), c.close("10m10s"))
	c.visit("too long", emma, c.open("11s"), c.close("10m11.001s"))
	c.visit("over midnight", emma, c.open("9m55s"), c.close("10m6s"))
	second := c.records
	// And what moves the watermark past it all. For reads that is an opening or closing,
	// since Spark passes over the rest before it looks at the times.
	c.records = nil
	c.visit("the last", other, c.open("40m"))
	last := c.records

	write(t, p.topic, first)
	p.submit(t)
	awaitOffsets(t, p, len(first))
	write(t, p.topic, second)
	awaitOffsets(t, p, len(first)+len(second))
	write(t, p.topic, last)
	records := slices.Concat(first, second, last)

	today, yesterday := day(c.begin.Add(10*time.Minute)), day(c.begin)
	want := tables{}
	for user, row := range map[string]struct{ opened, row string }{
		"reads":         {"0s", keyOf(c.at("12.345s"), 12.345)},
		"glances":       {"1s", keyOf(c.at("10.999s"), 9.999)},
		"reads 10 s":    {"2s", keyOf(c.at("12s"), 10)},
		"never closes":  {"3s", "never closed"},
		"at once":       {"13s", keyOf(c.at("13s"), 0)},
		"10 minutes":    {"10s", keyOf(c.at("10m10s"), 600)},
		"too long":      {"11s", "never closed"},
		"over midnight": {"9m55s", keyOf(c.at("10m6s"), 11)},
		"just in time":  {"8s", keyOf(c.at("28s"), 20)},
		"late":          {"7s", "never closed"},
		"just ahead":    {"30s", keyOf(c.at("50s"), 20)},
		"ahead":         {"9s", "never closed"},
		"backwards":     {"6s", keyOf(c.at("26s"), 20)},
	} {
		want.put("reads", row.row, emma, yesterday, c.at(row.opened), c.user(user))
		want.put("funnel", "", emma, yesterday, "opened", c.user(user))
		if !slices.Contains([]string{"never closed", keyOf(c.at("10.999s"), 9.999), keyOf(c.at("13s"), 0)}, row.row) {
			want.put("funnel", "", emma, yesterday, "read", c.user(user))
		}
	}
	want.put("reads", "never closed", emma, yesterday, c.at("4s"), c.user("opens twice"))
	want.put("reads", keyOf(c.at("35s"), 15), emma, yesterday, c.at("20s"), c.user("opens twice"))
	want.put("reads", "never closed", dune, yesterday, c.at("14s"), c.user("odd"))
	for _, stage := range []string{"opened", "read"} {
		want.put("funnel", "", emma, yesterday, stage, c.user("opens twice"))
	}
	want.put("funnel", "", dune, yesterday, "opened", c.user("odd"))
	want.put("funnel", "", dune, yesterday, "bought", c.user("buys"))
	want.put("funnel", "", dune, yesterday, "bought", c.user("buys late"))
	want.put("funnel", "", dune, day(c.at("8760h")), "bought", c.user("buys next year"))
	want.put("funnel", "", other, today, "opened", c.user("the last"))
	for _, minute := range []struct {
		start  string
		kind   schema.EventType
		book   string
		events int
	}{
		{"0s", schema.DescriptionOpen, emma, 14},
		{"0s", schema.DescriptionClose, emma, 9},
		{"9m", schema.DescriptionOpen, emma, 1},
		{"10m", schema.DescriptionClose, emma, 3},
		{"0s", schema.DescriptionOpen, dune, 1},
		{"0s", schema.Purchase, dune, 3},
		{"1m", schema.Purchase, dune, 1},
	} {
		start := c.at(minute.start)
		want.put("activity_by_minute", fmt.Sprint(minute.events), minute.book, day(start), start, minute.kind)
		want.put("bookstore_activity", fmt.Sprint(minute.events), start, minute.kind, minute.book)
	}
	want.put("bookstore_activity", "1", c.at("40m"), schema.DescriptionOpen, other)
	// The other tables hold what came, which is said once, in plain Go.
	computed := expect(records, c.at("35m"))
	for _, name := range []string{"events", "events_by_user", "late_events", "rejected_events"} {
		want[name] = computed[name]
	}
	for name, count := range map[string]int{"events": 37, "events_by_user": 37, "late_events": 4, "rejected_events": 1} {
		if len(want[name]) != count {
			t.Errorf("%d rows of %s, want %d", len(want[name]), name, count)
		}
	}
	if list := difference(want, computed); len(list) > 0 {
		t.Errorf("the plain computation differs:\n%s", strings.Join(list, "\n"))
	}
	awaitTables(t, p, c.books, want)

	late, err := cassandra.LateEvents(t.Context(), openCassandra(t), dune, c.begin)
	if err != nil || len(late) != 1 || !late[0].ReceivedAt.Equal(c.at("1h0m30s")) {
		t.Errorf("LateEvents = %+v, %v", late, err)
	}
	if dropped := droppedRows(t, p); dropped != 0 {
		t.Errorf("%d rows fell behind the watermark", dropped)
	}
}

// What the job makes of many visitors, some of them late, some with a wrong clock and
// some sending twice, and of bad clients, equals what plain Go makes of the same
// records. Half-way the job is stopped and goes on from its checkpoints.
func TestTablesEqualAPlainComputation(t *testing.T) {
	p := newPipeline(t)
	p.env = p.with("SPARK_QUERIES=") // all
	books := p.topic + " "
	plan := visitors.PlanConfig{
		Seed: uint64(time.Now().UnixNano()), Start: time.Now().Add(-12 * time.Hour), Steps: 100_000,
	}
	for i := range 50 {
		plan.Books = append(plan.Books, fmt.Sprint(books, i))
	}
	t.Logf("seed %d, from %s", plan.Seed, clock(plan.Start))
	visits, err := visitors.NewPlan(plan)
	if err != nil {
		t.Fatal(err)
	}
	var records []input
	for step := range visits.Steps() {
		record, err := step.Record()
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, input{key: []byte(record.Key), value: record.Value, received: record.Time})
	}
	// An event that moves the watermark past all others.
	c := &cases{begin: records[len(records)-1].received, books: books}
	c.visit("the last", plan.Books[0], c.open("40m"))
	records = append(records, c.records...)

	half := len(records) / 2
	write(t, p.topic, records[:half])
	driver := p.submit(t)
	awaitOffsets(t, p, half)
	dropped := droppedRows(t, p)
	if code := driver.end(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("sparkjob submit ended with %d:\n%s", code, driver.output())
	}
	write(t, p.topic, records[half:])
	want := expect(records, c.at("35m"))
	for _, name := range []string{"events", "events_by_user", "late_events", "rejected_events", "activity_by_minute", "reads", "funnel", "bookstore_activity"} {
		t.Logf("%6d rows of %s", len(want[name]), name)
		if len(want[name]) == 0 {
			t.Errorf("nothing is expected of %s", name)
		}
	}
	p.submit(t)
	awaitOffsets(t, p, len(records))
	awaitTables(t, p, books, want)
	if dropped += droppedRows(t, p); dropped != 0 {
		t.Errorf("%d rows fell behind the watermark", dropped)
	}
}

// cases makes records of chosen times and of visitors and books of their own.
type cases struct {
	begin   time.Time // 10 minutes before this day began
	books   string    // what the ids of the books begin with
	records []input
}

func newCases(p pipeline) *cases {
	return &cases{begin: time.Now().UTC().Truncate(24 * time.Hour).Add(-10 * time.Minute), books: p.topic + " "}
}

func (c *cases) at(after string) time.Time { return c.begin.Add(duration(after)) }

func duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		panic(err)
	}
	return d
}

// user is the id of a visitor.
func (c *cases) user(name string) string { return c.books + name }

// deed is an event without its visitor and book.
type deed struct {
	id   string
	kind schema.EventType
	at   time.Time
	wait time.Duration
}

func (c *cases) open(at string) deed {
	return deed{schema.NewEventID(), schema.DescriptionOpen, c.at(at), 0}
}
func (c *cases) close(at string) deed {
	return deed{schema.NewEventID(), schema.DescriptionClose, c.at(at), 0}
}
func (c *cases) buy(at string) deed { return deed{schema.NewEventID(), schema.Purchase, c.at(at), 0} }

func (d deed) received(after string) deed {
	d.wait = duration(after)
	return d
}

func (c *cases) visit(user, book string, deeds ...deed) {
	for _, d := range deeds {
		value, err := json.Marshal(schema.Event{EventID: d.id, EventType: d.kind, EventTime: d.at, UserID: c.user(user), BookID: book})
		if err != nil {
			panic(err)
		}
		c.records = append(c.records, input{key: []byte(c.user(user)), value: value, received: d.at.Add(d.wait)})
	}
}

// raw is an event of texts, received when the others begin.
func (c *cases) raw(user, id, kind, at, book string) {
	value := fmt.Sprintf(`{"event_id": %q, "event_type": %q, "event_time": %q, "user_id": %q, "book_id": %q}`, id, kind, at, c.user(user), book)
	c.records = append(c.records, input{key: []byte(c.user(user)), value: []byte(value), received: c.begin})
}

// write writes records, each with its time of receipt, and fills in where they landed.
func write(t *testing.T, topic string, records []input) {
	t.Helper()
	producer, err := kafka.NewProducer(&kafka.ConfigMap{
		"bootstrap.servers": os.Getenv("KAFKA_BOOTSTRAP_SERVERS"), "acks": "all", "enable.idempotence": true,
		"linger.ms": 5, "queue.buffering.max.messages": len(records) + 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	reports := make(chan kafka.Event, len(records))
	for i, r := range records {
		err := producer.Produce(&kafka.Message{
			TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: kafka.PartitionAny},
			Key:            r.key, Value: r.value, Timestamp: r.received, Opaque: i,
		}, reports)
		if err != nil {
			t.Fatal(err)
		}
	}
	for range records {
		message := (<-reports).(*kafka.Message)
		if message.TopicPartition.Error != nil {
			t.Fatal(message.TopicPartition.Error)
		}
		r := &records[message.Opaque.(int)]
		r.partition, r.offset = int(message.TopicPartition.Partition), int64(message.TopicPartition.Offset)
	}
}

// progressOf returns what Spark reports of the job's queries.
func progressOf(t *testing.T, p pipeline, args ...string) (list []stream.Progress) {
	t.Helper()
	out, errOut, code := run(t, p.env, "sparkjob", append([]string{"progress"}, args...)...)
	if code != 0 {
		t.Fatalf("sparkjob progress: exit code %d\n%s", code, errOut)
	}
	for line := range strings.Lines(out) {
		var progress stream.Progress
		if err := json.Unmarshal([]byte(line), &progress); err != nil {
			t.Fatal(err)
		}
		list = append(list, progress)
	}
	return list
}

// awaitOffsets waits until every query has read the first count records of the topic.
func awaitOffsets(t *testing.T, p pipeline, count int) {
	t.Helper()
	eventually(t, 120*time.Second, func() error {
		list := progressOf(t, p)
		if len(list) < len(job.Names) {
			return fmt.Errorf("%d queries report their progress", len(list))
		}
		for _, progress := range list {
			var ends map[string]map[string]int
			if err := json.Unmarshal(progress.Sources[0].EndOffset, &ends); err != nil {
				return fmt.Errorf("%s: %w", progress.Name, err)
			}
			sum := 0
			for _, offset := range ends[p.topic] {
				sum += offset
			}
			if len(progress.Sources) != 1 || sum < count {
				return fmt.Errorf("%s has read %d of %d records of %d sources", progress.Name, sum, count, len(progress.Sources))
			}
		}
		return nil
	})
}

// droppedRows counts the rows that Spark dropped behind the watermark.
func droppedRows(t *testing.T, p pipeline) (dropped int64) {
	t.Helper()
	for _, name := range []string{"activity_by_minute", "reads", "funnel", "bookstore_activity"} {
		operators := 0
		for _, progress := range progressOf(t, p, name, "--recent") {
			operators += len(progress.StateOperators)
			for _, operator := range progress.StateOperators {
				dropped += operator.NumRowsDroppedByWatermark
			}
		}
		if operators == 0 {
			t.Errorf("%s has no state", name)
		}
	}
	return dropped
}

// awaitTables waits until the tables and the topic of the activity hold exactly want of
// the books whose ids begin with books.
func awaitTables(t *testing.T, p pipeline, books string, want tables) {
	t.Helper()
	session := openCassandra(t)
	deadline := time.Now().Add(120 * time.Second)
	for {
		have := readTables(t, session, p, books)
		list := difference(want, have)
		if len(list) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("tables differ:\n%s", strings.Join(list, "\n"))
		}
		time.Sleep(time.Second) // a look reads whole tables
	}
}

// readTables reads all that concerns the books, wherever in a table it stands.
func readTables(t *testing.T, session *gocql.Session, p pipeline, books string) tables {
	t.Helper()
	type row = map[string]any
	text := func(value any) string {
		if at, ok := value.(time.Time); ok {
			return clock(at)
		}
		return fmt.Sprint(value)
	}
	var reading errgroup.Group
	have := tables{}
	results := make(chan func(), 16) // puts, by one goroutine at a time
	scan := func(table string, columns string, put func(rows map[string]string, r row)) {
		reading.Go(func() error {
			rows := map[string]string{}
			iter := session.Query("SELECT " + columns + " FROM " + table).PageSize(5000).WithContext(t.Context()).Iter()
			for {
				r := row{}
				if !iter.MapScan(r) {
					break
				}
				if book, ok := r["book_id"].(string); ok && !strings.HasPrefix(book, books) {
					continue
				}
				if topic, ok := r["topic"].(string); ok && topic != p.topic {
					continue
				}
				put(rows, r)
			}
			results <- func() {
				if len(rows) > 0 {
					have[table] = rows
				}
			}
			return iter.Close()
		})
	}
	date := func(value any) string { return day(value.(time.Time)) }
	scan("events", "event_id, event_type, event_time, user_id, book_id", func(rows map[string]string, r row) {
		rows[text(r["event_id"])] = keyOf(r["event_type"], r["event_time"], r["user_id"], r["book_id"])
	})
	scan("events_by_user", "user_id, day, event_time, event_id, event_type, book_id", func(rows map[string]string, r row) {
		rows[keyOf(r["user_id"], date(r["day"]), r["event_time"], r["event_id"])] = keyOf(r["event_type"], r["book_id"])
	})
	scan("late_events", "book_id, day, event_time, event_id, event_type, user_id", func(rows map[string]string, r row) {
		rows[keyOf(r["book_id"], date(r["day"]), r["event_time"], r["event_id"])] = keyOf(r["event_type"], r["user_id"])
	})
	scan("activity_by_minute", "book_id, day, window_start, event_type, events", func(rows map[string]string, r row) {
		rows[keyOf(r["book_id"], date(r["day"]), r["window_start"], r["event_type"])] = text(r["events"])
	})
	scan("reads", "book_id, day, opened_at, user_id, closed_at, seconds", func(rows map[string]string, r row) {
		value := "never closed"
		if !r["closed_at"].(time.Time).IsZero() {
			value = keyOf(r["closed_at"], r["seconds"])
		}
		rows[keyOf(r["book_id"], date(r["day"]), r["opened_at"], r["user_id"])] = value
	})
	scan("funnel", "book_id, day, stage, user_id", func(rows map[string]string, r row) {
		rows[keyOf(r["book_id"], date(r["day"]), r["stage"], r["user_id"])] = ""
	})
	scan("rejected_events", "topic, partition, offset, reason, payload", func(rows map[string]string, r row) {
		rows[keyOf(r["partition"], r["offset"])] = keyOf(r["reason"], string(r["payload"].([]byte)))
	})
	reading.Go(func() error {
		rows, err := readActivity(p)
		results <- func() {
			if len(rows) > 0 {
				have["bookstore_activity"] = rows
			}
		}
		return err
	})
	for range 8 {
		(<-results)()
	}
	if err := reading.Wait(); err != nil {
		t.Fatal(err)
	}
	return have
}

// readActivity reads the topic of the activity to its end and keeps the latest of each
// key, as any reader has to.
func readActivity(p pipeline) (map[string]string, error) {
	consumer, err := kafka.NewConsumer(&kafka.ConfigMap{
		"bootstrap.servers": os.Getenv("KAFKA_BOOTSTRAP_SERVERS"), "group.id": p.topic,
		"auto.offset.reset": "earliest", "enable.partition.eof": true, "enable.auto.commit": false,
	})
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	topic := schema.ActivityTopicOf(p.topic)
	metadata, err := consumer.GetMetadata(&topic, false, 10_000)
	if err != nil {
		return nil, err
	}
	var partitions []kafka.TopicPartition
	for _, partition := range metadata.Topics[topic].Partitions {
		partitions = append(partitions, kafka.TopicPartition{Topic: &topic, Partition: partition.ID, Offset: kafka.OffsetBeginning})
	}
	if err := consumer.Assign(partitions); err != nil {
		return nil, err
	}
	rows := map[string]string{}
	for ends := 0; ends < len(partitions); {
		switch event := consumer.Poll(10_000).(type) {
		case nil:
			return nil, errors.New("reading the activity: nothing came for 10 s")
		case kafka.PartitionEOF:
			ends++
		case kafka.Error:
			return nil, event
		case *kafka.Message:
			activity, err := schema.DecodeActivity(event.Value)
			if err != nil {
				return nil, err
			}
			if string(event.Key) != activity.Key() {
				return nil, fmt.Errorf("the record of %+v has key %q", activity, event.Key)
			}
			rows[keyOf(activity.WindowStart, activity.EventType, activity.BookID)] = fmt.Sprint(activity.Events)
		}
	}
	return rows, nil
}
