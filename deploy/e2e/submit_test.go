//go:build integration

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/sparkjob/driver"
)

// post sends events to a store in arrays and returns the ids that it acknowledged.
func post(t *testing.T, url string, count int) []string {
	t.Helper()
	var ids []string
	for sent := 0; sent < count; {
		size := min(100, count-sent)
		var batch []map[string]any
		for i := range size {
			batch = append(batch, map[string]any{
				"event_type": schema.EventTypes()[i%3], "book_id": "pride-and-prejudice", "user_id": fmt.Sprint("visitor-", i%7),
			})
		}
		body, err := json.Marshal(batch)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.Post(url+"/events", "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		var answer struct {
			Results []struct {
				EventID string `json:"event_id"`
				Status  int    `json:"status"`
			} `json:"results"`
		}
		err = json.NewDecoder(response.Body).Decode(&answer)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusAccepted {
			t.Fatalf("POST /events: %s, %v", response.Status, err)
		}
		for _, result := range answer.Results {
			ids = append(ids, result.EventID)
		}
		sent += size
	}
	return ids
}

func awaitStored(t *testing.T, ids []string) {
	t.Helper()
	session := openCassandra(t)
	eventually(t, 60*time.Second, func() error {
		found, err := cassandra.FindEvents(t.Context(), session, ids)
		if err == nil && len(found) < len(ids) {
			err = fmt.Errorf("%d of %d events are stored", len(found), len(ids))
		}
		return err
	})
}

// recordsRead sums what a query says it has read since it started.
func recordsRead(t *testing.T, p pipeline, query string) int {
	t.Helper()
	out, errOut, code := run(t, p.env, "sparkjob", "progress", query, "--recent")
	if code != 0 {
		t.Fatalf("sparkjob progress: exit code %d\n%s", code, errOut)
	}
	sum := 0
	for line := range strings.Lines(out) {
		var progress struct {
			NumInputRows int `json:"numInputRows"`
			Sources      []struct {
				NumInputRows int `json:"numInputRows"`
			} `json:"sources"`
		}
		if err := json.Unmarshal([]byte(line), &progress); err != nil {
			t.Fatal(err)
		}
		for _, source := range progress.Sources {
			sum += source.NumInputRows
		}
	}
	return sum
}

func TestSubmitGoesOnFromItsCheckpoint(t *testing.T) {
	p := newPipeline(t)
	url, _ := p.store(t)

	driver := p.submit(t)
	awaitStored(t, post(t, url, 200))
	awaitRead(t, p, 200) // a batch that is cut short is read again
	if code := driver.end(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("after SIGTERM sparkjob submit ended with %d:\n%s", code, driver.output())
	}
	if _, errOut, code := run(t, p.env, "sparkjob", "status"); code != 1 {
		t.Errorf("sparkjob status exits with %d while no query runs: %s", code, errOut)
	}

	meanwhile := post(t, url, 1000)

	p.submit(t)
	awaitStored(t, meanwhile)
	// From the checkpoint: the second run reads what came meanwhile, once.
	awaitRead(t, p, 1000)
}

// awaitRead waits until each query has read so many records since it started, and
// fails if it reads more.
func awaitRead(t *testing.T, p pipeline, want int) {
	t.Helper()
	for _, query := range []string{"events", "rejected_events"} {
		eventually(t, 60*time.Second, func() error {
			n := recordsRead(t, p, query)
			if n > want {
				t.Fatalf("query %s has read %d records since it started, more than %d", query, n, want)
			}
			if n < want {
				return fmt.Errorf("query %s has read %d records since it started, want %d", query, n, want)
			}
			return nil
		})
	}
}

// activeQueries counts the queries of a job that run, by name.
func activeQueries(t *testing.T, p pipeline) map[string]int {
	t.Helper()
	session, err := driver.Connect(t.Context(), driver.Config{Remote: os.Getenv("SPARK_REMOTE"), JobName: p.topic})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	list, err := session.Streams().Active(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	active := map[string]int{}
	for _, query := range list {
		active[query.Name()]++
	}
	return active
}

// One driver at a time runs the job. A driver that was killed leaves its queries running;
// the next one takes them over.
func TestOneDriverRunsTheJob(t *testing.T) {
	p := newPipeline(t)
	url, _ := p.store(t)
	first := p.submit(t)
	refused := func(by *process) {
		t.Helper()
		holder := fmt.Sprintf("pid %d on ", by.cmd.Process.Pid)
		_, errOut, code := run(t, p.env, "sparkjob", "submit")
		if code != 1 || !strings.Contains(errOut, "is run by another driver, "+holder) || !strings.Contains(errOut, "submit --standby") {
			t.Errorf("a second sparkjob submit: exit code %d\n%s", code, errOut)
		}
		if out, errOut, code := run(t, p.env, "sparkjob", "status"); code != 0 || !strings.Contains(out, "driver: "+holder) {
			t.Errorf("sparkjob status: exit code %d\n%s%s", code, out, errOut)
		}
	}
	refused(first)

	second := start(t, p.env, "sparkjob", "submit", "--standby")
	awaitOutput(t, second, "Standing by for pid", 1)
	first.end(t, syscall.SIGKILL)
	awaitOutput(t, second, "Ctrl-C stops the queries", 1)
	for words, times := range map[string]int{"which has gone": 1, "runs already": 2} {
		if n := strings.Count(second.output(), words); n != times {
			t.Errorf("%q came %d times, want %d:\n%s", words, n, times, second.output())
		}
	}
	if active := activeQueries(t, p); !maps.Equal(active, map[string]int{"events": 1, "rejected_events": 1}) {
		t.Errorf("these queries run: %v", active)
	}
	awaitStored(t, post(t, url, 10))
	refused(second)

	// A driver elsewhere has taken the job: this one leaves the queries to it.
	db := openCassandra(t)
	held, err := cassandra.ReadJobLease(t.Context(), db, p.topic)
	if err != nil || held == nil {
		t.Fatalf("the lease is %v, %v", held, err)
	}
	other := *held
	other.Holder, other.Host, other.Process = "other", "elsewhere", "other"
	const ttl = 12 * time.Second
	if taken, current, err := cassandra.TakeJobLease(t.Context(), db, other, held.Holder, ttl); err != nil || !taken {
		t.Fatalf("taking the lease: %v, %+v", err, current)
	}
	if code := second.wait(t, 20*time.Second); code != 1 || !strings.Contains(second.output(), "another driver has taken job") || strings.Contains(second.output(), "stopped") {
		t.Errorf("after another has taken the job sparkjob submit ends with %d:\n%s", code, second.output())
	}
	if active := activeQueries(t, p); len(active) != 2 {
		t.Errorf("these queries run: %v", active)
	}
	// That one goes, without a word.
	third := p.submit(t)
	if n := strings.Count(third.output(), "runs already"); n != 2 {
		t.Errorf("%d queries were taken over, want 2:\n%s", n, third.output())
	}

	// Who stands by does not start what somebody stops.
	fourth := start(t, p.env, "sparkjob", "submit", "--standby")
	awaitOutput(t, fourth, "Standing by", 1)
	if out, errOut, code := run(t, p.env, "sparkjob", "stop"); code != 0 {
		t.Errorf("sparkjob stop: exit code %d\n%s%s", code, out, errOut)
	}
	if code := third.wait(t, 30*time.Second); code != 0 {
		t.Errorf("sparkjob submit ends with %d:\n%s", code, third.output())
	}
	if code := fourth.wait(t, 20*time.Second); code != 1 || !strings.Contains(fourth.output(), "the job was stopped") {
		t.Errorf("sparkjob submit --standby ends with %d:\n%s", code, fourth.output())
	}
	if active := activeQueries(t, p); len(active) > 0 {
		t.Errorf("these queries run: %v", active)
	}
}

func TestOtherTerminals(t *testing.T) {
	p := newPipeline(t)
	url, _ := p.store(t)
	driver := p.submit(t)
	awaitStored(t, post(t, url, 30))

	out, errOut, code := run(t, p.env, "sparkjob", "status")
	if code != 0 || strings.Count(out, "running") != 2 {
		t.Errorf("sparkjob status: exit code %d\n%s%s", code, out, errOut)
	}
	for line := range strings.Lines(out) {
		if width := len([]rune(strings.TrimRight(line, "\n"))); width > 80 {
			t.Errorf("a line of sparkjob status has %d columns: %s", width, line)
		}
	}
	awaitRead(t, p, 30)
	if !strings.Contains(driver.output(), " records ") {
		t.Errorf("sparkjob submit shows no progress:\n%s", driver.output())
	}

	// Another job's queries are not ours.
	other := p.with("SPARK_JOB_NAME=another job")
	if _, _, code := run(t, other, "sparkjob", "status"); code != 1 {
		t.Errorf("sparkjob status of another job exits with %d, want 1", code)
	}

	// A script asks as well: all well, cannot be told, something wrong.
	eventually(t, 10*time.Second, func() error { return checked(t, p.env, 0) })
	for _, unreachable := range []string{"SPARK_REMOTE=sc://127.0.0.1:1", "CASSANDRA_PORT=1", "KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1"} {
		if err := checked(t, p.with(unreachable), 2, "127.0.0.1:1"); err != nil {
			t.Errorf("with %s: %v", unreachable, err)
		}
	}
	if out, errOut, code = run(t, p.env, "sparkjob", "stop", "rejected_events"); code != 0 || out != "rejected_events stopped\n" {
		t.Errorf("sparkjob stop rejected_events: exit code %d\n%s%s", code, out, errOut)
	}
	if err := checked(t, p.env, 1, "query rejected_events does not run"); err != nil {
		t.Error(err)
	}

	out, errOut, code = run(t, p.env, "sparkjob", "stop")
	if code != 0 || out != "events stopped\n" {
		t.Errorf("sparkjob stop: exit code %d\n%s%s", code, out, errOut)
	}
	if code := driver.wait(t, 30*time.Second); code != 0 {
		t.Errorf("after its queries were stopped sparkjob submit ended with %d:\n%s", code, driver.output())
	}
	out, _, code = run(t, p.env, "sparkjob", "stop")
	if code != 0 || out != "no query ran\n" {
		t.Errorf("sparkjob stop, again: exit code %d\n%s", code, out)
	}
	_, errOut, code = run(t, p.env, "sparkjob", "progress")
	if code != 1 || !strings.Contains(errOut, "query events does not run") {
		t.Errorf("sparkjob progress without queries: exit code %d\n%s", code, errOut)
	}
}

// checked is nil if `sparkjob status --check` exits with code and says one line, with
// these words, or nothing if there are none.
func checked(t *testing.T, env []string, code int, words ...string) error {
	t.Helper()
	out, errOut, got := run(t, env, "sparkjob", "status", "--check")
	problem := fmt.Errorf("sparkjob status --check: exit code %d, want %d and %q\n%s%s", got, code, words, out, errOut)
	if got != code || out != "" || strings.Count(errOut, "\n") != min(len(words), 1) {
		return problem
	}
	for _, word := range words {
		if !strings.Contains(errOut, word) {
			return problem
		}
	}
	return nil
}

// Each mistake is one clear sentence on stderr and a non-zero exit, soon.
func TestSubmitRefuses(t *testing.T) {
	p := newPipeline(t)
	for name, test := range map[string]struct {
		env  []string
		want []string
	}{
		"wrong topic":               {[]string{"KAFKA_TOPIC=no_such_topic"}, []string{`topic "no_such_topic"`, "does not exist", "KAFKA_TOPIC"}},
		"impossible topic":          {[]string{"KAFKA_TOPIC=no such topic"}, []string{`topic "no such topic"`}},
		"unreachable Connect":       {[]string{"SPARK_REMOTE=sc://127.0.0.1:1"}, []string{"127.0.0.1:1", "SPARK_REMOTE"}},
		"unreachable Kafka":         {[]string{"KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1"}, []string{"127.0.0.1:1", "KAFKA_BOOTSTRAP_SERVERS"}},
		"unreachable Cassandra":     {[]string{"CASSANDRA_PORT=1"}, []string{"Cassandra at 127.0.0.1:1"}},
		"wrong Cassandra password":  {[]string{"CASSANDRA_JOB_PASSWORD=wrong"}, []string{"bookstore_job", "CASSANDRA_JOB_PASSWORD"}},
		"no admin, wrong password":  {[]string{"CASSANDRA_JOB_PASSWORD=wrong", "CASSANDRA_ADMIN_PASSWORD="}, []string{"bookstore_job", "CASSANDRA_JOB_PASSWORD"}},
		"unwritable checkpoint":     {[]string{"CHECKPOINT_LOCATION=file:///proc/no"}, []string{"starting streaming query", "/proc/no"}},
		"checkpoint that is no URL": {[]string{"CHECKPOINT_LOCATION=here"}, []string{"--checkpoint-location"}},
		"malformed remote":          {[]string{"SPARK_REMOTE=http://127.0.0.1"}, []string{"connection string", "sc://"}},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, errOut, code := run(t, p.with(test.env...), "sparkjob", "submit")
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
			if code == 0 {
				t.Error("exit code 0")
			}
			for _, word := range test.want {
				if !strings.Contains(errOut, word) {
					t.Errorf("stderr lacks %q:\n%s", word, errOut)
				}
			}
			if n := strings.Count(strings.TrimSpace(errOut), "\n"); n > 0 {
				t.Errorf("stderr has %d lines:\n%s", n+1, errOut)
			}
			if _, _, code := run(t, p.env, "sparkjob", "status"); code == 0 {
				t.Error("queries run all the same")
			}
		})
	}
	// The wrong password must not have become the right one.
	openCassandra(t)
}

// A checkpoint that does not fit is refused at once, with what to do, which then helps.
func TestSubmitRefusesACheckpointThatDoesNotFit(t *testing.T) {
	p := newPipeline(t)
	url, _ := p.store(t)
	job := p.submit(t)
	awaitStored(t, post(t, url, 20))
	awaitRead(t, p, 20)
	if code := job.end(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("sparkjob submit ended with %d:\n%s", code, job.output())
	}
	refused := func(queries int, words ...string) {
		t.Helper()
		began := time.Now()
		out, errOut, code := run(t, p.env, "sparkjob", "submit")
		if took := time.Since(began); code != 1 || took > 20*time.Second || strings.Contains(out, "starts again") || strings.Count(errOut, "\n") != queries {
			t.Errorf("sparkjob submit: exit code %d after %v\n%s%s", code, took, out, errOut)
		}
		for _, word := range words {
			if !strings.Contains(errOut, word) {
				t.Errorf("stderr lacks %q:\n%s", word, errOut)
			}
		}
		if active := activeQueries(t, p); len(active) > 0 {
			t.Errorf("these queries run: %v", active)
		}
	}

	// As if the query had read the topic twice.
	list := batchesOf(t, p, "events")
	offsets := filepath.Join(p.checkpoints, p.topic, "events", "offsets")
	file := filepath.Join(offsets, strconv.FormatInt(list[len(list)-1].BatchID, 10))
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(before), "\n")
	if err := errors.Join(
		os.WriteFile(file, []byte(strings.Join(append(lines, lines[len(lines)-1]), "\n")), 0o644),
		os.Remove(filepath.Join(offsets, "."+filepath.Base(file)+".crc")),
	); err != nil {
		t.Fatal(err)
	}
	refused(1, "query events does not fit its checkpoint file://"+p.checkpoints, "it has the offsets of 2 sources, and the query reads from 1", "checkpoint rewind events --beginning")
	if err := os.WriteFile(file, before, 0o644); err != nil {
		t.Fatal(err)
	}

	recreateTopic(t, p)
	refused(2, "query events does not fit", "query rejected_events does not fit", "the topic ends at 0; the topic was made anew", "checkpoint rewind rejected_events --beginning")
	ids := post(t, url, 5)
	if out, errOut, code := run(t, p.env, "sparkjob", "checkpoint", "rewind", "events", "rejected_events", "--beginning", "--yes"); code != 0 {
		t.Fatalf("checkpoint rewind: exit code %d\n%s%s", code, out, errOut)
	}
	p.submit(t)
	awaitStored(t, ids)
}

// recreateTopic deletes the topic with all its records and makes it again.
func recreateTopic(t *testing.T, p pipeline) {
	t.Helper()
	admin, err := kafka.NewAdminClient(&kafka.ConfigMap{"bootstrap.servers": os.Getenv("KAFKA_BOOTSTRAP_SERVERS")})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	results, err := admin.DeleteTopics(t.Context(), []string{p.topic}, kafka.SetAdminOperationTimeout(10*time.Second))
	if err != nil || results[0].Error.Code() != kafka.ErrNoError {
		t.Fatalf("deleting topic %s: %v, %v", p.topic, err, results)
	}
	eventually(t, 10*time.Second, func() error {
		_, errOut, code := run(t, p.env, "sparkjob", "setup")
		if code != 0 {
			return errors.New(errOut)
		}
		return nil
	})
}

func TestSparkShowsApplicationAndQueries(t *testing.T) {
	p := newPipeline(t)
	p.env = p.with("SPARK_QUERIES=events,rejected_events,activity_by_minute")
	url, _ := p.store(t)
	p.submit(t)
	awaitStored(t, post(t, url, 10))

	var master struct {
		Aliveworkers int
		Activeapps   []struct{ ID, Name, State string }
	}
	if err := getJSON(t, "http://127.0.0.1:"+os.Getenv("SPARK_MASTER_UI_PORT")+"/json/", &master); err != nil {
		t.Fatal(err)
	}
	if len(master.Activeapps) != 1 || master.Activeapps[0].State != "RUNNING" || master.Aliveworkers != 1 {
		t.Fatalf("the Spark master lists %+v", master)
	}
	ui := "http://127.0.0.1:" + os.Getenv("SPARK_UI_PORT")
	var executors []struct {
		ID       string
		IsActive bool
	}
	if err := getJSON(t, ui+"/api/v1/applications/"+master.Activeapps[0].ID+"/executors", &executors); err != nil {
		t.Fatal(err)
	}
	active := 0
	for _, executor := range executors {
		if executor.ID != "driver" && executor.IsActive {
			active++
		}
	}
	if active == 0 {
		t.Errorf("the application has no executor: %+v", executors)
	}
	// Events come before all others where a core becomes free.
	eventually(t, 30*time.Second, func() error {
		var stages []struct{ Description, SchedulingPool string }
		if err := getJSON(t, ui+"/api/v1/applications/"+master.Activeapps[0].ID+"/stages", &stages); err != nil {
			return err
		}
		pools := map[string]string{}
		for _, stage := range stages {
			query, _, _ := strings.Cut(stage.Description, "\n")
			pools[query] = stage.SchedulingPool
		}
		if pools["events"] != "events" || pools["rejected_events"] != "default" {
			return fmt.Errorf("the queries' stages are in the pools %v", pools)
		}
		return nil
	})
	// The plans that the page shows are those which ran: Spark would plan a query once more
	// for each, without its checkpoint.
	eventually(t, 30*time.Second, func() error {
		var executions []struct{ PlanDescription string }
		if err := getJSON(t, ui+"/api/v1/applications/"+master.Activeapps[0].ID+"/sql?length=1000", &executions); err != nil {
			return err
		}
		found := false
		for _, execution := range executions {
			if strings.Contains(execution.PlanDescription, "checkpoint = <unknown>") {
				t.Fatalf("the page shows a plan that did not run:\n%s", execution.PlanDescription)
			}
			found = found || strings.Contains(execution.PlanDescription, "checkpoint = file:"+p.checkpoints)
		}
		if !found {
			return fmt.Errorf("none of %d plans is that of a query with a state", len(executions))
		}
		return nil
	})
	page := get(t, ui+"/StreamingQuery/")
	for _, query := range []string{"events", "rejected_events"} {
		if !strings.Contains(page, query) {
			t.Errorf("%s/StreamingQuery/ does not show query %s", ui, query)
		}
	}
}

// Passwords go to Spark with the queries; they must not come out of it again.
func TestPasswordsAreNotShown(t *testing.T) {
	p := newPipeline(t)
	url, _ := p.store(t)
	driver := p.submit(t)
	awaitStored(t, post(t, url, 10))
	progress, _, _ := run(t, p.env, "sparkjob", "progress")
	config, _, _ := run(t, p.env, "sparkjob", "config")
	ui := "http://127.0.0.1:" + os.Getenv("SPARK_UI_PORT")
	shown := map[string]string{
		"sparkjob submit": driver.output(), "sparkjob progress": progress, "sparkjob config": config,
		"environment page": get(t, ui+"/environment/"), "SQL page": get(t, ui+"/SQL/"), "queries page": get(t, ui+"/StreamingQuery/"),
	}
	for execution := range 5 {
		if page, err := tryGet(t.Context(), fmt.Sprintf("%s/SQL/execution/?id=%d", ui, execution)); err == nil {
			shown[fmt.Sprint("SQL execution ", execution)] = page
		}
	}
	logs, err := os.ReadDir(os.Getenv("STACK_DIR") + "/logs")
	if err != nil || len(logs) == 0 {
		t.Fatalf("no logs of the engines: %v", err)
	}
	for _, entry := range logs {
		if entry.IsDir() { // those of another stack, which had a test fail
			continue
		}
		text, err := os.ReadFile(os.Getenv("STACK_DIR") + "/logs/" + entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		shown["log "+entry.Name()] = string(text)
	}
	for _, name := range []string{"CASSANDRA_JOB_PASSWORD", "CASSANDRA_ADMIN_PASSWORD", "CASSANDRA_STORE_PASSWORD"} {
		password := os.Getenv(name)
		if password == "" {
			t.Fatalf("%s is not set", name)
		}
		for where, text := range shown {
			if strings.Contains(text, password) {
				t.Errorf("%s shows %s", where, name)
			}
		}
	}
}

// What peek shows is what was sent, in UTC.
func TestPeek(t *testing.T) {
	p := newPipeline(t)
	url, _ := p.store(t)
	p.submit(t)
	at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	id := schema.NewEventID()
	body := fmt.Sprintf(`{"event_id": %q, "event_type": "purchase", "event_time": %q, "user_id": "visitor-9", "book_id": "pride-and-prejudice"}`,
		id, at.In(time.FixedZone("", 2*3600)).Format("2006-01-02T15:04:05.000Z07:00"))
	response, err := http.Post(url+"/events", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		t.Fatalf("POST /events: %s", response.Status)
	}
	awaitStored(t, []string{id})
	out, errOut, code := run(t, p.with("TZ=America/New_York"), "sparkjob", "peek", "--event-id", id)
	if code != 0 {
		t.Fatalf("sparkjob peek: exit code %d\n%s", code, errOut)
	}
	for _, want := range []string{at.UTC().Format("2006-01-02 15:04:05.000"), "UTC", "purchase", "pride-and-prejudice", "visitor-9", id} {
		if !strings.Contains(out, want) {
			t.Errorf("sparkjob peek lacks %q:\n%s", want, out)
		}
	}
	out, _, _ = run(t, p.env, "sparkjob", "peek", "--event-id", id, "--json")
	if event, err := schema.Decode([]byte(out)); err != nil || !event.EventTime.Equal(at) {
		t.Errorf("sparkjob peek --json: %v\n%s", err, out)
	}
	if _, errOut, code = run(t, p.env, "sparkjob", "peek", "--event-id", schema.NewEventID()); code != 1 {
		t.Errorf("sparkjob peek of no event: exit code %d\n%s", code, errOut)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	page, err := tryGet(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func tryGet(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", errors.New(response.Status)
	}
	var body bytes.Buffer
	_, err = body.ReadFrom(response.Body)
	return body.String(), err
}
