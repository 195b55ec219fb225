package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	// Fills the protobuf registry with the messages of Spark Connect.
	_ "github.com/apache/spark-connect-go/spark/sql"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

func (b *Builder) sparkMaster() *Service {
	s := b.spark(SparkMaster)
	s.Address = fmt.Sprintf("http://%s  spark://%s", loopback(b.Config.SparkMasterUIPort), loopback(b.Config.SparkMasterPort))
	s.Ports = []Port{{"SPARK_MASTER_PORT", b.Config.SparkMasterPort}, {"SPARK_MASTER_UI_PORT", b.Config.SparkMasterUIPort}}
	s.Memory = 250 << 20
	s.Command = func() []string {
		return append(b.sparkJava("daemon.jvm.options"), "org.apache.spark.deploy.master.Master",
			"--host", "127.0.0.1", "--port", strconv.Itoa(b.Config.SparkMasterPort),
			"--webui-port", strconv.Itoa(b.Config.SparkMasterUIPort))
	}
	s.Answers = func(ctx context.Context) error {
		_, err := b.askMaster(ctx)
		return err
	}
	return s
}

func (b *Builder) sparkWorkers() []*Service {
	return together(nodes(min(b.Config.Nodes, 2)), b.sparkWorker) // two say enough
}

func (b *Builder) sparkWorker(n node) *Service {
	s := b.spark(n.name(SparkWorker))
	s.Address = "http://" + n.address(b.Config.SparkWorkerUIPort)
	s.Ports = []Port{{"SPARK_WORKER_UI_PORT", b.Config.SparkWorkerUIPort}}
	s.After = []string{SparkMaster}
	s.Bound = SparkMaster
	s.Memory = 1000 << 20 // with its executor
	s.Command = func() []string {
		return append(b.sparkJava("daemon.jvm.options"), "org.apache.spark.deploy.worker.Worker",
			"--host", n.host, "--webui-port", strconv.Itoa(b.Config.SparkWorkerUIPort),
			"--cores", strconv.Itoa(b.Config.SparkWorkerCores), "--memory", b.Config.SparkWorkerMemory,
			"--work-dir", filepath.Join(b.data("spark"), n.name("work")),
			"spark://"+loopback(b.Config.SparkMasterPort))
	}
	s.Answers = func(ctx context.Context) error { return b.workerAnswers(ctx, s.Address) }
	environ := s.Environ
	s.Environ = func() []string {
		return append(environ(), "SPARK_LOCAL_IP="+n.host, "SPARK_PUBLIC_DNS="+n.host)
	}
	return s
}

func (b *Builder) sparkConnect() *Service {
	s := b.spark(SparkConnect)
	s.Address = fmt.Sprintf("sc://%s  http://%s", loopback(b.Config.SparkConnectPort), loopback(b.Config.SparkUIPort))
	s.Ports = []Port{{"SPARK_CONNECT_PORT", b.Config.SparkConnectPort}, {"SPARK_UI_PORT", b.Config.SparkUIPort}}
	s.After = []string{SparkWorker}
	s.Bound = SparkMaster
	s.Memory = 600 << 20
	s.Command = func() []string {
		command := append(b.sparkJava("connect.jvm.options"), b.loginOption("spark")...)
		command = append(command, "org.apache.spark.deploy.SparkSubmit")
		for _, option := range b.loginOption("spark") { // of the executors
			command = append(command, "--conf", `spark.executor.defaultJavaOptions="`+option+`"`)
		}
		return append(command, "--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal")
	}
	s.Answers = b.connectAnswers
	s.Works = b.WarmUp
	return s
}

// spark is what the three processes have in common.
func (b *Builder) spark(name string) *Service {
	s := b.base(name)
	s.Jars = b.jars("spark")
	s.Folder = b.data("spark")
	s.Start = 120 * time.Second
	s.Drain = 20 * time.Second
	s.Prepare = b.prepareSpark
	s.Environ = func() []string {
		return engineEnviron(
			"JAVA_HOME="+b.JavaHome, // the worker starts its executors with it
			"SPARK_HOME="+b.sparkHome(),
			"SPARK_CONF_DIR="+b.conf("spark"),
			// Without a distribution around the jars, Spark cannot tell it.
			"SPARK_SCALA_VERSION="+b.Config.SparkScalaVersion,
			"SPARK_LOCAL_DIRS="+filepath.Join(b.data("spark"), "local"),
			"SPARK_LOCAL_IP=127.0.0.1",
			"SPARK_PUBLIC_DNS=127.0.0.1")
	}
	return s
}

// sparkHome is a folder with a link jars, which is all that Spark needs of one.
func (b *Builder) sparkHome() string { return filepath.Join(b.Dir, "run", "spark-home") }

func (b *Builder) sparkJava(options string) []string {
	return []string{b.java(), "@" + filepath.Join(b.conf("spark"), options),
		"-cp", b.conf("spark") + string(filepath.ListSeparator) + filepath.Join(b.jars("spark").Dir, "*")}
}

func (b *Builder) prepareSpark(context.Context) error {
	err := b.configure("spark", firstNode, nil, []string{"tmp", "local"}, "spark-defaults.conf",
		"log4j2.properties", "loopback.btm", "schema-refresh.btm", "scheduler-pool.btm", "plan-description.btm", "fairscheduler.xml", "daemon.jvm.options", "connect.jvm.options")
	if err != nil {
		return err
	}
	if err := b.writeLogin("spark", "KafkaClient"); err != nil {
		return err
	}
	link := filepath.Join(b.sparkHome(), "jars")
	if target, err := os.Readlink(link); err == nil && target == b.jars("spark").Dir {
		return nil
	}
	if err := os.MkdirAll(b.sparkHome(), 0o755); err != nil {
		return fmt.Errorf("configuring spark: %w", err)
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("configuring spark: %w", err)
	}
	if err := os.Symlink(b.jars("spark").Dir, link); err != nil {
		return fmt.Errorf("configuring spark: %w", err)
	}
	return nil
}

// master is the part of the master's /json/ that tells who has joined.
type master struct {
	Status  string
	Workers []struct {
		WebUIAddress string
		State        string
	}
	ActiveApps []struct {
		Name  string
		State string
	}
}

func (b *Builder) askMaster(ctx context.Context) (master, error) {
	var m master
	if err := get(ctx, "http://"+loopback(b.Config.SparkMasterUIPort)+"/json/", &m); err != nil {
		return m, err
	}
	if m.Status != "ALIVE" {
		return m, fmt.Errorf("the master says %s of itself, not ALIVE", m.Status)
	}
	return m, nil
}

func (b *Builder) workerAnswers(ctx context.Context, address string) error {
	if err := get(ctx, address+"/json/", nil); err != nil {
		return err
	}
	m, err := b.askMaster(ctx)
	if err != nil {
		return fmt.Errorf("asking the master: %w", err)
	}
	for _, w := range m.Workers {
		if w.State == "ALIVE" && w.WebUIAddress == address {
			return nil
		}
	}
	return errors.New("the master does not list it as ALIVE")
}

// WorkersAnswer asks the master for a worker that has joined it, on whatever machine.
func (b *Builder) WorkersAnswer(ctx context.Context) error {
	m, err := b.askMaster(ctx)
	if err != nil {
		return fmt.Errorf("asking the master: %w", err)
	}
	for _, w := range m.Workers {
		if w.State == "ALIVE" {
			return nil
		}
	}
	return errors.New("the master lists no worker as ALIVE")
}

// The one session of all probes: a 3.5 server keeps at most 100 sessions, and a new
// one for each probe would in time end the driver's session and its queries.
const (
	probeSession = "00000000-0000-4000-8000-000000000001"
	probe        = `{"session_id": "` + probeSession + `", "user_context": {"user_id": "stack"}, "spark_version": {}}`
)

// connectAnswers asks the server for its version over Spark Connect, and the master
// whether the application runs.
func (b *Builder) connectAnswers(ctx context.Context) error {
	address := loopback(b.Config.SparkConnectPort)
	if err := dial(ctx, address); err != nil {
		return err
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	req, err := connectMessage("AnalyzePlanRequest")
	if err != nil {
		return err
	}
	if err := protojson.Unmarshal([]byte(probe), req); err != nil {
		return err
	}
	resp, err := connectMessage("AnalyzePlanResponse")
	if err != nil {
		return err
	}
	if err := conn.Invoke(ctx, "/spark.connect.SparkConnectService/AnalyzePlan", req, resp); err != nil {
		return err
	}
	m, err := b.askMaster(ctx)
	if err != nil {
		return fmt.Errorf("asking the master: %w", err)
	}
	for _, app := range m.ActiveApps {
		if app.Name == "bookstore" && app.State == "RUNNING" {
			return nil
		}
	}
	return errors.New("the master does not list the application bookstore as RUNNING")
}

func connectMessage(name string) (proto.Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName("spark.connect." + name))
	if err != nil {
		return nil, err
	}
	return t.New().Interface(), nil
}
