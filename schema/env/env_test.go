package env

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLoad(t *testing.T) {
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	unset := func(names ...string) {
		for _, name := range names {
			t.Setenv(name, "") // restores the variable when the test ends
			os.Unsetenv(name)
		}
	}
	t.Chdir(t.TempDir())
	unset("ENVTEST_A", "ENVTEST_B", "ENVTEST_C", "ENVTEST_SECRET", "ENVTEST_PORT", "ENVTEST_ADDR")
	t.Setenv("ENVTEST_PORT", "19092")
	t.Setenv("ENVTEST_B", "it's $set")
	write(".env", "ENVTEST_SECRET=s3cret # of this machine\nENVTEST_A=from .env\n")
	write("deploy/stack.env", "ENVTEST_A=1\nENVTEST_PORT=9092\nENVTEST_ADDR=127.0.0.1:${ENVTEST_PORT}\nENVTEST_B=2\nENVTEST_C=${ENVTEST_A}\n")

	if err := Load(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"ENVTEST_A":      "from .env",       // the earlier file wins
		"ENVTEST_B":      "it's $set",       // the environment wins, to the letter
		"ENVTEST_C":      "from .env",       // references see the value in force
		"ENVTEST_ADDR":   "127.0.0.1:19092", // also one of the environment
		"ENVTEST_SECRET": "s3cret",
	} {
		if got := os.Getenv(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

func TestLoadForContainers(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("deploy", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"deploy/compose.env": "ENVTEST_D=compose\n", "deploy/stack.env": "ENVTEST_D=local\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for stack, want := range map[string]string{"": "local", "local": "local", "compose": "compose"} {
		t.Setenv("STACK", stack)
		t.Setenv("ENVTEST_D", "") // restores the variable when the test ends
		os.Unsetenv("ENVTEST_D")
		if err := Load(); err != nil {
			t.Fatal(err)
		}
		if got := os.Getenv("ENVTEST_D"); got != want {
			t.Errorf("with STACK=%q ENVTEST_D = %q, want %q", stack, got, want)
		}
	}
}

func TestLoadWithoutFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := Load(); err != nil {
		t.Error(err)
	}
}

// A cluster's lines stand in place of those of stack.env, so that what refers to them
// sees them.
func TestLoadForSeveralNodes(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("deploy", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"deploy/stack.env":           "ENVTEST_PORT=1\nENVTEST_HOSTS=one:${ENVTEST_PORT}\nENVTEST_COPY=${ENVTEST_HOSTS}\nSTACK_NODES=1\n",
		"deploy/stack-cluster.env":   "# Three\nENVTEST_HOSTS=one:${ENVTEST_PORT},two:${ENVTEST_PORT}\n",
		"deploy/compose-cluster.env": "ENVTEST_COPY=containers\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"ENVTEST_PORT", "ENVTEST_HOSTS", "ENVTEST_COPY", "STACK_NODES", "STACK"} {
		t.Setenv(name, "") // restores the variable when the test ends
		os.Unsetenv(name)
	}
	check := func(hosts, copied string) {
		t.Helper()
		if got := os.Getenv("ENVTEST_HOSTS"); got != hosts {
			t.Errorf("ENVTEST_HOSTS = %q, want %q", got, hosts)
		}
		if got := os.Getenv("ENVTEST_COPY"); got != copied {
			t.Errorf("ENVTEST_COPY = %q, want %q", got, copied)
		}
	}
	if err := Load(); err != nil {
		t.Fatal(err)
	}
	check("one:1", "one:1")
	if err := Reload("STACK_NODES", "3"); err != nil {
		t.Fatal(err)
	}
	check("one:1,two:1", "one:1,two:1")
	if err := Reload("STACK", "compose"); err != nil { // which forgets nothing that was given
		t.Fatal(err)
	}
	check("one:1,two:1", "containers")
	if err := Reload("STACK_NODES", "1"); err != nil {
		t.Fatal(err)
	}
	check("one:1", "one:1")
}

func TestLoadForTLS(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("deploy", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("deploy/tls.env", []byte("ENVTEST_DIR=.stack\nENVTEST_CA=${ENVTEST_DIR}/ca.pem\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ENVTEST_DIR", "ENVTEST_CA", "STACK_TLS"} {
		t.Setenv(name, "") // restores the variable when the test ends
		os.Unsetenv(name)
	}
	for tls, want := range map[string]string{"false": "", "true": "/a stack/ca.pem"} {
		t.Setenv("ENVTEST_DIR", "/a stack")
		if err := Reload("STACK_TLS", tls); err != nil {
			t.Fatal(err)
		}
		if got := os.Getenv("ENVTEST_CA"); got != want {
			t.Errorf("with STACK_TLS=%s ENVTEST_CA = %q, want %q", tls, got, want)
		}
	}
}
