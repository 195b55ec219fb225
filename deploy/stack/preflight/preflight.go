// Package preflight looks, before anything is started, for what the local stack needs
// of the machine. Each error is one sentence that says what to do.
package preflight

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/shirou/gopsutil/v4/mem"
	psnet "github.com/shirou/gopsutil/v4/net"
	"github.com/shirou/gopsutil/v4/process"

	"example.com/bookstore/deploy/stack/service"
)

// Java returns the home folder of a Java of the wanted release: the one of JAVA_HOME,
// else the one on the PATH.
func Java(ctx context.Context, want int) (home string, err error) {
	var candidates []string
	if home := os.Getenv("JAVA_HOME"); home != "" {
		candidates = append(candidates, filepath.Join(home, "bin", "java"))
	}
	if path, err := exec.LookPath("java"); err == nil {
		candidates = append(candidates, path)
	}
	var found []string
	for _, java := range candidates {
		out, err := exec.CommandContext(ctx, java, "-XshowSettings:properties", "-version").CombinedOutput()
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if err != nil {
			found = append(found, fmt.Sprintf("%s does not run (%v)", java, err))
			continue
		}
		release, home, err := javaSettings(string(out))
		if err != nil {
			found = append(found, fmt.Sprintf("%s does not tell its version", java))
			continue
		}
		if release == want {
			return home, nil
		}
		found = append(found, fmt.Sprintf("%s is Java %d", java, release))
	}
	return "", javaError(want, found)
}

func javaError(want int, found []string) error {
	what := "there is none in JAVA_HOME or on the PATH"
	if len(found) > 0 {
		what = strings.Join(found, " and ")
	}
	return fmt.Errorf("Java %d is needed (Spark 3.5 runs on Java 8, 11 or 17, Kafka 4 on 17 or newer), but %s: "+
		"install OpenJDK %d and set JAVA_HOME to its folder", want, what, want)
}

var (
	javaVersion = regexp.MustCompile(`(?m)^\s*java\.specification\.version = (?:1\.)?(\d+)`)
	javaHome    = regexp.MustCompile(`(?m)^\s*java\.home = (.+?)\s*$`)
)

// javaSettings reads what java -XshowSettings:properties prints.
func javaSettings(out string) (release int, home string, err error) {
	version, folder := javaVersion.FindStringSubmatch(out), javaHome.FindStringSubmatch(out)
	if version == nil || folder == nil {
		return 0, "", errors.New("no java.specification.version or java.home in the output")
	}
	release, err = strconv.Atoi(version[1])
	return release, folder[1], err
}

// Maven returns the path of mvn.
func Maven() (string, error) {
	path, err := exec.LookPath("mvn")
	if err != nil {
		return "", errors.New("Maven is needed to fetch the engines' jars, but there is no mvn on the PATH: install Maven 3")
	}
	return path, nil
}

// Memory reports when fewer bytes are available than needed.
func Memory(ctx context.Context, need uint64) error {
	vm, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return fmt.Errorf("reading the available memory: %w", err)
	}
	return enough(vm.Available, need)
}

func enough(available, need uint64) error {
	if available >= need {
		return nil
	}
	const gib = 1 << 30
	return fmt.Errorf("%.1f GiB of memory are needed, but only %.1f GiB are available: close other programs, or use a larger machine",
		float64(need)/gib, float64(available)/gib)
}

// Ports reports the first port of the host that something listens on, and who that is.
func Ports(ctx context.Context, host string, ports []service.Port) error {
	for _, p := range ports {
		address := net.JoinHostPort(host, strconv.Itoa(p.Number))
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if errors.Is(err, syscall.EADDRNOTAVAIL) {
			return fmt.Errorf("this machine has no address %s, which a stack of several nodes takes: give it to the loopback interface "+
				"(on macOS: sudo ifconfig lo0 alias %[1]s), or set STACK_NODES=1", host)
		}
		if err != nil {
			return fmt.Errorf("port %d is taken%s: end that, or set %s to a free port in .env",
				p.Number, holder(ctx, p.Number), p.Variable)
		}
		if err := listener.Close(); err != nil {
			return fmt.Errorf("trying port %d: %w", p.Number, err)
		}
		// Some systems let one listen beside a program that took every interface.
		if conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address); err == nil {
			_ = conn.Close()
			return fmt.Errorf("port %d is taken%s: end that, or set %s to a free port in .env",
				p.Number, holder(ctx, p.Number), p.Variable)
		}
	}
	return nil
}

// holder describes the process that listens on the port, as far as we may know it.
func holder(ctx context.Context, port int) string {
	conns, err := psnet.ConnectionsWithContext(ctx, "tcp")
	if err != nil {
		return ""
	}
	for _, c := range conns {
		if c.Status != "LISTEN" || int(c.Laddr.Port) != port || c.Pid == 0 {
			continue
		}
		proc, err := process.NewProcessWithContext(ctx, c.Pid)
		if err != nil {
			continue
		}
		if name, err := proc.NameWithContext(ctx); err == nil {
			return fmt.Sprintf(" by %s (pid %d)", name, c.Pid)
		}
	}
	return ""
}
