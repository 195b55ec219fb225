package preflight

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/bookstore/deploy/stack/service"
)

// fakeJava makes a folder with a bin/java that reports the release.
func fakeJava(t *testing.T, release string) (home string) {
	t.Helper()
	home = t.TempDir()
	if err := os.Mkdir(filepath.Join(home, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\nexit 1\n"
	if release != "" {
		script = fmt.Sprintf("#!/bin/sh\necho '    java.home = %s' >&2\necho '    java.specification.version = %s' >&2\n", home, release)
	}
	if err := os.WriteFile(filepath.Join(home, "bin", "java"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return home
}

func TestJava(t *testing.T) {
	java8, java17, java21, broken := fakeJava(t, "1.8"), fakeJava(t, "17"), fakeJava(t, "21"), fakeJava(t, "")
	const advice = "install OpenJDK 17 and set JAVA_HOME to its folder"
	for _, test := range []struct {
		name, javaHome, path string
		want                 string
		wantErr              []string
	}{
		{"from JAVA_HOME", java17, java21, java17, nil},
		{"from the PATH", "", java17, java17, nil},
		{"from the PATH when JAVA_HOME has another", java21, java17, java17, nil},
		{"none", "", "", "", []string{"there is none in JAVA_HOME or on the PATH", advice}},
		{"too new", "", java21, "", []string{java21 + "/bin/java is Java 21", "Spark 3.5 runs on Java 8, 11 or 17", advice}},
		{"both wrong", java8, java21, "", []string{"is Java 8 and", "is Java 21", advice}},
		{"does not run", broken, "", "", []string{broken + "/bin/java does not run", advice}},
		{"JAVA_HOME has no java", "/nonexistent", "", "", []string{"/nonexistent/bin/java does not run", advice}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("JAVA_HOME", test.javaHome)
			path := t.TempDir() // without a java
			if test.path != "" {
				path = filepath.Join(test.path, "bin")
			}
			t.Setenv("PATH", path)
			got, err := Java(t.Context(), 17)
			if got != test.want || (err != nil) != (test.wantErr != nil) {
				t.Errorf("Java(17) = %q, %v; want %q", got, err, test.want)
			}
			for _, want := range test.wantErr {
				if err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("error = %q, want %q in it", err, want)
				}
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("error = %q, want one line", err)
			}
		})
	}
}

func TestMaven(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Maven(); err == nil || !strings.Contains(err.Error(), "install Maven") {
		t.Errorf("error = %v, want one that says to install Maven", err)
	}
}

func TestMemory(t *testing.T) {
	const gib = 1 << 30
	if err := enough(4*gib, 4*gib); err != nil {
		t.Errorf("as much as needed: %v", err)
	}
	err := enough(gib+gib/2, 4*gib)
	if err == nil || !strings.Contains(err.Error(), "4.0 GiB of memory are needed, but only 1.5 GiB are available") {
		t.Errorf("less than needed: error = %v", err)
	}
	if err := Memory(t.Context(), 1); err != nil {
		t.Errorf("one byte on this machine: %v", err)
	}
	if err := Memory(t.Context(), 1<<60); err == nil {
		t.Error("an exbibyte on this machine: no error")
	}
}

func TestPorts(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "0.0.0.0:0"} {
		t.Run(address, func(t *testing.T) {
			listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			port := listener.Addr().(*net.TCPAddr).Port
			ports := []service.Port{{Variable: "KAFKA_PORT", Number: port}}
			err = Ports(t.Context(), "127.0.0.1", ports)
			for _, want := range []string{fmt.Sprintf("port %d is taken by", port), fmt.Sprintf("(pid %d)", os.Getpid()), "set KAFKA_PORT to a free port"} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("taken: error = %v, want %q in it", err, want)
				}
			}
			if err := listener.Close(); err != nil {
				t.Fatal(err)
			}
			if err := Ports(t.Context(), "127.0.0.1", ports); err != nil {
				t.Errorf("free: %v", err)
			}
		})
	}
}

func TestPortsOfAnAddressThatIsNotOurs(t *testing.T) {
	err := Ports(t.Context(), "192.0.2.1", []service.Port{{Variable: "KAFKA_PORT", Number: 9092}})
	if err == nil || !strings.Contains(err.Error(), "this machine has no address 192.0.2.1") {
		t.Errorf("error = %v", err)
	}
}

func TestEnvFile(t *testing.T) {
	dir := t.TempDir()
	path, example := filepath.Join(dir, ".env"), filepath.Join(dir, ".env.example")
	text := "# Secrets\nADMIN_PASSWORD=\nSTORE_PASSWORD= \nFIXED_PASSWORD=given\nOTHER=\n"
	if err := os.WriteFile(example, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	created, err := EnvFile(path, example)
	if err != nil || !created {
		t.Fatalf("EnvFile = %t, %v; want true", created, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("mode = %v, want -rw-------", info.Mode())
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(got), "\n")
	admin, _ := strings.CutPrefix(lines[1], "ADMIN_PASSWORD=")
	store, _ := strings.CutPrefix(lines[2], "STORE_PASSWORD=")
	if len(admin) < 20 || len(store) < 20 || admin == store {
		t.Errorf("passwords = %q and %q, want two long ones that differ", admin, store)
	}
	if lines[0] != "# Secrets" || lines[3] != "FIXED_PASSWORD=given" || lines[4] != "OTHER=" {
		t.Errorf("file = %q, want the rest as in the example", got)
	}

	created, err = EnvFile(path, example)
	if err != nil || created {
		t.Errorf("second EnvFile = %t, %v; want false", created, err)
	}
	if again, _ := os.ReadFile(path); string(again) != string(got) {
		t.Error("the second call changed the file")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".env.*.new")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestEnvFileWithoutExample(t *testing.T) {
	dir := t.TempDir()
	_, err := EnvFile(filepath.Join(dir, ".env"), filepath.Join(dir, ".env.example"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error = %v, want that the example does not exist", err)
	}
}
