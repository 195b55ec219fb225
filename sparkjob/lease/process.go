package lease

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"

	"example.com/bookstore/schema/cassandra"
)

// process is one of this machine. Its mark tells it from any other that has or had its
// number, here or elsewhere: a name that the machine has until it is started again, the
// namespace of the numbers, and when the process began. Two machines may have the same
// name, and the first process of each container is number 1.
type process struct {
	host string
	pid  int
	mark string // "" where the system does not tell
}

// self is the process that calls it.
func self() (process, error) {
	host, err := os.Hostname()
	if err != nil {
		return process{}, err
	}
	return process{host: host, pid: os.Getpid(), mark: mark(os.Getpid())}, nil
}

// mark returns the mark of a process of this namespace, "" if it cannot be told.
func mark(pid int) string {
	space, began := numbers(), began(pid)
	if space == "" || began == "" {
		return ""
	}
	return space + " " + began
}

// numbers names the namespace in which process numbers are compared, for as long as the
// machine runs.
func numbers() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + " " + namespace
}

// began returns when a process began, in ticks since the machine did, "" if there is
// none that lives.
func began(pid int) string {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// The second field is the name in parentheses, which may hold anything.
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	fields := strings.Fields(rest)
	const state, starttime = 0, 22 - 3 // proc(5) counts from 1, and this from its third
	if len(fields) <= starttime || fields[state] == "Z" || fields[state] == "X" {
		return ""
	}
	return fields[starttime]
}

// near tells whether the holder of a lease is, or was, a process that this one can see.
func (p process) near(l cassandra.JobLease) bool {
	return p.mark != "" && space(p.mark) == space(l.Process)
}

// space is the mark without the time.
func space(mark string) string { return mark[:max(strings.LastIndexByte(mark, ' '), 0)] }

// tellsGone tells whether it is certain that the holder of a lease has ended.
func (p process) tellsGone(l cassandra.JobLease) bool {
	if !p.near(l) {
		return false
	}
	if there := mark(l.PID); there != "" {
		return there != l.Process
	}
	// /proc may hide what is there.
	other, err := os.FindProcess(l.PID)
	if err != nil {
		return false
	}
	err = other.Signal(syscall.Signal(0))
	return errors.Is(err, os.ErrProcessDone) || zombie(l.PID)
}

// zombie tells whether a process has ended and waits for its parent to notice.
func zombie(pid int) bool {
	_, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && began(pid) == ""
}

// sees tells whether it is certain that the holder of a lease lives.
func (p process) sees(l cassandra.JobLease) bool { return p.near(l) && mark(l.PID) == l.Process }
