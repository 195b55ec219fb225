//go:build compose

package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"example.com/bookstore/deploy/stack/supervisor"
	"example.com/bookstore/producer/visitors"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/env"
	"example.com/bookstore/schema/secret"
)

// These tests bring docker-compose.yml up as a project of its own, on free ports and
// volumes that are gone afterwards, and go through the life of a cluster:
// go test -tags compose -count=1 -timeout 30m ./deploy/stack/compose

// environ gives the programs under test a project, ports and passwords of their own.
func environ(t *testing.T) {
	t.Helper()
	t.Chdir(project)
	t.Setenv("STACK", "compose")
	t.Setenv("COMPOSE_PROJECT_NAME", "bookstore-test-"+uuid.NewString()[:8])
	free, err := supervisor.FreePorts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("deploy/stack.env")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile(`(?m)^([A-Z_]+_PORT)=\d+$`).FindAllStringSubmatch(string(text), -1) {
		t.Setenv(match[1], strconv.Itoa(free()))
	}
	for _, name := range []string{"CASSANDRA_ADMIN_PASSWORD", "CASSANDRA_JOB_PASSWORD", "CASSANDRA_STORE_PASSWORD"} {
		t.Setenv(name, uuid.NewString())
	}
	if err := env.Load(); err != nil {
		t.Fatal(err)
	}
}

// run runs a command, wants it to succeed, and returns what it printed.
func run(t *testing.T, args ...string) string {
	t.Helper()
	began := time.Now()
	cmd := exec.CommandContext(context.Background(), args[0], args[1:]...) // also after the test
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
	t.Logf("%s: %.1f s", strings.Join(args, " "), time.Since(began).Seconds())
	return out.String()
}

func stack(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, append([]string{"go", "run", "./deploy/stack"}, args...)...)
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, append([]string{"docker", "compose", "--profile", "*"}, args...)...)
}

// get decodes a JSON answer.
func get(t *testing.T, url string, v any) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(body, v)
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", url, err, body)
	}
}

// eventually asks until the answer is yes.
func eventually(t *testing.T, what string, within time.Duration, ask func() bool) {
	t.Helper()
	began := time.Now()
	for !ask() {
		if time.Since(began) > within {
			t.Fatalf("not %s within %s", what, within)
		}
		time.Sleep(time.Second)
	}
	t.Logf("%s after %.1f s", what, time.Since(began).Seconds())
}

// demo wants equal counts.
func demo(t *testing.T) {
	t.Helper()
	out := run(t, "go", "run", "./deploy/demo")
	counts := regexp.MustCompile(`acknowledged=(\d+) stored=(\d+) rejected=2`).FindStringSubmatch(out)
	if counts == nil || counts[1] != counts[2] || counts[1] == "0" {
		t.Fatalf("the demo printed\n%s", out)
	}
	t.Log(counts[0])
}

// batches returns the number of the latest micro-batch of each query.
func batches(t *testing.T) map[string]int64 {
	t.Helper()
	last := map[string]int64{}
	for decoder := json.NewDecoder(strings.NewReader(run(t, "go", "run", "./sparkjob", "progress"))); decoder.More(); {
		var p struct {
			Name    string `json:"name"`
			BatchID int64  `json:"batchId"`
		}
		if err := decoder.Decode(&p); err != nil {
			t.Fatal(err)
		}
		last[p.Name] = p.BatchID
	}
	if len(last) != 2 {
		t.Fatalf("progress of %v, want two queries", last)
	}
	return last
}

func TestCluster(t *testing.T) {
	environ(t)
	t.Cleanup(func() { stack(t, "clean", "--yes") })
	docker(t, "build", "--quiet") // the first time takes as long as the network lets it

	began := time.Now()
	out := stack(t, "up")
	if took := time.Since(began); took > 5*time.Minute {
		t.Errorf("up from clean took %s, want less than 5 minutes", took)
	}
	t.Log(out[strings.LastIndex(out, "up after"):])
	healthy := func() bool {
		list, err := New(config(t), ".", io.Discard).containers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(list) == 7 && !slices.ContainsFunc(list, func(c container) bool {
			return c.Health != "healthy" && (c.Service != "setup" || c.State != "exited" || c.ExitCode != 0)
		})
	}
	eventually(t, "every container healthy", time.Minute, healthy)
	if out := stack(t, "status"); !strings.Contains(out, "Docker compose") {
		t.Errorf("status does not tell which stack runs:\n%s", out)
	}
	var master struct {
		ActiveApps []struct{ Name, State string }
	}
	get(t, "http://127.0.0.1:"+os.Getenv("SPARK_MASTER_UI_PORT")+"/json/", &master)
	if len(master.ActiveApps) != 1 || master.ActiveApps[0].Name != "bookstore" || master.ActiveApps[0].State != "RUNNING" {
		t.Errorf("the master lists %+v, want the application bookstore RUNNING", master.ActiveApps)
	}
	defaultSuperuser := cassandra.Config{Hosts: []string{"127.0.0.1"}, Port: config(t).CassandraPort,
		Datacenter: os.Getenv("CASSANDRA_DATACENTER"), User: "cassandra", Password: "cassandra"}
	if session, err := defaultSuperuser.Connect(t.Context()); err == nil {
		session.Close()
		t.Error("Cassandra's default superuser may log in")
	}

	t.Run("driver of the host", func(t *testing.T) {
		submit := exec.CommandContext(t.Context(), "go", "run", "./sparkjob", "submit")
		var said bytes.Buffer
		submit.Stdout, submit.Stderr = &said, &said
		submit.Cancel = func() error { return submit.Process.Signal(os.Interrupt) }
		if err := submit.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if t.Failed() {
				_ = submit.Wait() // it has ended, with the test's context
				t.Logf("submit said\n%s", said.String())
			}
		})
		eventually(t, "the queries run", 90*time.Second, func() bool {
			return exec.CommandContext(t.Context(), "go", "run", "./sparkjob", "status").Run() == nil
		})
		demo(t)
		run(t, "go", "run", "./sparkjob", "stop") // after which submit has nothing left to do
		if err := submit.Wait(); err != nil {
			t.Errorf("submit ended with %v\n%s", err, said.String())
		}
	})

	stack(t, "start", "sparkjob")
	demo(t)
	before := batches(t)

	stack(t, "down")
	if list := run(t, "docker", "ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project="+os.Getenv("COMPOSE_PROJECT_NAME")); list != "" {
		t.Errorf("down left containers %s", list)
	}
	if list := run(t, "docker", "network", "ls", "--quiet", "--filter", "label=com.docker.compose.project="+os.Getenv("COMPOSE_PROJECT_NAME")); list != "" {
		t.Errorf("down left networks %s", list)
	}
	stack(t, "up")
	stack(t, "start", "sparkjob")
	demo(t)
	for name, after := range batches(t) {
		if after <= before[name] {
			t.Errorf("query %s is at batch %d after down and up, at %d before: not from its checkpoint", name, after, before[name])
		}
	}

	t.Run("a second worker", func(t *testing.T) {
		docker(t, "up", "--detach", "--no-recreate", "--scale", "spark-worker=2", "spark-worker")
		var apps []struct{ ID string }
		ui := "http://127.0.0.1:" + os.Getenv("SPARK_UI_PORT") + "/api/v1/applications"
		get(t, ui, &apps)
		eventually(t, "executors on two workers", time.Minute, func() bool {
			var executors []struct{ ID, HostPort string }
			get(t, ui+"/"+apps[0].ID+"/executors", &executors)
			hosts := map[string]bool{}
			for _, e := range executors {
				if host, _, _ := strings.Cut(e.HostPort, ":"); e.ID != "driver" {
					hosts[host] = true
				}
			}
			return len(hosts) == 2
		})
		demo(t)
	})

	t.Run("kafka away for 30 s", func(t *testing.T) { outage(t, "kafka", 30*time.Second) })
}

// outage stops a service under load and wants every acknowledged event in Cassandra.
func outage(t *testing.T, name string, away time.Duration) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		ids   []string
		seed  atomic.Uint64
	)
	for range 4 {
		group.Go(func() {
			for ctx.Err() == nil {
				events, err := visitors.Run(t.Context(), visitors.PlanConfig{
					Seed: seed.Add(1), Visits: 2, Rate: 1000, Reading: 50 * time.Millisecond, LatePhones: visitors.None,
				}, visitors.RunConfig{StoreURL: os.Getenv("STORE_URL"), Patience: 3 * time.Minute})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, e := range events {
					ids = append(ids, e.EventID)
				}
				mu.Unlock()
			}
		})
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(ids) }
	eventually(t, "load", 30*time.Second, func() bool { return count() > 200 })
	docker(t, "stop", name)
	atStop := count()
	time.Sleep(away)
	docker(t, "start", name)
	eventually(t, "load again", 2*time.Minute, func() bool { return count() > atStop+200 })
	cancel()
	group.Wait()

	session, err := cassandra.Config{Hosts: []string{"127.0.0.1"}, Port: config(t).CassandraPort, Datacenter: os.Getenv("CASSANDRA_DATACENTER"),
		User: cassandra.StoreUser, Password: secret.String(os.Getenv("CASSANDRA_STORE_PASSWORD")), Keyspace: cassandra.Keyspace}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	stored := 0
	eventually(t, "every acknowledged event stored", 3*time.Minute, func() bool {
		found, err := cassandra.FindEvents(t.Context(), session, ids)
		if err != nil {
			t.Fatal(err)
		}
		stored = len(found)
		return stored == len(ids)
	})
	t.Logf("acknowledged=%d stored=%d", len(ids), stored)
}
