//go:build integration

package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gocql/gocql"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/kafkaclient"
	"example.com/bookstore/schema/topic"
	"example.com/bookstore/sparkjob/job"
)

// terminalPipeline is a pipeline with all queries. For transcripts, which people read,
// it has the names that theirs has.
func terminalPipeline(t *testing.T) pipeline {
	p := newPipeline(t)
	p.env = p.with("SPARK_QUERIES=" + strings.Join(job.Names, ","))
	if os.Getenv("TRANSCRIPTS_DIR") != "" {
		const folder = "/var/lib/spark/checkpoints"
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(folder) })
		p.topic = schema.Topic
		p.env = p.with("KAFKA_TOPIC="+schema.Topic, "SPARK_JOB_NAME=bookstore", "CHECKPOINT_LOCATION=file://"+folder)
		if out, errOut, code := run(t, p.env, "sparkjob", "setup"); code != 0 {
			t.Fatalf("sparkjob setup: exit code %d\n%s%s", code, out, errOut)
		}
	}
	return p
}

// sendEvent has the store take one event and returns its id.
func sendEvent(t *testing.T, url, user string, kind schema.EventType, at time.Time) string {
	t.Helper()
	id := schema.NewEventID()
	body := fmt.Sprintf(`{"event_id": %q, "event_type": %q, "event_time": %q, "user_id": %q, "book_id": "frankenstein"}`,
		id, kind, at.UTC().Format(schema.TimeLayout), user)
	response, err := http.Post(url+"/events", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		t.Fatalf("POST /events: %s", response.Status)
	}
	return id
}

// Every command of the terminal is used on one of 80 by 24, on a job that does its work.
func TestTerminal(t *testing.T) {
	p := terminalPipeline(t)
	url, _ := p.store(t)
	driver := p.submit(t)
	use := func(t *testing.T, want int, args ...string) string {
		t.Helper()
		out, code := onTerminal(t, p.env, "sparkjob", args...)
		if code != want {
			t.Errorf("%s: exit code %d, want %d\n%s", command(args...), code, want, out)
		}
		return out
	}
	has := func(t *testing.T, out string, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if !strings.Contains(strings.Join(strings.Fields(out), " "), text) { // lines may be broken anywhere
				t.Errorf("the output lacks %q:\n%s", text, out)
			}
		}
	}
	// run is use on what is no terminal.
	piped := func(t *testing.T, want int, env []string, args ...string) string {
		t.Helper()
		out, errOut, code := run(t, env, "sparkjob", args...)
		if code != want {
			t.Errorf("%s: exit code %d, want %d\n%s%s", command(args...), code, want, out, errOut)
		}
		return out
	}

	visitor := "visitor-" + schema.NewEventID()[24:]
	onTime := sendEvent(t, url, visitor, schema.DescriptionOpen, time.Now())
	late := sendEvent(t, url, visitor, schema.Purchase, time.Now().Add(-10*time.Minute))
	time.Sleep(2 * time.Millisecond) // Kafka's clock has milliseconds
	afterTwo := time.Now().Truncate(time.Millisecond)
	crowd := post(t, url, 60)
	twice := schema.NewEventID()
	broken := schema.NewEventID()
	bad := []record{
		{name: "a duplicate", value: fmt.Appendf(nil, `{"event_id": %q, "event_type": "purchase", "event_time": %q, "user_id": %q, "book_id": "frankenstein"}`, twice, time.Now().UTC().Format(schema.TimeLayout), visitor)},
		{name: "no book", value: fmt.Appendf(nil, `{"event_id": %q, "event_type": "purchase", "event_time": %q, "user_id": %q}`, broken, time.Now().UTC().Format(schema.TimeLayout), visitor)},
		{name: "not JSON", value: []byte("purchase;dracula;2026-01-31")},
		{name: "not even text", value: []byte{0, 1, 2, 0xff, 0xfe}},
	}
	bad = append(bad, bad[0])
	produce(t, p.topic, bad)
	position := func(i int) string { return fmt.Sprintf("%d:%d", bad[i].partition, bad[i].offset) }
	awaitStored(t, append(crowd, onTime, late, twice))
	const sent = 2 + 60 + 5
	awaitAllRead(t, p, sent)

	t.Run("watch", func(t *testing.T) {
		term := startOn(t, 80, 24, p.env, "sparkjob", "watch", "--interval", "500ms")
		screen := term.await(t, 60*time.Second, append(slices.Clone(job.Names),
			"Spark 3.5", "every 500ms", ">events", "IN/S", "OUT/S", "LAG", "BATCH", "TIME", "WATERMARK", "phases", "addBatch", "queryPlanning", "walCommit",
			"lag     0: 0  1: 0  2: 0  3: 0  4: 0  5: 0", "rejected today (UTC)", "the payload is not a JSON object", "q  quit")...)
		if n := strings.Count(screen, " running "); n != len(job.Names) {
			t.Errorf("%d queries run, want %d:\n%s", n, len(job.Names), screen)
		}
		transcript(t, "watch", screen)
		for range 4 {
			term.press(t, "\t")
		}
		// The watermark is told with the micro-batch after the first.
		screen = term.await(t, 60*time.Second, ">activity_by_minute", "state", "rows,", "dropped", "watermark 20")
		transcript(t, "watch-state", screen)
		term.press(t, "?")
		transcript(t, "watch-help", term.await(t, 10*time.Second, "WATERMARK    event time"))
		term.press(t, "?\x1b[A")
		term.await(t, 10*time.Second, ">late_events")
		if lines := strings.Count(term.shown(), "\n") + 1; lines > 24 {
			t.Errorf("the screen has %d lines", lines)
		}
		if !strings.Contains(term.written(), "\x1b[32m") && !strings.Contains(term.written(), ";32m") {
			t.Error("what runs is not green")
		}
		term.press(t, "q")
		if code := term.wait(t, 10*time.Second); code != 0 {
			t.Errorf("after q it ends with %d", code)
		}

		// Small, without colours, and ended by Ctrl-C.
		term = startOn(t, 40, 12, p.with("NO_COLOR=1"), "sparkjob", "watch")
		term.await(t, 30*time.Second, ">events", "running", "q  quit")
		if sgr := "\x1b[3"; strings.Contains(term.written(), sgr+"2m") || strings.Contains(term.written(), sgr+"3m") {
			t.Errorf("NO_COLOR is set, and there are colours: %q", term.written())
		}
		term.press(t, "\x03")
		if code := term.wait(t, 10*time.Second); code != 0 {
			t.Errorf("after Ctrl-C it ends with %d", code)
		}
	})

	t.Run("watch elsewhere", func(t *testing.T) {
		out := piped(t, 0, p.env, "watch", "--once")
		fits(t, "watch --once", out)
		if n := strings.Count(out, " running "); n != len(job.Names) || strings.Count(out, "\n") != len(job.Names) {
			t.Errorf("watch --once prints\n%s", out)
		}
		transcript(t, "watch-once", command("watch", "--once"), strings.TrimRight(out, "\n"))
		out = piped(t, 0, p.env, "watch", "events", "rejected_events", "--once", "--json")
		var q struct {
			Query     string           `json:"query"`
			State     string           `json:"state"`
			BatchID   *int64           `json:"batch_id"`
			Lag       map[string]int64 `json:"lag"`
			Durations map[string]int64 `json:"durations_ms"`
			Rejected  *struct {
				Records int64 `json:"records"`
			} `json:"rejected_today"`
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if len(lines) != 2 {
			t.Fatalf("watch --json prints\n%s", out)
		}
		if err := json.Unmarshal([]byte(lines[1]), &q); err != nil || q.Query != "rejected_events" || q.State != "running" ||
			q.BatchID == nil || len(q.Lag) != 6 || len(q.Durations) == 0 || q.Rejected == nil || q.Rejected.Records < 3 {
			t.Errorf("watch --json: %v\n%s", err, out)
		}
		// Lines go on until it is told to end.
		lined := start(t, p.env, "sparkjob", "watch", "events", "--interval", "300ms")
		eventually(t, 30*time.Second, func() error {
			if n := strings.Count(lined.output(), " events "); n < 3 {
				return fmt.Errorf("%d lines: %s", n, lined.output())
			}
			return nil
		})
		if code := lined.end(t, syscall.SIGTERM); code != 0 {
			t.Errorf("after SIGTERM watch ends with %d", code)
		}
	})

	t.Run("watch tells what is not there", func(t *testing.T) {
		for want, variable := range map[string]string{
			"connecting to Spark at 127.0.0.1:1":      "SPARK_REMOTE=sc://127.0.0.1:1",
			"at 127.0.0.1:1: no broker answered":      "KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1",
			"connecting to Cassandra at 127.0.0.1:1:": "CASSANDRA_PORT=1",
		} {
			out, errOut, code := run(t, p.with(variable), "sparkjob", "watch", "--once")
			if code != 1 || !strings.Contains(errOut, want) || strings.Count(out, "\n") != len(job.Names) {
				t.Errorf("with %s: exit code %d\n%s%s", variable, code, out, errOut)
			}
		}
		// On the screen as well, and it goes on asking.
		term := startOn(t, 80, 24, p.with("KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1"), "sparkjob", "watch")
		transcript(t, "watch-without-kafka", term.await(t, 30*time.Second, "! looking up topic", "correct KAFKA_BOOTSTRAP_SERVERS", "running"))
	})

	t.Run("status and the like", func(t *testing.T) {
		has(t, use(t, 0, "status"), "QUERY", "bookstore_activity running")
		has(t, use(t, 0, "peek", "-n", "3"), "EVENT_TIME (UTC)")
		has(t, use(t, 0, "peek", "--rejected"), "the payload is not a JSON object")
		out := use(t, 0, "--help")
		has(t, out, "Run the job:", "See what it does:", "See the data:", "Go back:")
		transcript(t, "help", command("--help"), out)
		has(t, use(t, 0, "completion", "bash"), "source <(sparkjob completion -c bash)")
		has(t, use(t, 0, "completion", "-c", "fish"), "complete -f -c sparkjob")
		out, _, code := run(t, p.with("COMP_LINE=sparkjob checkpoint rewind events rea"), "sparkjob")
		if code != 0 || strings.TrimSpace(out) != "reads" {
			t.Errorf("a shell gets %q, exit code %d", out, code)
		}
	})

	t.Run("trace", func(t *testing.T) {
		out := use(t, 0, "trace", onTime)
		has(t, out, "event "+onTime, "description_open of frankenstein by visitor "+visitor, "happened 20", "received 20", "in "+p.topic+", partition", "on time: it counts",
			"QUERY BATCH PLANNED", "events_by_user", "bookstore_activity", "reads", "funnel", "from what happened to its row:")
		if strings.Contains(out, "late_events") || strings.Contains(out, "not visible") || strings.Contains(out, "not read yet") {
			t.Errorf("trace of an event on time:\n%s", out)
		}
		transcript(t, "trace", command("trace", onTime), out)

		out = use(t, 0, "trace", late)
		has(t, out, "late, or from a clock ahead", "10 min later", "late_events")
		transcript(t, "trace-late", command("trace", late), out)

		out = use(t, 0, "trace", twice, "--all-partitions")
		has(t, out, "2 records of the topic have this id")
		transcript(t, "trace-duplicate", command("trace", twice, "--all-partitions"), out)

		out = use(t, 0, "trace", broken)
		has(t, out, "rejected book_id is missing or empty", "rejected_events", "from receipt to its row")
		transcript(t, "trace-rejected", command("trace", broken), out)

		var story struct {
			EventID string `json:"event_id"`
			Row     bool   `json:"row"`
			Records []struct {
				OnTime  *bool `json:"on_time"`
				Queries []struct {
					Query     string     `json:"query"`
					BatchID   *int64     `json:"batch_id"`
					WrittenAt *time.Time `json:"written_at"`
				} `json:"queries"`
			} `json:"records"`
		}
		if err := json.Unmarshal([]byte(piped(t, 0, p.env, "trace", onTime, "--json")), &story); err != nil {
			t.Fatal(err)
		}
		if len(story.Records) != 1 || !story.Row || story.Records[0].OnTime == nil || !*story.Records[0].OnTime {
			t.Fatalf("trace --json: %+v", story)
		}
		if first := story.Records[0].Queries[0]; first.Query != "events" || first.BatchID == nil || first.WrittenAt == nil || time.Since(*first.WrittenAt).Abs() > 10*time.Minute {
			t.Errorf("trace --json: %+v", first)
		}

		nowhere := schema.NewEventID()
		out = use(t, 1, "trace", nowhere)
		has(t, out, "sparkjob: tracing event "+nowhere+": the event is nowhere", "records of topic "+p.topic)
		transcript(t, "trace-nowhere", command("trace", nowhere), out)
		has(t, use(t, 1, "trace", "emma"), `"emma" is no event id`)
		// Without Kafka there is what Cassandra knows, and the other way round.
		out, errOut, code := run(t, p.with("KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1"), "sparkjob", "trace", onTime)
		if code != 1 || !strings.Contains(out, "it is in the table events") || !strings.Contains(errOut, "no broker answered") {
			t.Errorf("trace without Kafka: exit code %d\n%s%s", code, out, errOut)
		}
		out, errOut, code = run(t, p.with("CASSANDRA_PORT=1"), "sparkjob", "trace", onTime)
		if code != 1 || !strings.Contains(out, "on time") || !strings.Contains(errOut, "Cassandra at 127.0.0.1:1") {
			t.Errorf("trace without Cassandra: exit code %d\n%s%s", code, out, errOut)
		}
		// Where the checkpoints are elsewhere, the rest is told.
		out = piped(t, 0, p.with("CHECKPOINT_LOCATION=file:///no/such/folder"), "trace", onTime)
		has(t, out, "not visible from here", "The micro-batches are not told")
	})

	t.Run("rejected", func(t *testing.T) {
		out := use(t, 0, "rejected", "list")
		has(t, out, "RECORD", position(1), position(2), position(3), "book_id is missing or empty", "purchase;dracula;2026-01-31", `\x00\x01\x02\xff\xfe`)
		transcript(t, "rejected-list", command("rejected", "list"), out)
		out = use(t, 0, "rejected", "list", "--by-reason", "--since", "1h")
		has(t, out, "1 the payload is not valid UTF-8", "records rejected: 3")
		transcript(t, "rejected-by-reason", command("rejected", "list", "--by-reason", "--since", "1h"), out)
		has(t, use(t, 0, "rejected", "list", "--reason", "BOOK_ID", "-n", "5"), position(1))
		has(t, use(t, 0, "rejected", "list", "--topic", "another"), "no such record was rejected")
		if out := piped(t, 0, p.env, "rejected", "list", "--json", "--reason", "not a JSON"); !strings.Contains(out, `"reason":"the payload is not a JSON object"`) || strings.Count(out, "\n") != 1 {
			t.Errorf("rejected list --json prints\n%s", out)
		}

		out = use(t, 0, "rejected", "show", position(1))
		has(t, out, "record "+position(1)+" of topic "+p.topic, "reason book_id is missing or empty", "key 1", "bytes", `"event_type": "purchase",`)
		transcript(t, "rejected-show", command("rejected", "show", position(1)), out)
		has(t, use(t, 0, "rejected", "show", position(3)), "00000000 00 01 02 ff fe")
		if out := piped(t, 0, p.env, "rejected", "show", position(3), "--raw"); out != string(bad[3].value) {
			t.Errorf("--raw writes %q", out)
		}
		has(t, use(t, 1, "rejected", "show", "0:999999"), "looking for record 0:999999 of topic "+p.topic+": no such record was rejected; `sparkjob rejected list`")

		// What would be rejected again is not sent.
		out = use(t, 1, "rejected", "replay", position(1))
		has(t, out, "replaying record "+position(1), "it would be rejected again: book_id is missing or empty")
		transcript(t, "rejected-replay-refused", command("rejected", "replay", position(1)), out)
		has(t, use(t, 1, "rejected", "replay", position(2), "--set", "book_id=dracula"), "the payload is not a JSON object; give a whole one with --payload or --edit")
		ends := endOffsets(t, p)

		out = use(t, 0, "rejected", "replay", position(1), "--set", "book_id=dracula", "--dry-run")
		has(t, out, "would be sent to "+p.topic+" with the key "+visitor, `"book_id": "dracula"`)
		transcript(t, "rejected-replay-dry-run", command("rejected", "replay", position(1), "--set", "book_id=dracula", "--dry-run"), out)
		if now := endOffsets(t, p); !maps.Equal(now, ends) {
			t.Errorf("the topic ends at %v, and ended at %v before the dry run", now, ends)
		}

		out = use(t, 0, "rejected", "replay", position(1), "--set", "book_id=dracula")
		has(t, out, position(1)+" is sent again as event "+broken)
		transcript(t, "rejected-replay", command("rejected", "replay", position(1), "--set", "book_id=dracula"), out)
		use(t, 0, "rejected", "replay", position(1), "--set", "book_id=dracula")
		awaitStored(t, []string{broken})
		eventually(t, 30*time.Second, func() error {
			out = use(t, 0, "trace", broken, "--all-partitions")
			if strings.Contains(out, "not read yet") {
				return errors.New(out)
			}
			return nil
		})
		has(t, out, "3 records of the topic have this id", fmt.Sprintf("replayed from %s/%d/%d", p.topic, bad[1].partition, bad[1].offset), "purchase of dracula")

		// The editor, a file, and an id that follows from the record's place.
		edit := p.with(`EDITOR=sed -i 's/.*/{"event_type":"purchase","event_time":"2026-01-31T12:00:00Z","user_id":"v","book_id":"emma"}/'`)
		out, errOut, code := run(t, edit, "sparkjob", "rejected", "replay", position(2), "--edit")
		if code != 1 || !strings.Contains(errOut, "event_id is missing or empty; your text is in ") {
			t.Fatalf("replay --edit: exit code %d\n%s%s", code, out, errOut)
		}
		_, file, _ := strings.Cut(errOut, "your text is in ")
		file, _, _ = strings.Cut(file, ",")
		out = piped(t, 0, p.env, "rejected", "replay", position(2), "--payload", file, "--new-event-id")
		os.Remove(file)
		_, id, _ := strings.Cut(strings.Join(strings.Fields(out), " "), "as event ")
		id, _, _ = strings.Cut(id, ":")
		awaitStored(t, []string{id})
	})

	t.Run("checkpoint", func(t *testing.T) {
		all := 0 // with those sent again
		for _, end := range endOffsets(t, p) {
			all += int(end)
		}
		awaitAllRead(t, p, all)
		out := use(t, 0, "checkpoint", "show")
		has(t, out, "QUERY BATCH PLANNED (UTC)", "reads", "kB")
		transcript(t, "checkpoint-show", command("checkpoint", "show"), out)
		rows := 0
		for _, b := range batchesOf(t, p, "events") {
			if b.Rows == nil {
				t.Fatalf("micro-batch %d has no rows", b.BatchID)
			}
			rows += *b.Rows
		}
		if rows != all {
			t.Errorf("the micro-batches of events have %d rows, want %d", rows, all)
		}

		out = use(t, 1, "checkpoint", "rewind", "events", "reads", "--beginning", "--yes")
		has(t, out, "sparkjob: queries events, reads run, and go their own way: stop them first, with `sparkjob stop events reads`")
		transcript(t, "checkpoint-rewind-refused", command("checkpoint", "rewind", "events", "reads", "--beginning", "--yes"), out)

		time.Sleep(time.Millisecond)
		split := time.Now().Truncate(time.Millisecond)
		awaitStored(t, post(t, url, 40))
		all += 40
		awaitAllRead(t, p, all)
		out = use(t, 0, "checkpoint", "show", "events")
		has(t, out, "BATCH PLANNED (UTC) COMMITTED ROWS READ UP TO", "yes")
		transcript(t, "checkpoint-show-query", command("checkpoint", "show", "events"), out)
		before, stateBefore := rowsOf(t, p), stateRows(t, p)
		if code := driver.end(t, syscall.SIGTERM); code != 0 {
			t.Fatalf("sparkjob submit ended with %d", code)
		}

		// The person says no, and nothing is done.
		term := startOn(t, 80, 24, p.env, "sparkjob", "checkpoint", "rewind", "events", "--to", split.UTC().Format(time.RFC3339Nano))
		screen := term.await(t, 60*time.Second, "goes to", "40 records again", "keeps", "Rewind? [y/N]")
		fits(t, "checkpoint rewind", screen)
		term.press(t, "n\n")
		if code := term.wait(t, 10*time.Second); code != 1 {
			t.Errorf("after no, rewind ends with %d", code)
		}
		has(t, use(t, 1, "checkpoint", "rewind", "events", "--to", "0s", "--yes"), "nothing to go back to")
		out, errOut, code := run(t, p.with("SPARK_REMOTE=sc://127.0.0.1:1"), "sparkjob", "checkpoint", "rewind", "events", "--beginning", "--yes")
		if code != 1 || !strings.Contains(errOut, "--offline rewinds without asking") {
			t.Errorf("rewind without Spark: exit code %d\n%s%s", code, out, errOut)
		}
		_, errOut, code = run(t, p.env, "sparkjob", "checkpoint", "rewind", "events", "--beginning")
		if code != 1 || !strings.Contains(errOut, "--yes does it without") {
			t.Errorf("rewind where nobody can be asked: exit code %d\n%s", code, errOut)
		}

		// One without state to a time, one from its beginning, one with state to a
		// micro-batch, one with state to a time.
		args := []string{"checkpoint", "rewind", "events", "events_by_user", "--to", split.UTC().Format("2006-01-02T15:04:05.000Z"), "--yes"}
		out = use(t, 0, args...)
		transcript(t, "checkpoint-rewind", command(args...), out)
		kept := batchesOf(t, p, "activity_by_minute")
		middle := kept[1]
		args = []string{"checkpoint", "rewind", "activity_by_minute", "--batch", strconv.FormatInt(middle.BatchID, 10), "--yes"}
		out = use(t, 0, args...)
		has(t, out, fmt.Sprintf("goes to the end of micro-batch %d", middle.BatchID))
		transcript(t, "checkpoint-rewind-batch", command(args...), out)
		out = piped(t, 0, p.with("SPARK_REMOTE=sc://127.0.0.1:1"), "checkpoint", "rewind", "rejected_events", "--beginning", "--offline", "--yes")
		has(t, out, "goes to the beginning")
		out = use(t, 0, "checkpoint", "rewind", "reads", "--to", split.UTC().Format("2006-01-02T15:04:05.000Z"), "--yes")
		has(t, out, "goes to the end of micro-batch")

		// This one goes back into the middle of a micro-batch.
		use(t, 0, "checkpoint", "rewind", "late_events", "--to", afterTwo.UTC().Format("2006-01-02T15:04:05.000Z"), "--yes")

		rewound := p
		rewound.env = p.with("SPARK_QUERIES=events,events_by_user,rejected_events,late_events,activity_by_minute,reads")
		rewound.submit(t)
		awaitAllRead(t, p, all)
		for query, want := range map[string]int{
			"events": 40, "events_by_user": 40, "rejected_events": all, "late_events": all - 2, "activity_by_minute": all - sumOf(middle.End),
		} {
			if got := recordsRead(t, p, query); got != want {
				t.Errorf("after the rewind query %s has read %d records, want %d", query, got, want)
			}
		}
		if after := rowsOf(t, p); !maps.Equal(after, before) {
			t.Errorf("after the rewind the tables have\n%v, before\n%v", after, before)
		}
		// What is kept between micro-batches is what it was.
		eventually(t, 30*time.Second, func() error {
			after := stateRows(t, p)
			for _, query := range []string{"activity_by_minute", "reads"} {
				if after[query] != stateBefore[query] || after[query] == 0 {
					return fmt.Errorf("after the rewind query %s keeps %d rows, before %d", query, after[query], stateBefore[query])
				}
			}
			return nil
		})
		// A micro-batch that was gone back to is a dead end no more.
		if last := batchesOf(t, p, "activity_by_minute"); last[len(last)-1].BatchID <= middle.BatchID {
			t.Errorf("after the rewind to %d the last micro-batch is %d", middle.BatchID, last[len(last)-1].BatchID)
		}
		out, errOut, code = run(t, p.with("CHECKPOINT_LOCATION=file:///no/such/folder"), "sparkjob", "checkpoint", "show")
		if code != 1 || !strings.Contains(errOut, "not visible from this machine") || !strings.Contains(errOut, "docker compose") {
			t.Errorf("checkpoint show elsewhere: exit code %d\n%s%s", code, out, errOut)
		}
	})
}

// shownBatch is a line of `sparkjob checkpoint show --json`.
type shownBatch struct {
	BatchID   int64            `json:"batch_id"`
	Committed bool             `json:"committed"`
	Rows      *int             `json:"rows"`
	End       map[string]int64 `json:"end"`
}

func batchesOf(t *testing.T, p pipeline, query string) (list []shownBatch) {
	t.Helper()
	out, errOut, code := run(t, p.env, "sparkjob", "checkpoint", "show", query, "-n", "1000", "--json")
	if code != 0 {
		t.Fatalf("checkpoint show %s: exit code %d\n%s", query, code, errOut)
	}
	lines := bufio.NewScanner(strings.NewReader(out))
	for lines.Scan() {
		var b shownBatch
		if err := json.Unmarshal(lines.Bytes(), &b); err != nil {
			t.Fatal(err)
		}
		list = append(list, b)
	}
	return list
}

func sumOf(offsets map[string]int64) (sum int) {
	for _, offset := range offsets {
		sum += int(offset)
	}
	return sum
}

// awaitAllRead waits until each query has committed the first so many records of the topic.
func awaitAllRead(t *testing.T, p pipeline, records int) {
	t.Helper()
	eventually(t, 120*time.Second, func() error {
		out, errOut, code := run(t, p.env, "sparkjob", "checkpoint", "show", "-n", "1", "--json")
		if code != 0 || strings.Count(out, "\n") != len(job.Names) {
			return fmt.Errorf("checkpoint show: exit code %d\n%s%s", code, out, errOut)
		}
		for line := range strings.Lines(out) {
			var b shownBatch
			if err := json.Unmarshal([]byte(line), &b); err != nil {
				t.Fatal(err)
			}
			if n := sumOf(b.End); n != records || !b.Committed {
				return fmt.Errorf("%d records are read, want %d: %s", n, records, line)
			}
		}
		return nil
	})
}

// stateRows returns how many rows each query keeps between micro-batches.
func stateRows(t *testing.T, p pipeline) map[string]int64 {
	t.Helper()
	out, errOut, code := run(t, p.env, "sparkjob", "watch", "--once", "--json")
	if code != 0 {
		t.Fatalf("watch: exit code %d\n%s", code, errOut)
	}
	rows := map[string]int64{}
	for line := range strings.Lines(out) {
		var q struct {
			Query     string `json:"query"`
			StateRows int64  `json:"state_rows"`
		}
		if err := json.Unmarshal([]byte(line), &q); err != nil {
			t.Fatal(err)
		}
		rows[q.Query] = q.StateRows
	}
	return rows
}

func endOffsets(t *testing.T, p pipeline) map[int]int64 {
	t.Helper()
	admin, err := topic.NewAdmin(kafkaclient.Config{BootstrapServers: os.Getenv("KAFKA_BOOTSTRAP_SERVERS")}, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	ends, err := admin.EndOffsets(t.Context(), p.topic)
	if err != nil {
		t.Fatal(err)
	}
	return ends
}

// rowsOf counts the rows of the job's tables and adds up what is in them, as far as it
// comes from this pipeline's visitors.
func rowsOf(t *testing.T, p pipeline) map[string]string {
	t.Helper()
	session := openCassandra(t)
	rows := map[string]string{}
	for table, columns := range map[string]string{
		"events": "event_id", "events_by_user": "event_id", "late_events": "event_id",
	} {
		list, err := session.Query("SELECT " + columns + " FROM " + table).Iter().SliceMap()
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range list {
			rows[fmt.Sprint(table, " ", row[columns].(gocql.UUID))] = "there"
		}
	}
	list, err := cassandra.LatestRejected(t.Context(), session, 100_000, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		if r.Topic == p.topic {
			rows[fmt.Sprintf("rejected_events %d:%d", r.Partition, r.Offset)] = r.Reason
		}
	}
	return rows
}
