package supervisor

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	gops "github.com/shirou/gopsutil/v4/process"

	"example.com/bookstore/deploy/stack/process"
	"example.com/bookstore/deploy/stack/service"
)

func newStack(t *testing.T, out io.Writer) *Stack {
	t.Helper()
	return newCluster(t, 1, filepath.Join(t.TempDir(), "stack"), out)
}

func newCluster(t *testing.T, nodes int, dir string, out io.Writer) *Stack {
	t.Helper()
	cfg := service.Config{Dir: dir, Nodes: nodes}
	s, err := New(cfg, t.TempDir(), out)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestClosure(t *testing.T) {
	s := newStack(t, io.Discard)
	for _, test := range []struct {
		names string
		want  string
	}{
		{"kafka", "kafka"},
		{"cassandra kafka", "kafka cassandra"},
		{"spark-connect", "spark-master spark-worker spark-connect"},
		{"store", "kafka cassandra store"},
		{"sparkjob", "kafka cassandra spark-master spark-worker spark-connect sparkjob"},
	} {
		services, err := s.closure(strings.Fields(test.names))
		if err != nil {
			t.Errorf("closure(%s): %v", test.names, err)
		}
		var got []string
		for _, svc := range services {
			got = append(got, svc.Name)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("closure(%s) = %s, want %s", test.names, got, test.want)
		}
	}
	if _, err := s.closure([]string{"zookeeper"}); err == nil || !strings.Contains(err.Error(), `no service "zookeeper", only kafka, cassandra`) {
		t.Errorf("unknown service: error = %v", err)
	}
}

func TestClosureOfSeveralNodes(t *testing.T) {
	s := newCluster(t, 3, t.TempDir(), io.Discard)
	for names, want := range map[string]string{
		"kafka":         "kafka kafka-2 kafka-3",
		"cassandra-2":   "cassandra cassandra-2 cassandra-3",
		"spark-connect": "spark-master spark-worker spark-worker-2 spark-connect",
	} {
		services, err := s.closure([]string{names})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, svc := range services {
			got = append(got, svc.Name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("closure(%s) = %s, want %s", names, got, want)
		}
	}
}

func TestStepsWaitForOthers(t *testing.T) {
	var mu sync.Mutex
	var order []string
	run := func(name string) func(context.Context) error {
		return func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
			return nil
		}
	}
	err := runSteps(t.Context(), []step{
		{"last", []string{"middle", "first"}, run("last")},
		{"middle", []string{"first", "not in the list"}, run("middle")},
		{"first", nil, run("first")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"first", "middle", "last"}; !slices.Equal(order, want) {
		t.Errorf("order = %q, want %q", order, want)
	}
}

func TestFailedStepEndsTheOthers(t *testing.T) {
	broken := errors.New("broken")
	err := runSteps(t.Context(), []step{
		{"broken", nil, func(context.Context) error { return broken }},
		{"waits", []string{"broken"}, func(context.Context) error { t.Error("a step ran after a failed one"); return nil }},
		{"runs", nil, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
	})
	if !errors.Is(err, broken) {
		t.Errorf("error = %v, want %v", err, broken)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "lock")
	unlock, err := lock(t.Context(), path, func() { t.Error("waited for a free lock") })
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := tryLock(path); ok || err != nil {
		t.Fatalf("second tryLock = %t, %v; want false", ok, err)
	}

	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := lock(short, path, func() {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("lock with a short context: error = %v", err)
	}

	waits := make(chan struct{})
	got := make(chan error)
	go func() {
		unlock, err := lock(t.Context(), path, func() { close(waits) })
		if err == nil {
			unlock()
		}
		got <- err
	}()
	<-waits
	unlock()
	if err := <-got; err != nil {
		t.Errorf("lock after unlock: %v", err)
	}
}

// fake replaces a service's work by a shell script that answers once it has made a file.
func fake(svc *service.Service, script, dir string) {
	ready := filepath.Join(dir, svc.Name)
	svc.Jars, svc.Ports, svc.Memory, svc.Works = nil, nil, 0, nil
	svc.Folder = dir
	svc.Prepare = func(context.Context) error { return nil }
	svc.Command = func() []string { return []string{"/bin/sh", "-c", script} }
	svc.Environ = func() []string { return append(os.Environ(), "READY="+ready) }
	svc.Answers = func(context.Context) error {
		_, err := os.Stat(ready)
		return err
	}
}

const works = `touch "$READY"; trap 'rm "$READY"; exit' TERM; while :; do sleep 0.05; done`

func newFakeStack(t *testing.T, out io.Writer, scripts map[string]string) *Stack {
	t.Helper()
	return fakeStack(t, newStack(t, out), scripts)
}

func fakeStack(t *testing.T, s *Stack, scripts map[string]string) *Stack {
	t.Helper()
	s.builder.Config.AdminPassword, s.builder.Config.JobPassword, s.builder.Config.StorePassword = "a", "b", "c"
	dir := t.TempDir()
	for _, svc := range s.services {
		script := works
		if own, ok := scripts[svc.Name]; ok {
			script = own
		}
		fake(svc, script, dir)
	}
	t.Cleanup(func() {
		if err := s.discard(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func states(t *testing.T, s *Stack) map[string]process.State {
	t.Helper()
	got := map[string]process.State{}
	for _, svc := range s.services {
		st, err := svc.Status()
		if err != nil {
			t.Fatal(err)
		}
		got[svc.Name] = st.State
	}
	return got
}

func TestUpAndDown(t *testing.T) {
	var out bytes.Buffer
	s := newFakeStack(t, &out, nil)
	if err := s.Up(t.Context(), Engines); err != nil {
		t.Fatal(err)
	}
	for _, name := range Engines {
		if got := states(t, s)[name]; got != process.Running {
			t.Errorf("after up, %s is %s", name, got)
		}
		if !regexp.MustCompile(`(?m)^` + name + ` +ready after`).MatchString(out.String()) {
			t.Errorf("up says nothing of %s: %s", name, &out)
		}
	}

	out.Reset()
	if err := s.Up(t.Context(), Engines); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "everything runs already\n" {
		t.Errorf("second up says %q", got)
	}

	out.Reset()
	if err := s.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, match := range regexp.MustCompile(`(?m)^(\S+) +stopped in`).FindAllStringSubmatch(out.String(), -1) {
		order = append(order, match[1])
	}
	want := slices.Clone(Engines)
	slices.Reverse(want)
	if !slices.Equal(order, want) {
		t.Errorf("down stopped %q, want %q", order, want)
	}
	for name, got := range states(t, s) {
		if got != process.Stopped {
			t.Errorf("after down, %s is %s", name, got)
		}
	}

	out.Reset()
	if err := s.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "nothing runs\n" {
		t.Errorf("second down says %q", got)
	}
}

// Several nodes start and stop together, one of them can be away, and the others of a
// cluster that has data are not forgotten when the setting is another.
func TestSeveralNodes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "stack")
	s := fakeStack(t, newCluster(t, 3, dir, io.Discard), map[string]string{service.SparkMaster: "exec sleep 60"})
	if err := s.Up(t.Context(), []string{service.Kafka, service.Cassandra}); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context(), service.Kafka); err != nil {
		t.Fatal(err)
	}
	want := map[string]process.State{"kafka-2": process.Running, "kafka-3": process.Running,
		"cassandra": process.Running, "cassandra-2": process.Running, "cassandra-3": process.Running}
	for name, got := range states(t, s) {
		if got != want[name] {
			t.Errorf("%s is %s, want %s", name, got, want[name])
		}
	}
	svc, err := s.find(service.Sparkjob)
	if err != nil {
		t.Fatal(err)
	}
	svc.After = []string{service.Kafka} // whose first node is away
	svc.Name = "reader"
	if err := s.Start(t.Context(), "reader"); err != nil {
		t.Errorf("starting what needs Kafka, of which two nodes run: %v", err)
	}
	if err := svc.Stop(t.Context(), 0); err != nil {
		t.Fatal(err)
	}

	other := fakeStack(t, newCluster(t, 1, dir, io.Discard), nil)
	err = other.Up(t.Context(), []string{service.Kafka})
	if err == nil || !strings.Contains(err.Error(), "are of 3 nodes, but STACK_NODES is 1: set STACK_NODES=3 in .env") {
		t.Errorf("up of 1 node: error = %v", err)
	}
	if err := other.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, got := range states(t, s) {
		if got != process.Stopped {
			t.Errorf("after clean, %s is %s", name, got)
		}
	}
	fresh := fakeStack(t, newCluster(t, 1, dir, io.Discard), nil)
	if err := fresh.Up(t.Context(), []string{service.Kafka}); err != nil {
		t.Errorf("up of 1 node after clean: %v", err)
	}
}

func TestFailedUpStopsWhatItStarted(t *testing.T) {
	s := newFakeStack(t, io.Discard, map[string]string{service.SparkWorker: "echo no such folder; exit 4"})
	if err := s.Up(t.Context(), []string{service.Kafka}); err != nil {
		t.Fatal(err)
	}
	err := s.Up(t.Context(), Engines)
	for _, want := range []string{"starting spark-worker: it ended at once (exit status 4)", "last lines of", "no such folder"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q in it", err, want)
		}
	}
	for name, got := range states(t, s) {
		want := process.Stopped
		if name == service.Kafka { // which ran before
			want = process.Running
		}
		if got != want {
			t.Errorf("after the failure, %s is %s, want %s", name, got, want)
		}
	}
}

func TestInterruptedUpStopsWhatItStarted(t *testing.T) {
	s := newFakeStack(t, io.Discard, map[string]string{service.Cassandra: "exec sleep 60"})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := s.Up(ctx, Engines); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want the context's", err)
	}
	for name, got := range states(t, s) {
		if got != process.Stopped {
			t.Errorf("after the interruption, %s is %s", name, got)
		}
	}
}

// A worker and an application do not survive their master.
func TestUpRestartsWhatIsBoundToTheMaster(t *testing.T) {
	s := newFakeStack(t, io.Discard, nil)
	if err := s.Up(t.Context(), Engines); err != nil {
		t.Fatal(err)
	}
	pid := func(name string) int {
		svc, err := s.find(name)
		if err != nil {
			t.Fatal(err)
		}
		st, err := svc.Status()
		if err != nil {
			t.Fatal(err)
		}
		return st.PID
	}
	kafka, worker := pid(service.Kafka), pid(service.SparkWorker)
	if err := syscall.Kill(pid(service.SparkMaster), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the master's end", func() bool { return states(t, s)[service.SparkMaster] == process.Dead })
	if err := s.Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("status of a dead master: error = %v", err)
	}
	if err := s.Up(t.Context(), Engines); err != nil {
		t.Fatal(err)
	}
	if got := pid(service.SparkWorker); got == worker {
		t.Error("the worker of the former master still runs")
	}
	if got := pid(service.Kafka); got != kafka {
		t.Error("kafka was restarted")
	}
	if err := s.Status(t.Context()); err != nil {
		t.Errorf("status after up: %v", err)
	}
}

// A killed worker leaves its executors, which nobody would know of after a new start.
func TestUpEndsWhatADeadServiceLeft(t *testing.T) {
	dir := t.TempDir()
	s := newFakeStack(t, io.Discard, map[string]string{
		service.Kafka: `sleep 60 & echo $! >` + filepath.Join(dir, "child") + `; touch "$READY"; wait`,
	})
	if err := s.Up(t.Context(), []string{service.Kafka}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "child"))
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	svc, err := s.find(service.Kafka)
	if err != nil {
		t.Fatal(err)
	}
	st, err := svc.Status()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(st.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the service's end", func() bool { return states(t, s)[service.Kafka] == process.Dead })
	if pgid, err := syscall.Getpgid(child); err != nil || pgid != st.PID {
		t.Fatalf("group of the child = %d, %v; this test shows nothing", pgid, err)
	}
	if err := s.Up(t.Context(), []string{service.Kafka}); err != nil {
		t.Fatal(err)
	}
	if status, err := gops.NewProcess(int32(child)); err == nil {
		if state, err := status.Status(); err == nil && !slices.Contains(state, gops.Zombie) {
			t.Errorf("the child of the killed process is still there: %s", state)
		}
	}
}

func TestStartNeedsWhatComesBefore(t *testing.T) {
	s := newFakeStack(t, io.Discard, nil)
	err := s.Start(t.Context(), service.SparkWorker)
	if err == nil || !strings.Contains(err.Error(), "it needs spark-master, which is stopped") {
		t.Errorf("error = %v", err)
	}
}

func TestStatusOfWhatDoesNotAnswer(t *testing.T) {
	var out bytes.Buffer
	s := newFakeStack(t, &out, nil)
	if err := s.Up(t.Context(), []string{service.Kafka}); err != nil {
		t.Fatal(err)
	}
	svc, _ := s.find(service.Kafka)
	svc.Answers = func(context.Context) error { return errors.New("asleep") }
	if err := s.Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("error = %v", err)
	}
	if !strings.Contains(out.String(), "kafka does not answer: asleep") {
		t.Errorf("status says %s", &out)
	}
}

func TestCleanKeepsJars(t *testing.T) {
	s := newFakeStack(t, io.Discard, nil)
	jar := filepath.Join(s.builder.Dir, "jars", "kafka", "kafka.jar")
	for _, file := range []string{jar, filepath.Join(s.builder.Dir, "data", "kafka", "x"), filepath.Join(s.builder.Dir, "logs", "x")} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(jar); err != nil {
		t.Error("clean deleted a jar")
	}
	for _, folder := range []string{"data", "logs", "run"} {
		if _, err := os.Stat(filepath.Join(s.builder.Dir, folder)); err == nil {
			t.Errorf("clean left %s", folder)
		}
	}
}

func TestIsolate(t *testing.T) {
	for _, name := range []string{"STACK_DIR", "CHECKPOINT_LOCATION", "CASSANDRA_ADMIN_PASSWORD", "CASSANDRA_JOB_PASSWORD", "CASSANDRA_STORE_PASSWORD"} {
		t.Setenv(name, "of the main stack") // restored after the test
	}
	dir := t.TempDir()
	text := "A_VERSION=1\nA_PORT=9092\nB_PORT=9093\nA_ADDR=127.0.0.1:${A_PORT}\nA_OTHER=${A_ADDR}\nA_HOSTS=127.0.0.1\nC_PORT=${B_PORT}\nA_TOPIC=events\n"
	for name, value := range map[string]string{"A_VERSION": "2", "A_PORT": "9092", "B_PORT": "9093", "A_ADDR": "elsewhere:1",
		"A_OTHER": "elsewhere:2", "A_HOSTS": "elsewhere", "C_PORT": "9093", "A_TOPIC": "mine"} {
		t.Setenv(name, value)
	}
	stackDir, err := Isolate(t.Context(), filepath.Join(dir, ".stack"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	env := os.Getenv
	if env("A_VERSION") != "2" || env("A_TOPIC") != "mine" {
		t.Errorf("A_VERSION = %s, A_TOPIC = %s; want what the environment had", env("A_VERSION"), env("A_TOPIC"))
	}
	a, b := env("A_PORT"), env("B_PORT")
	if a == "9092" || b == "9093" || a == b {
		t.Errorf("ports = %s and %s, want free ones", a, b)
	}
	for name, want := range map[string]string{"A_ADDR": "127.0.0.1:" + a, "A_OTHER": "127.0.0.1:" + a, "A_HOSTS": "127.0.0.1", "C_PORT": b,
		"STACK_DIR": stackDir, "CHECKPOINT_LOCATION": "file://" + stackDir + "/data/checkpoints"} {
		if env(name) != want {
			t.Errorf("%s = %s, want %s", name, env(name), want)
		}
	}
	if !filepath.IsAbs(stackDir) || filepath.Dir(stackDir) != filepath.Join(dir, ".stack") {
		t.Errorf("folder = %s, want one in %s", stackDir, filepath.Join(dir, ".stack"))
	}
	if env("CASSANDRA_ADMIN_PASSWORD") == env("CASSANDRA_JOB_PASSWORD") || len(env("CASSANDRA_ADMIN_PASSWORD")) < 20 {
		t.Error("the passwords are not random")
	}
}

func TestFreePorts(t *testing.T) {
	hosts := service.Hosts(3)
	next, err := FreePorts(t.Context(), hosts...)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		port := strconv.Itoa(next())
		for _, host := range hosts {
			listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(host, port))
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close() // kept, so that a port given twice shows
		}
	}
}

func TestExec(t *testing.T) {
	for _, test := range []struct {
		name, script string
		scripts      map[string]string
		code         int
		kept         bool
		wantErr      string
	}{
		{"success", `test -e "$DIR/run/kafka.pid"`, nil, 0, false, ""},
		{"the command's exit code", "exit 7", nil, 7, true, ""},
		{"the command's signal", "kill -TERM $$", nil, 128 + 15, true, ""},
		{"a stack that does not come up", "exit 0", map[string]string{service.Kafka: "exit 1"}, 1, true, "starting kafka"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newFakeStack(t, io.Discard, test.scripts)
			t.Setenv("DIR", s.builder.Dir)
			logs := filepath.Join(t.TempDir(), "logs", "kept")
			code, err := s.Exec(t.Context(), []string{service.Kafka}, false, []string{"/bin/sh", "-c", test.script}, logs)
			if code != test.code || (err == nil) != (test.wantErr == "") || err != nil && !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("Exec = %d, %v; want %d, %q", code, err, test.code, test.wantErr)
			}
			if _, err := os.Stat(filepath.Join(logs, "kafka.log")); (err == nil) != test.kept {
				t.Errorf("logs kept: %v, want %t", err, test.kept)
			}
			if _, err := os.Stat(s.builder.Dir); err == nil {
				t.Error("the folder is still there")
			}
		})
	}
}

func TestForget(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{"exec-c", "exec-a", "exec-b", "other"} { // from oldest to newest
		folder := filepath.Join(dir, name)
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-10) * time.Hour)
		if err := os.Chtimes(folder, at, at); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := forget(filepath.Join(dir, "exec-*"), 2); err != nil {
			t.Fatal(err)
		}
	}
	got, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i] = filepath.Base(got[i])
	}
	if want := []string{"exec-a", "exec-b", "other"}; !slices.Equal(got, want) {
		t.Errorf("left = %q, want %q", got, want)
	}
}

func TestExecPassesSignalsOn(t *testing.T) {
	s := newFakeStack(t, io.Discard, nil)
	started := filepath.Join(t.TempDir(), "started")
	type result struct {
		code int
		err  error
	}
	done := make(chan result)
	go func() {
		code, err := s.Exec(t.Context(), []string{service.Kafka}, false,
			[]string{"/bin/sh", "-c", "trap 'exit 9' TERM; touch " + started + "; while :; do sleep 0.05; done"}, filepath.Join(t.TempDir(), "logs"))
		done <- result{code, err}
	}()
	waitFor(t, "the command", func() bool { _, err := os.Stat(started); return err == nil })
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got.code != 9 || got.err != nil {
		t.Errorf("Exec = %d, %v; want 9", got.code, got.err)
	}
}

// An exec that was killed leaves its stack; the next down ends it.
func TestDownEndsWhatAKilledExecLeft(t *testing.T) {
	var out bytes.Buffer
	s := newFakeStack(t, &out, nil)
	left := filepath.Join(s.builder.Dir, throwawayPrefix+"1")
	used := filepath.Join(s.builder.Dir, throwawayPrefix+"2")
	unlock, ok, err := tryLock(filepath.Join(used, ownerLock))
	if err != nil || !ok {
		t.Fatalf("tryLock = %t, %v", ok, err)
	}
	defer unlock()
	orphan := process.Process{Name: "kafka", PIDFile: filepath.Join(left, "run", "kafka.pid"), LogFile: filepath.Join(left, "logs", "kafka.log")}
	exited, err := orphan.Start(t.Context(), []string{"sleep", "60"}, os.Environ(), s.builder.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left, ownerLock), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-exited; err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the process ended with %v, want that it was killed", err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("its folder is still there")
	}
	if _, err := os.Stat(used); err != nil {
		t.Errorf("the folder of a living exec: %v", err)
	}
}

// waitFor polls until done, or ends the test.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 10 s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
