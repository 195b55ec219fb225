package compose

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/joho/godotenv"

	"example.com/bookstore/deploy/stack/service"
	"example.com/bookstore/schema/env"
)

var project = filepath.Join("..", "..", "..")

// settings are deploy/stack.env, with made-up passwords for .env.example's.
func settings(t *testing.T) map[string]string {
	t.Helper()
	values, err := godotenv.Read(filepath.Join(project, "deploy", "stack.env"))
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := godotenv.Read(filepath.Join(project, ".env.example"))
	if err != nil {
		t.Fatal(err)
	}
	for name := range secrets {
		values[name] = "secret of " + name
	}
	return values
}

// load reads docker-compose.yml as docker compose does, with every profile on.
func load(t *testing.T, values map[string]string) *types.Project {
	t.Helper()
	var environ []string
	for name, value := range values {
		environ = append(environ, name+"="+value)
	}
	options, err := cli.NewProjectOptions([]string{filepath.Join(project, "docker-compose.yml")},
		cli.WithEnv(environ), cli.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// ofCluster are the settings of a stack with several nodes in containers.
func ofCluster(t *testing.T) map[string]string {
	t.Helper()
	values := settings(t)
	for name := range values {
		t.Setenv(name, "") // restores the variable when the test ends
		os.Unsetenv(name)
	}
	t.Setenv("STACK_NODES", "3")
	text, err := env.Stack(project)
	if err != nil {
		t.Fatal(err)
	}
	more, err := os.ReadFile(filepath.Join(project, "deploy", "compose-cluster.env"))
	if err != nil {
		t.Fatal(err)
	}
	read, err := godotenv.Unmarshal(string(text) + string(more))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(values, read)
	values["STACK_NODES"] = "3"
	return values
}

// local returns the services of the local stack with the same settings, and several nodes.
func local(t *testing.T, values map[string]string) map[string]*service.Service {
	t.Helper()
	for name, value := range values {
		t.Setenv(name, value)
	}
	t.Setenv("STACK_NODES", "3")
	services := map[string]*service.Service{}
	for _, svc := range (&service.Builder{Config: config(t)}).All() {
		services[svc.Name] = svc
	}
	return services
}

// config is what the environment says.
func config(t *testing.T) service.Config {
	t.Helper()
	var cfg service.Config
	parser, err := kong.New(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(nil); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestServicesAreThoseOfTheLocalStack(t *testing.T) {
	values := settings(t)
	got := slices.Sorted(maps.Keys(load(t, values).Services))
	services := local(t, values)
	delete(services, "spark-worker-2") // a second container of the first
	want := slices.Sorted(maps.Keys(services))
	want = append(want, "setup")                    // a command of the local stack
	want = slices.AppendSeq(want, maps.Keys(pages)) // what it has not
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("services are %q, want %q", got, want)
	}
}

// pages are services for people, of profiles of their own, with the variable of each
// one's port.
var pages = map[string]string{
	"kafka-ui": "KAFKA_UI_PORT", "prometheus": "PROMETHEUS_PORT", "grafana": "GRAFANA_PORT", "jaeger": "JAEGER_UI_PORT",
}

// The ports that only containers use among themselves, or that more than one has.
var unpublished = []string{"KAFKA_CONTROLLER_PORT", "CASSANDRA_STORAGE_PORT", "SPARK_WORKER_UI_PORT", "KAFKA_METRICS_PORT", "CASSANDRA_METRICS_PORT"}

func TestPortsAreThoseOfTheLocalStack(t *testing.T) {
	values := settings(t)
	services := local(t, values)
	for name, svc := range load(t, values).Services {
		var want, got []string
		if variable, ok := pages[name]; ok {
			want = append(want, "127.0.0.1:"+values[variable])
		} else if local := services[name]; local != nil {
			for _, port := range local.Ports {
				if !slices.Contains(unpublished, port.Variable) {
					want = append(want, fmt.Sprintf("%s:%d", local.Host, port.Number))
				}
			}
		}
		for _, port := range svc.Ports {
			got = append(got, port.HostIP+":"+port.Published)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s publishes %q, want %q", name, got, want)
		}
	}
}

// Every port is published under the number that its variable sets.
func TestPortsFollowTheSettings(t *testing.T) {
	values := settings(t)
	next := 20000
	for name := range values {
		if strings.HasSuffix(name, "_PORT") && name != "SPARK_CASSANDRA_PORT" {
			values[name] = fmt.Sprint(next)
			next++
		}
	}
	for name, svc := range load(t, values).Services {
		for _, port := range svc.Ports {
			if !strings.HasPrefix(port.Published, "200") {
				t.Errorf("%s publishes %s, whatever the settings say", name, port.Published)
			}
		}
		if name == "kafka" && !strings.HasSuffix(*svc.Environment["KAFKA_ADVERTISED_LISTENERS"], ":"+values["KAFKA_PORT"]) {
			t.Errorf("kafka advertises %s, want port %s", *svc.Environment["KAFKA_ADVERTISED_LISTENERS"], values["KAFKA_PORT"])
		}
	}
}

var pinned = regexp.MustCompile(`^[a-z0-9./-]+:v?[0-9][A-Za-z0-9._-]*$`)

func TestImagesArePinned(t *testing.T) {
	values := settings(t)
	for name, value := range values {
		if strings.HasSuffix(name, "_IMAGE") && !pinned.MatchString(value) {
			t.Errorf("%s=%s names no version", name, value)
		}
	}
	for name, svc := range load(t, values).Services {
		var want string
		switch name {
		case "kafka", "kafka-2", "kafka-3":
			want = "bookstore/kafka:" + values["KAFKA_VERSION"]
		case "cassandra", "cassandra-2", "cassandra-3":
			want = "bookstore/cassandra:" + values["CASSANDRA_VERSION"]
		case "kafka-ui", "prometheus", "grafana", "jaeger":
			want = values[strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"_IMAGE"]
		case "store": // built from the checkout, as the next
			want = "bookstore/store:dev"
		case "setup", "sparkjob":
			want = "bookstore/sparkjob:dev"
		default:
			want = "bookstore/spark:" + values["SPARK_VERSION"]
		}
		if svc.Image != want {
			t.Errorf("%s runs image %s, want %s", name, svc.Image, want)
		}
		if svc.Build == nil {
			continue
		}
		dockerfile, err := os.ReadFile(filepath.Join(svc.Build.Context, svc.Build.Dockerfile))
		if err != nil {
			t.Fatal(err)
		}
		for _, from := range regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(string(dockerfile), -1) {
			variable := strings.Trim(from[1], "${}")
			if value := svc.Build.Args[variable]; value == nil || *value != values[variable] {
				t.Errorf("%s starts from %s, which no setting pins", svc.Build.Dockerfile, from[1])
			}
		}
	}
}

func TestServicesAreLookedAfter(t *testing.T) {
	for name, svc := range load(t, settings(t)).Services {
		if svc.MemLimit == 0 {
			t.Errorf("%s has no memory limit", name)
		}
		if svc.Restart == "" {
			t.Errorf("%s has no restart policy", name)
		}
		if name != "setup" && svc.HealthCheck == nil { // setup ends
			t.Errorf("%s has no health check", name)
		}
		if svc.Privileged || svc.User == "root" || svc.User == "0" || !slices.Contains(svc.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s may gain privileges", name)
		}
		for other, dependency := range svc.DependsOn {
			want := types.ServiceConditionHealthy
			if other == "setup" {
				want = types.ServiceConditionCompletedSuccessfully
			}
			if optional := slices.Contains(svc.Profiles, "cluster") || !slices.Contains(cluster, other); dependency.Required != optional {
				t.Errorf("%s needs %s: %t, want %t, since the profile cluster may be off", name, other, dependency.Required, optional)
			}
			if dependency.Condition != want {
				t.Errorf("%s waits for %s to be %s, want %s", name, other, dependency.Condition, want)
			}
		}
	}
}

// cluster are the services of the profile cluster.
var cluster = []string{"cassandra-2", "cassandra-3", "kafka-2", "kafka-3"}

// The other nodes are what the first is, but for their own name, address and data.
func TestNodesOfTheCluster(t *testing.T) {
	values := ofCluster(t)
	loaded := load(t, values)
	var got []string
	for name, svc := range loaded.Services {
		if slices.Contains(svc.Profiles, "cluster") {
			got = append(got, name)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, cluster) {
		t.Errorf("the profile cluster has %q, want %q", got, cluster)
	}
	volumes := map[string]string{}
	for _, name := range append([]string{"kafka", "cassandra"}, cluster...) {
		svc := loaded.Services[name]
		for _, volume := range svc.Volumes {
			if other := volumes[volume.Source]; other != "" {
				t.Errorf("%s and %s have the same volume %s", name, other, volume.Source)
			}
			volumes[volume.Source] = name
		}
		engine, number, _ := strings.Cut(name, "-")
		first := loaded.Services[engine]
		if svc.Image != first.Image || svc.MemLimit != first.MemLimit || !reflect.DeepEqual(svc.HealthCheck, first.HealthCheck) {
			t.Errorf("%s differs from %s", name, engine)
		}
		for variable, value := range svc.Environment {
			want := *first.Environment[variable]
			if number != "" {
				switch variable {
				case "KAFKA_NODE_ID":
					want = number
				case "KAFKA_ADVERTISED_LISTENERS":
					want = fmt.Sprintf("CONTAINERS://%s:29092,HOST://127.0.0.%s:%s", name, number, values["KAFKA_PORT"])
				}
			}
			if *value != want {
				t.Errorf("%s has %s=%s, want %s", name, variable, *value, want)
			}
		}
	}
	for service, variables := range map[string]map[string]string{
		"kafka": {
			"KAFKA_CONTROLLER_QUORUM_VOTERS":   "1@kafka:9093,2@kafka-2:9093,3@kafka-3:9093",
			"KAFKA_DEFAULT_REPLICATION_FACTOR": "3", "KAFKA_MIN_INSYNC_REPLICAS": "2", "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "3",
		},
		"cassandra": {"CASSANDRA_SEEDS": "cassandra,cassandra-2,cassandra-3"},
		"setup":     {"KAFKA_REPLICATION_FACTOR": "3", "KAFKA_MIN_INSYNC_REPLICAS": "2", "CASSANDRA_REPLICATION_FACTOR": "3"},
		"store":     {"KAFKA_BOOTSTRAP_SERVERS": "kafka:29092,kafka-2:29092,kafka-3:29092", "CASSANDRA_HOSTS": "cassandra,cassandra-2,cassandra-3"},
		"sparkjob": {
			"KAFKA_BOOTSTRAP_SERVERS": values["SPARK_KAFKA_BOOTSTRAP_SERVERS"], "CASSANDRA_HOSTS": values["SPARK_CASSANDRA_HOSTS"],
		},
	} {
		for variable, want := range variables {
			if got := *loaded.Services[service].Environment[variable]; got != want {
				t.Errorf("%s has %s=%s, want %s", service, variable, got, want)
			}
		}
	}
	if scale := loaded.Services["spark-worker"].Scale; scale == nil || *scale != 2 {
		t.Errorf("workers of the cluster: %v, want 2", scale)
	}
}

// up starts the other nodes only where there are several, also those that a service may
// depend on; down and the like see all.
func TestProfiles(t *testing.T) {
	for nodes, want := range map[int]string{1: "--profile job up store", 3: "--profile job --profile cluster up store"} {
		s := New(service.Config{Nodes: nodes}, project, io.Discard)
		if got := strings.Join(s.command(t.Context(), "up", "store").Args, " "); !strings.HasSuffix(got, want) {
			t.Errorf("with %d nodes: %s, want %s", nodes, got, want)
		}
		if got := strings.Join(s.command(t.Context(), "down").Args, " "); !strings.HasSuffix(got, "--profile * down") {
			t.Errorf("with %d nodes: %s", nodes, got)
		}
	}
}

// A second worker can stand beside the first.
func TestWorkerScales(t *testing.T) {
	values := settings(t)
	values["SPARK_WORKERS"] = "2"
	worker := load(t, values).Services[service.SparkWorker]
	if worker.ContainerName != "" || len(worker.Ports) > 0 || worker.Hostname != "" {
		t.Error("spark-worker has a name or port that a second one cannot have")
	}
	if worker.Scale == nil || *worker.Scale != 2 {
		t.Errorf("with SPARK_WORKERS=2 there are %v", worker.Scale)
	}
}

// Settings of the broker that say where it stands, which differs in containers.
var placed = []string{"process.roles", "node.id", "controller.quorum.voters", "controller.listener.names", "listeners",
	"advertised.listeners", "listener.security.protocol.map", "inter.broker.listener.name", "log.dirs"}

func TestKafkaIsThatOfTheLocalStack(t *testing.T) {
	values := settings(t)
	text, err := os.ReadFile(filepath.Join(project, "deploy", "kafka", "server.properties"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, match := range regexp.MustCompile(`(?m)^([a-z.]+)=(.*)$`).FindAllStringSubmatch(string(text), -1) {
		want[match[1]] = os.Expand(match[2], func(name string) string { return values[name] })
	}
	got := map[string]string{}
	for name, value := range load(t, values).Services["kafka"].Environment {
		property := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, "KAFKA_"), "_", "."))
		if name != "KAFKA_HEAP_OPTS" && name != "KAFKA_OPTS" && name != "KAFKA_LOG4J_ROOT_LOGLEVEL" {
			got[property] = *value
		}
	}
	for _, property := range placed {
		delete(got, property)
		delete(want, property)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("kafka has %v\nwant %v", got, want)
	}
}

// deploy/compose.env tells programs of the host what the containers' own services use.
func TestSparkFindsTheSameEngines(t *testing.T) {
	values := settings(t)
	host, err := godotenv.Read(filepath.Join(project, "deploy", "compose.env"))
	if err != nil {
		t.Fatal(err)
	}
	loaded := load(t, values)
	job := loaded.Services["sparkjob"].Environment
	for variable, want := range map[string]string{
		"SPARK_KAFKA_BOOTSTRAP_SERVERS": *job["KAFKA_BOOTSTRAP_SERVERS"],
		"SPARK_CASSANDRA_HOSTS":         *job["CASSANDRA_HOSTS"],
		"SPARK_CASSANDRA_PORT":          *job["CASSANDRA_PORT"],
		"CHECKPOINT_LOCATION":           *job["CHECKPOINT_LOCATION"],
	} {
		if host[variable] != want {
			t.Errorf("deploy/compose.env has %s=%s, the service sparkjob %s", variable, host[variable], want)
		}
	}
	folder := strings.TrimPrefix(host["CHECKPOINT_LOCATION"], "file://")
	for _, name := range []string{"spark-connect", "spark-worker"} {
		mounted := slices.ContainsFunc(loaded.Services[name].Volumes, func(v types.ServiceVolumeConfig) bool {
			return v.Type == types.VolumeTypeVolume && v.Source == "checkpoints" && v.Target == folder
		})
		if !mounted {
			t.Errorf("%s does not have the volume of checkpoints at %s", name, folder)
		}
	}
}

func TestOnlyOurProgramsGetPasswords(t *testing.T) {
	want := map[string][]string{
		"setup":    {"CASSANDRA_ADMIN_PASSWORD", "CASSANDRA_JOB_PASSWORD", "CASSANDRA_STORE_PASSWORD"},
		"sparkjob": {"CASSANDRA_JOB_PASSWORD"},
		"store":    {"CASSANDRA_STORE_PASSWORD"},
	}
	for name, svc := range load(t, settings(t)).Services {
		var got []string
		for variable := range svc.Environment {
			if strings.HasSuffix(variable, "_PASSWORD") {
				got = append(got, variable)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want[name]) {
			t.Errorf("%s gets %q, want %q", name, got, want[name])
		}
	}
}

var variable = regexp.MustCompile(`[^$]\$\{([A-Z0-9_]+)`)

func TestVariablesAreDocumented(t *testing.T) {
	documented := map[string]bool{}
	for _, name := range []string{".env.example", "deploy/stack.env", "deploy/stack-cluster.env", "deploy/compose.env", "deploy/compose-cluster.env"} {
		text, err := os.ReadFile(filepath.Join(project, name))
		if err != nil {
			t.Fatal(err)
		}
		for block := range strings.SplitSeq(string(text), "\n\n") {
			commented := false
			for line := range strings.Lines(block) {
				if strings.HasPrefix(line, "#") {
					commented = true
				} else if assigned, _, ok := strings.Cut(line, "="); ok {
					documented[assigned] = commented
					if !commented {
						t.Errorf("%s has no comment above %s", name, assigned)
					}
				}
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(project, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range variable.FindAllStringSubmatch(string(text), -1) {
		if !documented[match[1]] {
			t.Errorf("docker-compose.yml uses %s, which no file of settings has", match[1])
		}
	}
}

// The image's Dockerfile fills in what spark-defaults.conf leaves open.
func TestSparkDefaultsAreFilledIn(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(project, "deploy", "spark", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	dockerfile := read("Dockerfile")
	for line := range strings.Lines(read("spark-defaults.conf")) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		for _, match := range variable.FindAllStringSubmatch(line, -1) {
			if !strings.Contains(dockerfile, `s|\${`+match[1]+`}`) {
				t.Errorf("deploy/spark/Dockerfile does not fill in %s", match[1])
			}
		}
	}
}

func TestParse(t *testing.T) {
	want := []container{
		{Name: "bookstore-kafka-1", Service: "kafka", State: "running", Health: "healthy"},
		{Name: "bookstore-setup-1", Service: "setup", State: "exited", ExitCode: 1},
	}
	lines := `{"Name":"bookstore-kafka-1","Service":"kafka","State":"running","Health":"healthy","ExitCode":0,"Publishers":[]}
{"Name":"bookstore-setup-1","Service":"setup","State":"exited","Health":"","ExitCode":1,"Publishers":null}
`
	array := "[" + strings.ReplaceAll(strings.TrimSpace(lines), "\n", ",") + "]\n"
	for name, out := range map[string]string{"lines": lines, "array": array} {
		got, err := parse([]byte(out))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, want)
		}
	}
	if got, err := parse(nil); err != nil || len(got) > 0 {
		t.Errorf("nothing: got %+v, %v", got, err)
	}
	if _, err := parse([]byte(`{"Name":`)); err == nil {
		t.Error("half an object: no error")
	}
}
