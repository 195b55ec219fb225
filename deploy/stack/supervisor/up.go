package supervisor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/bookstore/deploy/stack/preflight"
	"example.com/bookstore/deploy/stack/process"
	"example.com/bookstore/deploy/stack/service"
)

// Engines are the services that are not programs of ours.
var Engines = []string{service.Kafka, service.Cassandra, service.SparkMaster, service.SparkWorker, service.SparkConnect}

const (
	attempt      = 5 * time.Second  // for one request of a probe
	wedged       = 30 * time.Second // for a process that runs already to answer
	loginRefused = 20 * time.Second // for a fresh Cassandra, once it answers, to make its first role
)

// Up starts what is not running of the named services and what they need, and
// returns once each answers. When it cannot, it stops again what it started.
func (s *Stack) Up(ctx context.Context, names []string) error { return s.up(ctx, names, false) }

// up is Up, and makes topics, tables and roles even if nothing of ours is among the services.
func (s *Stack) up(ctx context.Context, names []string, setup bool) error {
	wanted, err := s.closure(names)
	if err != nil {
		return err
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.sameNodes(); err != nil {
		return err
	}

	began := time.Now()
	missing, err := s.missing(ctx, wanted)
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		s.say("everything runs already")
		return nil
	}
	if err := s.start(ctx, missing, setup); err != nil {
		return err
	}
	s.say("up after %s", seconds(time.Since(began)))
	return nil
}

// Start starts one service, which needs those before it to run.
func (s *Stack) Start(ctx context.Context, name string) error {
	svc, err := s.find(name)
	if err != nil {
		return err
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.sameNodes(); err != nil {
		return err
	}
	for _, other := range svc.After {
		needed, err := s.find(other)
		if err != nil {
			return err
		}
		state := process.Stopped
		for _, node := range append([]string{other}, needed.With...) {
			if state == process.Running {
				break // one of them is enough
			}
			if state, err = s.state(node); err != nil {
				return err
			}
		}
		if state != process.Running {
			return fmt.Errorf("starting %s: it needs %s, which is %s: bring the stack up first", name, other, state)
		}
	}
	missing, err := s.missing(ctx, []*service.Service{svc})
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		s.say("%s runs already", name)
		return nil
	}
	return s.start(ctx, missing, false)
}

func (s *Stack) state(name string) (process.State, error) {
	svc, err := s.find(name)
	if err != nil {
		return process.Stopped, err
	}
	st, err := svc.Status()
	return st.State, err
}

// missing returns those of the wanted services that do not run, and those that will
// not survive the others' start. A service that runs must answer.
func (s *Stack) missing(ctx context.Context, wanted []*service.Service) ([]*service.Service, error) {
	states := map[string]process.State{}
	for _, svc := range s.services {
		st, err := svc.Status()
		if err != nil {
			return nil, err
		}
		states[svc.Name] = st.State
	}
	start := map[string]bool{}
	for _, svc := range wanted {
		start[svc.Name] = states[svc.Name] != process.Running
	}
	for _, svc := range s.services {
		if svc.Bound != "" && start[svc.Bound] && states[svc.Name] == process.Running {
			s.say("%-14s stops, to join the new %s", svc.Name, svc.Bound)
			if err := svc.Stop(ctx, svc.Drain); err != nil {
				return nil, err
			}
			start[svc.Name] = true
		}
	}
	var checks []step
	for _, svc := range wanted {
		if !start[svc.Name] {
			checks = append(checks, step{name: svc.Name, run: func(ctx context.Context) error { return s.answering(ctx, svc) }})
		}
	}
	if err := runSteps(ctx, checks); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(s.services), func(svc *service.Service) bool { return !start[svc.Name] }), nil
}

// answering waits for a service that runs already.
func (s *Stack) answering(ctx context.Context, svc *service.Service) error {
	err := waitAnswer(ctx, svc, nil, wedged)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return withLog(fmt.Errorf("%s runs but does not answer at %s: %w: stop it (stack stop %[1]s) and do the same again",
		svc.Name, svc.Address, err), svc.LogFile)
}

// working is added to a service's name for the step of its first piece of work.
const working = " at work"

// start looks for what the services need of the machine, then starts them. Topics, tables
// and roles are made for the store, or if setup says so.
func (s *Stack) start(ctx context.Context, missing []*service.Service, setup bool) error {
	if err := s.builder.Config.CheckSecrets(); err != nil {
		return err
	}
	if err := s.prepare(ctx, missing); err != nil {
		return err
	}
	if err := s.noteNodes(); err != nil {
		return err
	}
	var (
		mu      sync.Mutex
		started []*service.Service
		steps   []step
		began   = time.Now()
	)
	ours := programsFor(missing, setup)
	if len(ours) > 0 {
		steps = append(steps, step{"build", nil, func(ctx context.Context) error { return s.build(ctx, ours...) }})
	}
	if slices.Contains(ours, service.Store) {
		after, err := s.withNodes(service.Kafka, service.Cassandra)
		if err != nil {
			return err
		}
		steps = append(steps, step{"setup", append(after, "build"), func(ctx context.Context) error { return s.command(ctx, "setup", s.builder.Setup) }})
	}
	for _, svc := range missing {
		after, err := s.withNodes(svc.After...)
		if err != nil {
			return err
		}
		switch svc.Name {
		case service.Store:
			after = append(after, "build", "setup")
		case service.Sparkjob:
			after = append(after, "build", "setup", service.SparkConnect+working)
		}
		if svc.Works != nil {
			steps = append(steps, step{svc.Name + working, []string{svc.Name, "build", "setup", service.Cassandra}, func(ctx context.Context) error {
				limited, cancel := context.WithTimeout(ctx, svc.Start)
				defer cancel()
				return s.command(ctx, "warm-up", func(context.Context) error { return svc.Works(limited) })
			}})
		}
		steps = append(steps, step{svc.Name, after, func(ctx context.Context) error {
			if err := svc.Prepare(ctx); err != nil {
				return err
			}
			// What a run that died left behind, such as a worker's executors.
			if err := svc.Stop(ctx, 0); err != nil {
				return err
			}
			exited, err := svc.Process.Start(ctx, svc.Command(), svc.Environ(), svc.Folder)
			if err != nil {
				return err
			}
			mu.Lock()
			started = append(started, svc)
			mu.Unlock()
			if err := waitAnswer(ctx, svc, exited, svc.Start); err != nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				return withLog(fmt.Errorf("starting %s: %w", svc.Name, err), svc.LogFile)
			}
			s.say("%-14s ready after %7s   %s", svc.Name, seconds(time.Since(began)), svc.Address)
			return nil
		}})
	}
	err := runSteps(ctx, steps)
	if err == nil {
		err = stillRunning(missing)
	}
	if err == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx) // what was started must not be left behind
	for _, svc := range slices.Backward(started) {
		if stopErr := svc.Stop(ctx, min(svc.Drain, 10*time.Second)); stopErr != nil {
			err = errors.Join(err, stopErr)
		}
	}
	return err
}

// withNodes are the named services with all their nodes.
func (s *Stack) withNodes(names ...string) (all []string, err error) {
	for _, name := range names {
		svc, err := s.find(name)
		if err != nil {
			return nil, err
		}
		all = append(append(all, name), svc.With...)
	}
	return all, nil
}

// prepare checks the machine for what the services need, and fetches what is missing
// of their jars.
func (s *Stack) prepare(ctx context.Context, missing []*service.Service) error {
	var need uint64
	engine := false
	for _, svc := range missing {
		need += svc.Memory
		engine = engine || svc.Jars != nil
	}
	ports := func() error {
		for _, svc := range missing {
			if err := preflight.Ports(ctx, svc.Host, svc.Ports); err != nil {
				return err
			}
		}
		return nil
	}
	if !engine {
		return ports()
	}
	if err := s.builder.Certificates(); err != nil {
		return err
	}
	home, err := preflight.Java(ctx, s.builder.Config.JavaVersion)
	if err != nil {
		return err
	}
	s.builder.JavaHome = home
	if err := preflight.Memory(ctx, need); err != nil {
		return err
	}
	if err := ports(); err != nil {
		return err
	}
	return s.fetch(ctx, missing)
}

// fetch brings the jars of the services that are to start.
func (s *Stack) fetch(ctx context.Context, missing []*service.Service) error {
	unlock, err := lock(ctx, filepath.Join(s.builder.Shared, "jars", ".lock"), func() {
		s.say("another command is fetching jars; waiting for it")
	})
	if err != nil {
		return err
	}
	defer unlock()
	for _, svc := range missing {
		if svc.Jars == nil {
			continue
		}
		present, err := svc.Jars.Present() // also of a service that shared them just now
		if err != nil {
			return err
		}
		if present {
			continue
		}
		for _, other := range s.services {
			if other.Jars == nil || other.Jars.Name != svc.Jars.Name {
				continue
			}
			if st, err := other.Status(); err != nil {
				return err
			} else if st.State == process.Running {
				return fmt.Errorf("starting %s: its versions have changed, but %s still runs from the jars of before: bring the stack down first",
					svc.Name, other.Name)
			}
		}
		maven, err := preflight.Maven()
		if err != nil {
			return err
		}
		began := time.Now()
		s.say("%-14s fetching its jars", svc.Jars.Name)
		if err := svc.Jars.Fetch(ctx, maven); err != nil {
			return err
		}
		s.say("%-14s jars fetched in %s", svc.Jars.Name, seconds(time.Since(began)))
	}
	return nil
}

// build compiles programs, one command at a time.
func (s *Stack) build(ctx context.Context, names ...string) error {
	unlock, err := lock(ctx, filepath.Join(s.builder.Shared, "bin", ".lock"), func() {})
	if err != nil {
		return err
	}
	defer unlock()
	return s.builder.Build(ctx, names...)
}

// programsFor are the programs of ours that starting the services takes.
func programsFor(services []*service.Service, setup bool) []string {
	if setup || slices.ContainsFunc(services, func(svc *service.Service) bool { return svc.Name == service.Store }) {
		return []string{service.Store, service.Sparkjob}
	}
	if slices.ContainsFunc(services, func(svc *service.Service) bool { return svc.Name == service.Sparkjob || svc.Works != nil }) {
		return []string{service.Sparkjob}
	}
	return nil
}

// command runs one of the driver's commands.
func (s *Stack) command(ctx context.Context, name string, run func(context.Context) error) error {
	if err := run(ctx); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return withLog(err, s.builder.CommandLog(name))
	}
	return nil
}

// waitAnswer returns once the service answers. It gives up when the process ends, or
// when the time is over. A nil channel is of a process that another command started.
func waitAnswer(ctx context.Context, svc *service.Service, exited <-chan error, within time.Duration) error {
	began := time.Now()
	var refused time.Time // when a login was refused first
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		try, cancel := context.WithTimeout(ctx, attempt)
		err := svc.Answers(try)
		cancel()
		if err == nil {
			return nil
		}
		if errors.Is(err, service.ErrLogin) {
			if refused.IsZero() {
				refused = time.Now()
			}
			if time.Since(refused) > loginRefused {
				return err
			}
		}
		if time.Since(began) > within {
			return fmt.Errorf("no answer within %s: %w", within, err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-exited:
			return ended(err)
		case <-tick.C:
		}
	}
}

// ended tells how a process that should run has ended.
func ended(err error) error {
	if err == nil {
		return errors.New("it ended at once, without an error")
	}
	return fmt.Errorf("it ended at once (%w)", err)
}

// stillRunning reports a service that ended after its first answer.
func stillRunning(services []*service.Service) error {
	for _, svc := range services {
		st, err := svc.Status()
		if err != nil {
			return err
		}
		if st.State != process.Running {
			return withLog(fmt.Errorf("starting %s: it answered, then ended", svc.Name), svc.LogFile)
		}
	}
	return nil
}

// Addresses lists where the running services answer.
func (s *Stack) Addresses(context.Context) error {
	var lines []string
	for _, svc := range s.services {
		st, err := svc.Status()
		if err != nil {
			return err
		}
		if st.State == process.Running {
			lines = append(lines, fmt.Sprintf("  %-14s %s", svc.Name, svc.Address))
		}
	}
	s.say("%s", strings.Join(lines, "\n"))
	return nil
}
