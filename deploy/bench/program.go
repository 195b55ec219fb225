package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	gops "github.com/shirou/gopsutil/v4/process"
)

const (
	answerTimeout = 60 * time.Second // for a program that was started
	endTimeout    = 60 * time.Second // for one that was told to end
)

// program runs beside this one.
type program struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

// start runs a program with additional variables of the environment, and its output in a
// log of its name. It goes on when ctx ends; stop ends it.
func (b *bench) start(ctx context.Context, name string, env []string, args ...string) (*program, error) {
	p := &program{name: name, log: filepath.Join(b.folder, name+".log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.CommandContext(context.WithoutCancel(ctx), args[0], args[1:]...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// Ctrl-C is for this program, which then ends those that it has started.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // ProcessState has it
		close(p.done)
	}()
	return p, nil
}

// ended is the error of a program that has ended though nobody has told it to.
func (p *program) ended() error {
	return fmt.Errorf("%s has ended by itself: %s; see %s", p.name, p.cmd.ProcessState, p.log)
}

// stop tells the program to end, and waits for it.
func (p *program) stop() error {
	select {
	case <-p.done:
		return p.ended()
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("ending %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(endTimeout):
		err := p.cmd.Process.Kill()
		<-p.done
		return errors.Join(fmt.Errorf("%s did not end within %v of SIGTERM", p.name, endTimeout), err)
	}
}

// answers waits until a GET of the address is answered with 200.
func (p *program) answers(ctx context.Context, address string) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		select {
		case <-p.done:
			return struct{}{}, backoff.Permanent(p.ended())
		default:
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return struct{}{}, err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return struct{}{}, fmt.Errorf("GET %s: %s", address, response.Status)
		}
		return struct{}{}, nil
	}, backoff.WithBackOff(backoff.NewConstantBackOff(100*time.Millisecond)), backoff.WithMaxElapsedTime(answerTimeout))
	return err
}

// busy is how much time of the cores the program has taken so far.
func (p *program) busy(ctx context.Context) (time.Duration, error) {
	process, err := gops.NewProcessWithContext(ctx, int32(p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("looking at %s: %w", p.name, err)
	}
	times, err := process.TimesWithContext(ctx)
	if err != nil {
		return 0, fmt.Errorf("looking at %s: %w", p.name, err)
	}
	return time.Duration((times.User + times.System) * float64(time.Second)), nil
}

// build compiles a program of the project and returns its path.
func (b *bench) build(ctx context.Context, source string) (string, error) {
	return build(ctx, b.folder, source)
}

func build(ctx context.Context, folder, source string) (string, error) {
	out := filepath.Join(folder, filepath.Base(source)+".bin")
	if text, err := exec.CommandContext(ctx, "go", "build", "-o", out, source).CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", source, err, text)
	}
	return out, nil
}

const (
	tutorial     = "deploy/bench/tutorial"
	pythonFolder = ".stack/bench-python" // shared by all runs
)

// python makes a Python with the packages that the tutorial's programs need, unless it is
// there, and returns its path.
func (b *bench) python(ctx context.Context) (string, error) {
	folder, err := filepath.Abs(pythonFolder)
	if err != nil {
		return "", err
	}
	requirements := filepath.Join(tutorial, "requirements.txt")
	text, err := os.ReadFile(requirements)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append(text, os.Getenv("SPARK_VERSION")...))
	want := hex.EncodeToString(sum[:])
	interpreter, stamp := filepath.Join(folder, "bin", "python"), filepath.Join(folder, "complete")
	if got, err := os.ReadFile(stamp); err == nil && string(got) == want {
		return interpreter, nil
	}
	b.say("installing the tutorial's Python packages in %s", pythonFolder)
	for _, command := range [][]string{
		{"python3", "-m", "venv", "--clear", folder},
		{interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements, "pyspark==" + os.Getenv("SPARK_VERSION")},
	} {
		if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", strings.Join(command[:3], " "), err, out)
		}
	}
	return interpreter, os.WriteFile(stamp, []byte(want), 0o644)
}
