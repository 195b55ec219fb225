//go:build integration

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/joho/godotenv"
	psnet "github.com/shirou/gopsutil/v4/net"
	gops "github.com/shirou/gopsutil/v4/process"

	"example.com/bookstore/deploy/stack/process"
	"example.com/bookstore/deploy/stack/service"
	"example.com/bookstore/deploy/stack/supervisor"
	"example.com/bookstore/schema/kafkaclient"
	"example.com/bookstore/schema/topic"
)

// program is the command stack with a stack of its own: a folder, whose name has a
// space, and free ports.
type program struct {
	path    string
	project string
	dir     string
	environ []string
	ports   map[string]int
}

func newProgram(t *testing.T, more ...string) *program {
	t.Helper()
	project, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	p := &program{
		path:    filepath.Join(t.TempDir(), "stack"),
		project: project,
		dir:     filepath.Join(t.TempDir(), "a stack"),
		ports:   map[string]int{},
	}
	free, err := supervisor.FreePorts(t.Context(), service.Hosts(3)...)
	if err != nil {
		t.Fatal(err)
	}
	settings, err := godotenv.Read(filepath.Join(project, settingsFile))
	if err != nil {
		t.Fatal(err)
	}
	// Not those of the stack that the tests run in.
	p.environ = slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		_, ok := settings[name]
		return ok
	})
	p.environ = append(p.environ, "STACK=local", "STACK_DIR="+p.dir,
		"CASSANDRA_ADMIN_PASSWORD=a", "CASSANDRA_JOB_PASSWORD=b", "CASSANDRA_STORE_PASSWORD=c")
	p.environ = append(p.environ, more...)
	for name := range settings {
		if strings.HasSuffix(name, "_PORT") {
			p.ports[name] = free()
			p.environ = append(p.environ, fmt.Sprintf("%s=%d", name, p.ports[name]))
		}
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", p.path, ".").CombinedOutput(); err != nil {
		t.Fatalf("building the command: %v\n%s", err, out)
	}
	t.Cleanup(func() { p.run(t, 0, "down") })
	return p
}

func (p *program) command(args ...string) *exec.Cmd {
	// No context, since the last down runs after the test's own has ended.
	cmd := exec.CommandContext(context.Background(), p.path, args...)
	cmd.Dir, cmd.Env = p.project, p.environ
	return cmd
}

// run runs the command, wants the exit code, and returns what it printed.
func (p *program) run(t *testing.T, code int, args ...string) string {
	t.Helper()
	cmd := p.command(args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("stack %s: %v", strings.Join(args, " "), err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("stack %s ended with %d, want %d:\n%s", strings.Join(args, " "), got, code, out)
	}
	return string(out)
}

func want(t *testing.T, what, got, pattern string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(got) {
		t.Errorf("%s has no %q:\n%s", what, pattern, got)
	}
}

// ours returns the processes whose command line names the stack's folder.
func (p *program) ours(t *testing.T) []string {
	t.Helper()
	all, err := gops.Processes()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, proc := range all {
		if line, err := proc.Cmdline(); err == nil && strings.Contains(line, p.dir) {
			found = append(found, line)
		}
	}
	return found
}

func (p *program) status(t *testing.T, name string) process.Status {
	t.Helper()
	st, err := process.Process{Name: name, PIDFile: filepath.Join(p.dir, "run", name+".pid")}.Status()
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func (p *program) pid(t *testing.T, name string) int {
	t.Helper()
	return p.status(t, name).PID
}

// waitFor polls until done, or ends the test.
func waitFor(t *testing.T, what string, within time.Duration, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, within)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestKafka takes one real engine through its life.
func TestKafka(t *testing.T) {
	p := newProgram(t)

	blocker, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.ports["KAFKA_PORT"])))
	if err != nil {
		t.Fatal(err)
	}
	out := p.run(t, 1, "up", "--only", "kafka")
	want(t, "up with a taken port", out, fmt.Sprintf(`port %d is taken by .+ \(pid %d\): end that, or set KAFKA_PORT`, p.ports["KAFKA_PORT"], os.Getpid()))
	if err := blocker.Close(); err != nil {
		t.Fatal(err)
	}

	out = p.run(t, 0, "up", "--only", "kafka")
	want(t, "up", out, fmt.Sprintf(`kafka +ready after +\S+ s +127\.0\.0\.1:%d`, p.ports["KAFKA_PORT"]))
	first := p.pid(t, "kafka")

	began := time.Now()
	out = p.run(t, 0, "up", "--only", "kafka")
	want(t, "second up", out, "everything runs already")
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("second up took %s, want less than 3 s", took)
	}
	if got := p.pid(t, "kafka"); got != first {
		t.Errorf("pid after the second up = %d, want %d", got, first)
	}
	want(t, "status", p.run(t, 0, "status"), `kafka +running +`+strconv.Itoa(first))
	want(t, "logs", p.run(t, 0, "logs", "kafka", "-n", "50"), `Kafka Server started`)

	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "kafka's end", 10*time.Second, func() bool { return p.status(t, "kafka").State == process.Dead })
	out = p.run(t, 1, "status")
	want(t, "status after kill -9", out, `kafka +dead`)
	want(t, "status after kill -9", out, `kafka has ended by itself; its log is`)
	p.run(t, 0, "up", "--only", "kafka")
	if got := p.pid(t, "kafka"); got == first {
		t.Error("up after kill -9 started no new process")
	}

	// A stopped process holds its port and its pid, but answers nobody.
	if err := syscall.Kill(p.pid(t, "kafka"), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	want(t, "status of a wedged broker", p.run(t, 1, "status"), `kafka +not answering`)
	if err := syscall.Kill(p.pid(t, "kafka"), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}

	want(t, "down", p.run(t, 0, "down"), `kafka +stopped in`)
	if left := p.ours(t); len(left) > 0 {
		t.Errorf("after down, these run: %q", left)
	}
	want(t, "second down", p.run(t, 0, "down"), "nothing runs")
	if _, err := os.Stat(filepath.Join(p.dir, "data", "kafka", "logs", "meta.properties")); err != nil {
		t.Errorf("down did not keep the data: %v", err)
	}
	want(t, "clean without a terminal", p.run(t, 1, "clean"), "add --yes")
	p.run(t, 0, "clean", "--yes")
	if _, err := os.Stat(filepath.Join(p.dir, "data")); err == nil {
		t.Error("clean left the data")
	}
}

// TestAskingKafkaThatIsAway keeps asking, as the store and the job do: that may not take
// the core which what still runs needs.
func TestAskingKafkaThatIsAway(t *testing.T) {
	p := newProgram(t)
	p.run(t, 0, "up", "--only", "kafka")
	kafka := kafkaclient.Config{BootstrapServers: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.ports["KAFKA_PORT"]))}
	admin, err := topic.NewAdmin(kafka, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	spec := topic.Spec{Name: "t", Partitions: 2, ReplicationFactor: 1}
	waitFor(t, "a topic", 10*time.Second, func() bool {
		_, err := admin.Ensure(t.Context(), spec)
		return err == nil
	})
	p.run(t, 0, "down")
	busy := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	ask := func() {
		t.Helper()
		if _, err := admin.EndOffsets(t.Context(), spec.Name); !errors.Is(err, topic.ErrUnreachable) {
			t.Errorf("EndOffsets without a broker: %v, want ErrUnreachable", err)
		}
	}
	ask() // the first request after the end may find the connection as it was
	began, before := time.Now(), busy()
	for range 4 {
		ask()
	}
	if took, used := time.Since(began), busy()-before; used > took/2 {
		t.Errorf("asking for %s used %s of a core", took, used)
	}
	p.run(t, 0, "up", "--only", "kafka")
	waitFor(t, "the topic's end", 10*time.Second, func() bool {
		ends, err := admin.EndOffsets(t.Context(), spec.Name)
		return err == nil && len(ends) == spec.Partitions
	})
}

func TestEngineThatDoesNotStart(t *testing.T) {
	p := newProgram(t)
	p.run(t, 0, "up", "--only", "kafka")
	p.run(t, 0, "down")
	meta := filepath.Join(p.dir, "data", "kafka", "logs", "meta.properties")
	if err := os.WriteFile(meta, []byte("version=1\nnode.id=99\ncluster.id=AAAAAAAAAAAAAAAAAAAAAA\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := p.run(t, 1, "up", "--only", "kafka")
	want(t, "up", out, `starting kafka: it ended at once \(exit status 1\)\nlast lines of .+kafka\.log:\n`)
	want(t, "up", out, `99`)
	if left := p.ours(t); len(left) > 0 {
		t.Errorf("after the failed up, these run: %q", left)
	}
}

func TestInterruptedUp(t *testing.T) {
	p := newProgram(t)
	var out bytes.Buffer
	cmd := p.command("up", "--only", "kafka,spark-master")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The jars may have to be fetched first.
	waitFor(t, "the master's start", 2*time.Minute, func() bool { return p.pid(t, "spark-master") != 0 })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Errorf("the interrupted up ended with 0:\n%s", &out)
	}
	if left := p.ours(t); len(left) > 0 {
		t.Errorf("after the interrupted up, these run: %q", left)
	}
}

func TestExec(t *testing.T) {
	p := newProgram(t)
	out := p.run(t, 7, "exec", "--only", "kafka", "--", "sh", "-c",
		`echo "kafka $KAFKA_BOOTSTRAP_SERVERS in $STACK_DIR"; test "$KAFKA_PORT" = "$0" && exit 8; exit 7`, strconv.Itoa(p.ports["KAFKA_PORT"]))
	want(t, "exec", out, `kafka 127\.0\.0\.1:\d+ in `+regexp.QuoteMeta(p.dir)+`/exec-\d+`)
	want(t, "exec", out, `the logs of the throwaway stack are in `)
	if left, err := filepath.Glob(filepath.Join(p.dir, "exec-*")); err != nil || len(left) > 0 {
		t.Errorf("exec left %q, %v", left, err)
	}
	if logs, err := filepath.Glob(filepath.Join(p.dir, "logs", "exec-*", "kafka.log")); err != nil || len(logs) != 1 {
		t.Errorf("logs kept = %q, %v; want those of kafka", logs, err)
	}
	if left := p.ours(t); len(left) > 0 {
		t.Errorf("after exec, these run: %q", left)
	}
}

// TestEverythingListensOnLoopback looks at the engines that the tests run with.
func TestEverythingListensOnLoopback(t *testing.T) {
	dir := os.Getenv("STACK_DIR")
	if dir == "" {
		t.Fatal("STACK_DIR is not set: run the integration tests with go run ./deploy/stack exec")
	}
	listenOnLoopback(t, dir, supervisor.Engines...)
}

// Byteman skips a rule that does not fit the class it names, with a word in a log.
func TestBytemanRulesFit(t *testing.T) {
	dir := os.Getenv("STACK_DIR")
	if dir == "" {
		t.Fatal("STACK_DIR is not set: run the integration tests with go run ./deploy/stack exec")
	}
	rules, err := filepath.Glob("../spark/*.btm")
	if err != nil || len(rules) == 0 {
		t.Fatalf("rules %v, %v", rules, err)
	}
	jars := filepath.Join(dir, "run", "spark-home", "jars", "*")
	out, err := exec.CommandContext(t.Context(), "java", append([]string{"-cp", jars, "org.jboss.byteman.check.TestScript"}, rules...)...).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("no errors")) || bytes.Count(out, []byte("Type checked rule")) != len(rules) {
		t.Errorf("%v\n%s", err, out)
	}
}

// listenOnLoopback looks at the sockets of a running stack's services.
func listenOnLoopback(t *testing.T, dir string, names ...string) {
	t.Helper()
	conns, err := psnet.Connections("tcp")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		st, err := process.Process{Name: name, PIDFile: filepath.Join(dir, "run", name+".pid")}.Status()
		if err != nil {
			t.Fatal(err)
		}
		if st.State != process.Running {
			t.Fatalf("%s is %s: run the integration tests with go run ./deploy/stack exec", name, st.State)
		}
		listens := 0
		for _, c := range conns {
			pgid, err := syscall.Getpgid(int(c.Pid)) // with a worker's executors
			if c.Status != "LISTEN" || err != nil || pgid != st.PID {
				continue
			}
			listens++
			if ip := net.ParseIP(c.Laddr.IP); !ip.IsLoopback() {
				t.Errorf("%s listens on %s:%d", name, c.Laddr.IP, c.Laddr.Port)
			}
		}
		if listens == 0 {
			t.Errorf("%s listens nowhere; this test sees nothing", name)
		}
	}
}
