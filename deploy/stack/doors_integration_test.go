//go:build integration

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	gops "github.com/shirou/gopsutil/v4/process"

	"example.com/bookstore/deploy/stack/certificates"
	"example.com/bookstore/deploy/stack/service"
	"example.com/bookstore/deploy/stack/supervisor"
	"example.com/bookstore/schema"
	"example.com/bookstore/schema/cassandra"
	"example.com/bookstore/schema/kafkaclient"
	"example.com/bookstore/schema/secret"
	"example.com/bookstore/schema/topic"
)

// doors are the ways in, as a program of ours reads them from the environment.
type doors struct {
	Kafka               kafkaclient.Config `embed:"" prefix:"kafka-"`
	CassandraHosts      []string           `env:"CASSANDRA_HOSTS" required:""`
	CassandraPort       int                `env:"CASSANDRA_PORT" required:""`
	CassandraDatacenter string             `env:"CASSANDRA_DATACENTER" required:""`
	CassandraTLS        cassandra.TLS      `embed:"" prefix:"cassandra-"`
	AdminPassword       secret.String      `name:"admin" env:"CASSANDRA_ADMIN_PASSWORD" required:""`
	JobPassword         secret.String      `name:"job" env:"CASSANDRA_JOB_PASSWORD" required:""`
	StorePassword       secret.String      `name:"store" env:"CASSANDRA_STORE_PASSWORD" required:""`
	StoreURL            string             `env:"STORE_URL" required:""`
	SparkUIPort         int                `env:"SPARK_UI_PORT" required:""`
	SparkMasterUIPort   int                `env:"SPARK_MASTER_UI_PORT" required:""`
	SparkWorkerUIPort   int                `env:"SPARK_WORKER_UI_PORT" required:""`
	StackDir            string             `env:"STACK_DIR" required:""`
}

// TestShutDoors has a stack with TLS of its own carry an event all the way, and tries the
// doors. It runs itself in such a stack, where it finds none around it.
func TestShutDoors(t *testing.T) {
	if os.Getenv("STACK_TLS") != "true" {
		p := newProgram(t)
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		t.Log(p.run(t, 0, "exec", "--tls", "--", self, "-test.run=^TestShutDoors$", "-test.v"))
		return
	}
	if _, err := os.Stat(settingsFile); err != nil {
		t.Chdir("../..")
	}
	var d doors
	parser, err := kong.New(&d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(nil); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SPARK_QUERIES", "events,bookstore_activity") // one to Cassandra, one to Kafka
	stack, err := openLocal(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{service.Store, service.Sparkjob} {
		if err := stack.Start(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("an event goes all the way", d.carry)
	t.Run("Kafka refuses", d.kafkaRefuses)
	t.Run("Cassandra refuses", d.cassandraRefuses)
	t.Run("no secret shows", d.hidden)
	t.Run("all listen on loopback", func(t *testing.T) {
		listenOnLoopback(t, d.StackDir, append(supervisor.Engines, service.Store, service.Sparkjob)...)
	})
}

func (d doors) cassandra(user string, password secret.String) cassandra.Config {
	return cassandra.Config{
		Hosts: d.CassandraHosts, Port: d.CassandraPort, Datacenter: d.CassandraDatacenter, TLS: d.CassandraTLS,
		User: user, Password: password, Keyspace: cassandra.Keyspace, Timeout: 5 * time.Second,
	}
}

func (d doors) carry(t *testing.T) {
	id := schema.NewEventID()
	body := fmt.Sprintf(`{"event_id": %q, "event_type": "purchase", "book_id": "frankenstein"}`, id)
	response, err := http.Post(d.StoreURL+"/events", "application/json", strings.NewReader(body)) //nolint:noctx // a test's own
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil || response.StatusCode != http.StatusAccepted {
		t.Fatalf("the store answers %s, %s, %v", response.Status, answer, err)
	}
	session, err := d.cassandra(cassandra.StoreUser, d.StorePassword).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	waitFor(t, "the event's row", time.Minute, func() bool {
		found, err := cassandra.FindEvents(t.Context(), session, []string{id})
		if err != nil {
			t.Fatal(err)
		}
		return len(found) == 1
	})
	admin, err := topic.NewAdmin(d.Kafka, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	waitFor(t, "a count of Spark's in Kafka", time.Minute, func() bool {
		ends, err := admin.EndOffsets(t.Context(), schema.ActivityTopic)
		if err != nil {
			t.Fatal(err)
		}
		for _, end := range ends {
			if end > 0 {
				return true
			}
		}
		return false
	})
}

// foreignAuthority is one that has not signed for the engines.
func foreignAuthority(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tls")
	if err := certificates.Ensure(dir, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, certificates.CA)
}

func (d doors) kafkaRefuses(t *testing.T) {
	right := d.Kafka
	plain, stranger, foreign := right, right, right
	plain.SecurityProtocol = kafkaclient.Plaintext
	stranger.SASLPassword = "wrong"
	foreign.CAFile = foreignAuthority(t)
	for _, test := range []struct {
		name   string
		config kafkaclient.Config
		want   kafka.ErrorCode
	}{
		{"without TLS", plain, kafka.ErrAllBrokersDown},
		{"with a wrong password", stranger, kafka.ErrAuthentication},
		{"a certificate of another authority", foreign, kafka.ErrSsl},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, err := kafka.NewProducer(test.config.ConfigMap(kafka.ConfigMap{"log_level": 0}))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			deadline := time.After(20 * time.Second)
			for {
				select {
				case event := <-client.Events():
					if err, ok := event.(kafka.Error); ok && err.Code() == test.want {
						return
					}
				case <-deadline:
					t.Fatalf("no error %s within 20 s", test.want)
				}
			}
		})
	}
}

func (d doors) cassandraRefuses(t *testing.T) {
	right := d.cassandra(cassandra.JobUser, d.JobPassword)
	plain, stranger, foreign := right, right, right
	plain.TLS = cassandra.TLS{}
	stranger.Password = "wrong"
	foreign.TLS.CAFile = foreignAuthority(t)
	for _, test := range []struct {
		name   string
		config cassandra.Config
		want   error // nil for any
	}{
		{"without TLS", plain, nil},
		{"with a wrong password", stranger, cassandra.ErrCredentials},
		{"a certificate of another authority", foreign, cassandra.ErrCertificate},
	} {
		t.Run(test.name, func(t *testing.T) {
			session, err := test.config.Connect(t.Context())
			if err == nil {
				session.Close()
				t.Fatal("it is let in")
			}
			if test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("it is refused with %v, want %v", err, test.want)
			}
		})
	}
}

// hidden looks wherever people and programs look.
func (d doors) hidden(t *testing.T) {
	look := func(where string, text []byte) {
		for _, password := range []secret.String{d.Kafka.SASLPassword, d.AdminPassword, d.JobPassword, d.StorePassword} {
			if bytes.Contains(text, []byte(password)) {
				t.Errorf("a password shows in %s", where)
			}
		}
	}
	// Spark's pages, and what programs read there.
	ui := fmt.Sprintf("http://127.0.0.1:%d", d.SparkUIPort)
	var applications []struct{ ID string }
	if err := json.Unmarshal(fetch(t, ui+"/api/v1/applications"), &applications); err != nil || len(applications) != 1 {
		t.Fatalf("Spark's applications are %v, %v", applications, err)
	}
	api := ui + "/api/v1/applications/" + applications[0].ID
	var executions []struct{ ID int }
	sql := fetch(t, api+"/sql?details=true&planDescription=true&length=1000")
	if err := json.Unmarshal(sql, &executions); err != nil || len(executions) == 0 {
		t.Fatalf("Spark's SQL executions are %v, %v", executions, err)
	}
	look(api+"/sql", sql)
	pages := []string{
		api + "/environment", api + "/executors", api + "/jobs", api + "/stages",
		ui + "/environment/", ui + "/SQL/", ui + "/StreamingQuery/", ui + "/executors/", ui + "/jobs/", ui + "/connect/",
		fmt.Sprintf("http://127.0.0.1:%d/", d.SparkMasterUIPort), fmt.Sprintf("http://127.0.0.1:%d/json/", d.SparkMasterUIPort),
		fmt.Sprintf("http://127.0.0.1:%d/", d.SparkWorkerUIPort),
		d.StoreURL + "/live/snapshot.json", d.StoreURL + "/metrics",
	}
	for _, execution := range executions {
		pages = append(pages, fmt.Sprintf("%s/SQL/execution/?id=%d", ui, execution.ID))
	}
	for _, page := range pages {
		look(page, fetch(t, page))
	}
	// What the programs print of themselves.
	for _, args := range [][]string{{"sparkjob", "config"}, {"store", "--print-config"}} {
		out, err := exec.CommandContext(t.Context(), filepath.Join(".stack", "bin", args[0]), args[1:]...).Output()
		if err != nil || !bytes.Contains(out, []byte("SASL_SSL")) {
			t.Errorf("%s: %v, %s", args, err, out)
		}
		look(strings.Join(args, " "), out)
	}
	// Command lines, which everybody on this machine sees.
	processes, err := gops.Processes()
	if err != nil {
		t.Fatal(err)
	}
	ours := 0
	for _, p := range processes {
		line, err := p.Cmdline()
		if err != nil || !strings.Contains(line, d.StackDir) {
			continue
		}
		ours++
		look("a command line", []byte(line))
	}
	if ours < len(supervisor.Engines) {
		t.Errorf("only %d command lines were seen", ours)
	}
	// Files: no log, and none that others may read. The engines' own data are theirs.
	logs := 0
	err = filepath.WalkDir(d.StackDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			if errors.Is(err, fs.ErrNotExist) { // a checkpoint's, which has just been replaced
				return nil
			}
			if entry != nil && (path == filepath.Join(d.StackDir, "data", "kafka") || path == filepath.Join(d.StackDir, "data", "cassandra")) {
				return fs.SkipDir
			}
			return err
		}
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() {
			return nil //nolint:nilerr // gone meanwhile
		}
		isLog := strings.HasSuffix(path, ".log") || strings.HasSuffix(path, "stderr") || strings.HasSuffix(path, "stdout")
		if isLog {
			logs++
		}
		if info.Mode().Perm()&0o077 == 0 && !isLog {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // gone meanwhile
		}
		look(path, text)
		return nil
	})
	if err != nil || logs < len(supervisor.Engines) {
		t.Errorf("%d logs were read, %v", logs, err)
	}
}

func fetch(t *testing.T, url string) []byte {
	t.Helper()
	response, err := http.Get(url) //nolint:gosec,noctx // a page of the stack's own
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s answers %s, %v", url, response.Status, err)
	}
	return text
}
