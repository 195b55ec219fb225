package lease

import (
	"os/exec"
	"testing"

	"example.com/bookstore/schema/cassandra"
)

func TestProcesses(t *testing.T) {
	p, err := self()
	if err != nil {
		t.Fatal(err)
	}
	if p.mark == "" {
		t.Skip("the system does not tell processes apart")
	}
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Process.Kill() })
	holder := cassandra.JobLease{Host: p.host, PID: child.Process.Pid, Process: mark(child.Process.Pid)}
	expect := func(what string, l cassandra.JobLease, sees, gone bool) {
		t.Helper()
		if p.sees(l) != sees || p.tellsGone(l) != gone {
			t.Errorf("%s (%+v) lives: %v, has gone: %v", what, l, p.sees(l), p.tellsGone(l))
		}
	}
	expect("this process", cassandra.JobLease{PID: p.pid, Process: p.mark}, true, false)
	expect("a process that runs", holder, true, false)
	other := holder
	other.Process = "another boot " + holder.Process[len(space(holder.Process))+1:]
	expect("one of another machine", other, false, false)
	other.Process = ""
	expect("one of a system that does not tell", other, false, false)
	other.Process = holder.Process + "0"
	expect("one that had the number before", other, false, true)

	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// Until its parent has noticed, it keeps its number.
	for !p.tellsGone(holder) {
		if !p.sees(holder) {
			break
		}
	}
	expect("one that was killed", holder, false, true)
	_ = child.Wait()
	expect("one that is no more", holder, false, true)
	if (process{}).tellsGone(holder) || (process{}).sees(holder) {
		t.Error("a system that does not tell knows all the same")
	}
}
