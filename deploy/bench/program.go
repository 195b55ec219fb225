package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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

	"example.com/bookstore/deploy/child"
)

const (
	answerTimeout = 60 * time.Second // for a program that was started
	endTimeout    = 60 * time.Second // for one that was told to end
)

// program runs beside this one.
type program struct{ *child.Child }

// start runs a program with additional variables of the environment, and its output in a
// log of its name.
func (b *bench) start(ctx context.Context, name string, env []string, args ...string) (program, error) {
	p, err := child.Command{Path: args[0], Args: args[1:], Environ: env, Log: filepath.Join(b.folder, name+".log")}.Start(ctx)
	return program{p}, err
}

// stop tells the program to end, and waits for it, also if ctx has ended.
func (p program) stop(ctx context.Context) error {
	return p.End(context.WithoutCancel(ctx), syscall.SIGTERM, endTimeout)
}

// answers waits until a GET of the address is answered with 200.
func (p program) answers(ctx context.Context, address string) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		if err := p.Ended(); err != nil {
			return struct{}{}, backoff.Permanent(err)
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
func (p program) busy(ctx context.Context) (time.Duration, error) {
	process, err := gops.NewProcessWithContext(ctx, int32(p.PID()))
	if err != nil {
		return 0, fmt.Errorf("looking at process %d: %w", p.PID(), err)
	}
	times, err := process.TimesWithContext(ctx)
	if err != nil {
		return 0, fmt.Errorf("looking at process %d: %w", p.PID(), err)
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
