package supervisor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"example.com/bookstore/deploy/stack/process"
	"example.com/bookstore/deploy/stack/service"
	"example.com/bookstore/sparkjob/terminal"
)

// ErrNotRunning says that something which was started does not do its work.
var ErrNotRunning = errors.New("not everything that was started runs and answers")

// Status prints a table of the services. It returns ErrNotRunning when one that was
// started has ended or does not answer.
func (s *Stack) Status(ctx context.Context) error {
	states := make([]process.Status, len(s.services))
	answers := make([]error, len(s.services))
	var checks []step
	for i, svc := range s.services {
		checks = append(checks, step{svc.Name, nil, func(ctx context.Context) error {
			var err error
			if states[i], err = svc.Status(); err != nil || states[i].State != process.Running {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, attempt)
			defer cancel()
			answers[i] = svc.Answers(ctx)
			return nil
		}})
	}
	if err := runSteps(ctx, checks); err != nil {
		return err
	}

	t := terminal.NewTable("SERVICE", "STATE", "PID", "UPTIME", "MEMORY", "ADDRESS")
	var problems error
	for i, svc := range s.services {
		st := states[i]
		state, pid, uptime, memory := st.State.String(), "", "", ""
		switch {
		case st.State == process.Dead:
			problems = ErrNotRunning
		case st.State == process.Running && answers[i] != nil:
			state, problems = "not answering", ErrNotRunning
		}
		if st.State == process.Running {
			pid = fmt.Sprint(st.PID)
			uptime = time.Since(st.Started).Round(time.Second).String()
			memory = fmt.Sprintf("%d MiB", st.RSS>>20)
		}
		t.AppendRow(table.Row{svc.Name, state, pid, uptime, memory, strings.ReplaceAll(svc.Address, "  ", "\n")})
	}
	s.say("Local stack, processes of this machine, in %s\n%s", s.Dir(), t.Render())
	for i, svc := range s.services {
		if answers[i] != nil {
			s.say("%s does not answer: %v", svc.Name, answers[i])
		}
		if states[i].State == process.Dead {
			s.say("%s has ended by itself; its log is %s", svc.Name, relative(svc.LogFile))
		}
	}
	return problems
}

// Running reports whether any service runs.
func (s *Stack) Running() (bool, error) {
	for _, svc := range s.services {
		if st, err := svc.Status(); err != nil || st.State == process.Running {
			return err == nil, err
		}
	}
	return false, nil
}

// Logs prints the last n lines of one service's log, or of each when the name is empty.
func (s *Stack) Logs(_ context.Context, name string, n int) error {
	services := s.services
	if name != "" {
		svc, err := s.find(name)
		if err != nil {
			return err
		}
		services = []*service.Service{svc}
	}
	for _, svc := range services {
		lines, err := process.Tail(svc.LogFile, n)
		if err != nil {
			return fmt.Errorf("reading the log of %s: %w", svc.Name, err)
		}
		if len(lines) == 0 && name == "" {
			continue
		}
		s.say("==> %s", relative(svc.LogFile))
		for _, line := range lines {
			s.say("%s", line)
		}
	}
	return nil
}
