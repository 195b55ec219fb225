// Package process starts a program that outlives the command that started it, and
// finds and ends it again from a later command. It carries every engine and program
// of the local stack.
package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	gops "github.com/shirou/gopsutil/v4/process"
)

// Process is a background process that is known by the files it keeps. The zero
// value is of no use; the three fields must be set.
type Process struct {
	Name    string // names it in errors
	PIDFile string // exists from Start until Stop
	LogFile string // stdout and stderr of the present run; LogFile+".1" has the run before
}

// State tells whether the process that the pid file names is there.
type State int

// The states of a process.
const (
	Stopped State = iota // never started, or stopped by Stop
	Running              // alive
	Dead                 // started, and ended by itself or by somebody else
)

func (s State) String() string {
	return [...]string{"stopped", "running", "dead"}[s]
}

// Status is what is known of a process at one moment.
type Status struct {
	State   State
	PID     int       // 0 when stopped
	Started time.Time // zero when stopped
	RSS     uint64    // resident memory in bytes, of the whole process group
}

// record is the pid file. A pid alone may by now belong to a stranger.
type record struct {
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
}

// startTolerance is by how much two readings of one start time may differ, since some
// systems derive it from the present time and the uptime.
const startTolerance = 3 * time.Second

// Start runs the command in the given folder, in a session of its own, with no input.
// It goes on when the context ends; Stop ends it. The channel gets its result once it
// ends, as long as this program lives to see it.
func (p Process) Start(ctx context.Context, args, environ []string, dir string) (<-chan error, error) {
	for _, file := range []string{p.PIDFile, p.LogFile} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, fmt.Errorf("starting %s: %w", p.Name, err)
		}
	}
	if err := os.Rename(p.LogFile, p.LogFile+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("starting %s: keeping the log of the run before: %w", p.Name, err)
	}
	log, err := os.OpenFile(p.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("starting %s: opening its log: %w", p.Name, err)
	}
	defer log.Close()

	cmd := exec.CommandContext(context.WithoutCancel(ctx), args[0], args[1:]...)
	cmd.Env, cmd.Dir = environ, dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.Name, err)
	}
	exited := make(chan error, 1)
	go func() { // ends with the process, or with this program
		exited <- cmd.Wait()
	}()

	rec := record{PID: cmd.Process.Pid, Started: time.Now()}
	if proc, err := gops.NewProcess(int32(rec.PID)); err == nil {
		if ms, err := proc.CreateTime(); err == nil {
			rec.Started = time.UnixMilli(ms)
		}
	}
	if err := p.write(rec); err != nil {
		_ = syscall.Kill(-rec.PID, syscall.SIGKILL)
		return nil, fmt.Errorf("starting %s: writing its pid file: %w", p.Name, err)
	}
	return exited, nil
}

func (p Process) write(rec record) error {
	text, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	tmp := p.PIDFile + ".new"
	if err := os.WriteFile(tmp, append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, p.PIDFile)
}

// read returns the pid file's record, and false when there is none.
func (p Process) read() (record, bool, error) {
	text, err := os.ReadFile(p.PIDFile)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, false, nil
	}
	if err != nil {
		return record{}, false, err
	}
	var rec record
	if err := json.Unmarshal(text, &rec); err != nil {
		return record{}, false, fmt.Errorf("reading %s: %w", p.PIDFile, err)
	}
	if rec.PID <= 1 {
		return record{}, false, fmt.Errorf("reading %s: %d is no pid of ours", p.PIDFile, rec.PID)
	}
	return rec, true, nil
}

// Status looks the process up.
func (p Process) Status() (Status, error) {
	rec, ok, err := p.read()
	if err != nil || !ok {
		return Status{}, err
	}
	st := Status{State: Dead, PID: rec.PID, Started: rec.Started}
	if alive(rec) {
		st.State = Running
		for _, member := range group(rec) {
			if mem, err := member.MemoryInfo(); err == nil {
				st.RSS += mem.RSS
			}
		}
	}
	return st, nil
}

// alive reports whether the process of the record is there. One that has ended and
// that its parent has not asked about yet is not.
func alive(rec record) bool {
	proc, err := gops.NewProcess(int32(rec.PID))
	if err != nil {
		return false
	}
	ms, err := proc.CreateTime()
	return err == nil && rec.startedAt(ms) && !zombie(proc)
}

// startedAt reports whether a process that was started then, in milliseconds since 1970, is
// that of the record.
func (r record) startedAt(ms int64) bool {
	return time.UnixMilli(ms).Sub(r.Started).Abs() <= startTolerance
}

// zombie reports whether a process has ended but for being waited for. Its first
// thread alone may look so while others, such as a JVM's, still hold its ports.
func zombie(proc *gops.Process) bool {
	status, err := proc.Status()
	if err != nil {
		return true
	}
	if len(status) == 0 || status[0] != gops.Zombie {
		return false
	}
	threads, err := proc.NumThreads()
	return err != nil || threads <= 1
}

// group returns the living processes of the group that the process leads, also after
// its own end: a Spark worker's executors are in its group. It is empty once the
// pid belongs to a stranger.
func group(rec record) []*gops.Process {
	if leader, err := gops.NewProcess(int32(rec.PID)); err == nil {
		// A leader that ends at this moment has no time any more, and is no stranger.
		if ms, err := leader.CreateTime(); err == nil && !rec.startedAt(ms) {
			return nil
		}
	}
	pids, err := gops.Pids()
	if err != nil {
		return nil
	}
	var members []*gops.Process
	for _, pid := range pids {
		if pgid, err := syscall.Getpgid(int(pid)); err != nil || pgid != rec.PID {
			continue
		}
		if proc, err := gops.NewProcess(pid); err == nil && !zombie(proc) {
			members = append(members, proc)
		}
	}
	return members
}

// Stop asks the process to end, waits for it and its group for at most drain, then
// kills the group, and removes the pid file. A drain of zero kills at once. Stopping
// what does not run is no error. When the context ends, Stop leaves the process to
// its own ending, and the pid file in place.
func (p Process) Stop(ctx context.Context, drain time.Duration) error {
	rec, ok, err := p.read()
	if err != nil {
		return fmt.Errorf("stopping %s: %w", p.Name, err)
	}
	if !ok {
		return nil
	}
	gone := func() bool { return !alive(rec) && len(group(rec)) == 0 }
	if drain > 0 && alive(rec) {
		if err := syscall.Kill(rec.PID, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stopping %s: sending SIGTERM to pid %d: %w", p.Name, rec.PID, err)
		}
		if err := poll(ctx, drain, gone); err != nil {
			return fmt.Errorf("stopping %s: %w", p.Name, err)
		}
	}
	if !gone() {
		if err := syscall.Kill(-rec.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stopping %s: killing process group %d: %w", p.Name, rec.PID, err)
		}
		if err := poll(ctx, 10*time.Second, gone); err != nil {
			return fmt.Errorf("stopping %s: %w", p.Name, err)
		}
		if !gone() {
			return fmt.Errorf("stopping %s: pid %d is still there after SIGKILL", p.Name, rec.PID)
		}
	}
	if err := os.Remove(p.PIDFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("stopping %s: %w", p.Name, err)
	}
	return nil
}

// poll returns when done reports true or the time is over, and the context's error
// when that ends first.
func poll(ctx context.Context, within time.Duration, done func() bool) error {
	deadline := time.Now().Add(within)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !done() && time.Now().Before(deadline) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

// tailBytes bounds how much of a log is read for its last lines.
const tailBytes = 256 << 10

// Tail returns up to n of the log's last lines, none when there is no log.
func Tail(logFile string, n int) ([]string, error) {
	f, err := os.Open(logFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	text := make([]byte, min(info.Size(), tailBytes))
	read, err := f.ReadAt(text, info.Size()-int64(len(text)))
	if read == 0 && err != nil && len(text) > 0 {
		return nil, err
	}
	trimmed := strings.TrimRight(string(text[:read]), "\n")
	if trimmed == "" {
		return nil, nil
	}
	lines := strings.Split(trimmed, "\n")
	return lines[max(0, len(lines)-n):], nil
}
