package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	cryptorand "crypto/rand"

	"github.com/mattn/go-isatty"

	"example.com/bookstore/deploy/stack/service"
)

const (
	throwawayPrefix = "exec-"
	keptLogs        = 5            // failures of exec whose logs are kept
	ownerLock       = "owner.lock" // held as long as the command of the throwaway stack lives
)

var assignment = regexp.MustCompile(`(?m)^([A-Z][A-Z0-9_]*)=(.*)$`)

// Isolate changes this program's environment so that it describes a throwaway stack
// beside all others: free ports, the addresses that follow from them, passwords and a
// folder of its own below dir. The settings, as a file has them, give the names. What
// else the environment sets, such as a version or a size, stays.
func Isolate(ctx context.Context, dir string, settings []byte, hosts ...string) (stackDir string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("preparing a throwaway stack: %w", err)
	}
	stackDir, err = os.MkdirTemp(dir, throwawayPrefix)
	if err != nil {
		return "", fmt.Errorf("preparing a throwaway stack: %w", err)
	}
	if stackDir, err = filepath.Abs(stackDir); err != nil {
		return "", err
	}
	environ := map[string]string{
		"STACK":                    "local",
		"STACK_DIR":                stackDir,
		"CHECKPOINT_LOCATION":      "file://" + filepath.Join(stackDir, "data", "checkpoints"),
		"CASSANDRA_ADMIN_PASSWORD": cryptorand.Text(),
		"CASSANDRA_JOB_PASSWORD":   cryptorand.Text(),
		"CASSANDRA_STORE_PASSWORD": cryptorand.Text(),
		"KAFKA_SASL_PASSWORD":      cryptorand.Text(),
	}
	free, err := FreePorts(ctx, hosts...)
	if err != nil {
		return "", err
	}
	for _, match := range assignment.FindAllStringSubmatch(string(settings), -1) {
		name, value := match[1], match[2]
		_, notNumber := strconv.Atoi(value)
		switch {
		case strings.HasSuffix(name, "_PORT") && notNumber == nil:
			environ[name] = strconv.Itoa(free())
		case strings.Contains(value, "${") || strings.HasPrefix(value, "127.0.0.1"):
			environ[name] = os.Expand(value, func(other string) string {
				if v, ok := environ[other]; ok {
					return v
				}
				return os.Getenv(other)
			})
		}
	}
	for name, value := range environ {
		if err := os.Setenv(name, value); err != nil {
			return "", fmt.Errorf("preparing a throwaway stack: %w", err)
		}
	}
	return stackDir, nil
}

// FreePorts returns a source of ports that nothing listens on at any of the hosts, each
// given once; no host is 127.0.0.1. They lie below the range from which systems take the ports of outgoing connections, so
// that nobody is given one before its service listens on it.
func FreePorts(ctx context.Context, hosts ...string) (next func() int, err error) {
	if len(hosts) == 0 {
		hosts = service.Hosts(1)
	}
	const first, count = 20000, 12000
	start := rand.IntN(count)
	var free []int
	for i := 0; i < count && len(free) < 50; i++ {
		port := first + (start+i)%count
		if !slices.ContainsFunc(hosts, func(host string) bool { return taken(ctx, host, port) }) {
			free = append(free, port)
		}
	}
	if len(free) < 50 {
		return nil, fmt.Errorf("preparing a throwaway stack: fewer than 50 ports are free from %d to %d", first, first+count)
	}
	return func() int {
		port := free[0]
		free = free[1:]
		return port
	}, nil
}

func taken(ctx context.Context, host string, port int) bool {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	return err != nil || listener.Close() != nil
}

// Exec brings a throwaway stack up, runs the command in its environment, and removes
// the stack. It returns the command's exit code; the error tells what is wrong with the
// stack. After a failure, the logs are kept in keepLogs.
func (s *Stack) Exec(ctx context.Context, names []string, setup bool, args []string, keepLogs string) (code int, err error) {
	if _, err := exec.LookPath(args[0]); err != nil { // before anything is started for it
		return 1, errors.Join(fmt.Errorf("running %s: %w", args[0], err), os.RemoveAll(s.builder.Dir))
	}
	unlock, ok, err := tryLock(filepath.Join(s.builder.Dir, ownerLock))
	if err != nil {
		return 1, err
	}
	if !ok {
		return 1, fmt.Errorf("%s belongs to another exec", s.Dir())
	}
	defer unlock()
	defer func() {
		if err != nil || code != 0 {
			err = errors.Join(err, s.keep(keepLogs))
		}
		if discardErr := s.discard(context.WithoutCancel(ctx)); discardErr != nil {
			err = errors.Join(err, discardErr)
		}
		if err != nil && code == 0 {
			code = 1
		}
	}()
	if err := s.up(ctx, names, setup); err != nil {
		return 1, err
	}
	return run(ctx, args)
}

// keep moves the logs to a folder that outlives the throwaway stack.
func (s *Stack) keep(folder string) error {
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		return fmt.Errorf("keeping the logs: %w", err)
	}
	err := os.Rename(filepath.Join(s.builder.Dir, "logs"), folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("keeping the logs: %w", err)
	}
	s.say("the logs of the throwaway stack are in %s", relative(folder))
	return forget(filepath.Join(filepath.Dir(folder), throwawayPrefix+"*"), keptLogs)
}

// forget deletes all but the newest n of the folders that the pattern matches.
func forget(pattern string, n int) error {
	folders, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	made := map[string]time.Time{}
	for _, folder := range folders {
		if info, err := os.Stat(folder); err == nil {
			made[folder] = info.ModTime()
		}
	}
	slices.SortFunc(folders, func(a, b string) int { return made[b].Compare(made[a]) })
	for _, folder := range folders[min(n, len(folders)):] {
		if err := os.RemoveAll(folder); err != nil {
			return fmt.Errorf("deleting old logs: %w", err)
		}
	}
	return nil
}

// run runs the command with our input and output, passes signals on to it, and returns
// its exit code. The context's end is a signal that came before.
func run(ctx context.Context, args []string) (int, error) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if ctx.Err() != nil {
		return 1, context.Cause(ctx)
	}

	// No context: a signal is passed on, and the command ends as it likes.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("running %s: %w", args[0], err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	for {
		select {
		case sig := <-signals:
			// A terminal has sent it to the command as well.
			if sig == syscall.SIGINT && Terminal(os.Stdin) {
				continue
			}
			_ = cmd.Process.Signal(sig) // it may have ended just now
		case err := <-exited:
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
					return 128 + int(status.Signal()), nil
				}
				return exit.ExitCode(), nil
			}
			if err != nil {
				return 1, fmt.Errorf("running %s: %w", args[0], err)
			}
			return 0, nil
		}
	}
}

// Terminal reports whether somebody types there.
func Terminal(f *os.File) bool { return isatty.IsTerminal(f.Fd()) }
