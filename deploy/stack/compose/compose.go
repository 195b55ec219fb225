// Package compose runs the stack in containers: it calls docker compose for the
// project's docker-compose.yml, and asks each service at its published port whether it
// answers, as the local stack's supervisor does.
package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"golang.org/x/sync/errgroup"

	"example.com/bookstore/deploy/stack/service"
	"example.com/bookstore/sparkjob/terminal"
)

// ErrNotRunning says that a container does not do its work.
var ErrNotRunning = errors.New("not everything that was started runs and answers")

const (
	ready   = 5 * time.Minute // for every service to answer, once its image is there
	attempt = 10 * time.Second
)

// Stack is the stack of docker-compose.yml.
type Stack struct {
	config   service.Config
	project  string // folder of the checkout
	services []*service.Service
	out      io.Writer // tells the user what happens
}

// New returns the stack that the configuration describes. The project is the folder of
// the checkout.
func New(cfg service.Config, project string, out io.Writer) *Stack {
	b := &service.Builder{Config: cfg, Project: project}
	s := &Stack{config: cfg, project: project, out: out}
	for _, svc := range b.All() {
		if !strings.HasPrefix(svc.Name, service.SparkWorker+"-") { // workers are one service, to any number
			s.services = append(s.services, svc)
		}
	}
	for _, svc := range s.services {
		switch svc.Name {
		case service.SparkWorker: // there may be several, none with a port of this machine
			svc.Address = "containers, listed by the master"
			svc.Answers, svc.With = b.WorkersAnswer, nil
		case service.SparkConnect:
			svc.Works = s.warmUp
		case service.Sparkjob:
			svc.Answers = func(ctx context.Context) error {
				_, err := s.read(ctx, "exec", "-T", service.Sparkjob, "sparkjob", "status")
				return err
			}
		}
	}
	return s
}

// Available reports whether a Docker engine with docker compose answers.
func Available(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	return exec.CommandContext(ctx, "docker", "compose", "ls", "--quiet").Run() == nil
}

// Up builds the images, starts the named services and what they need, and returns once
// each answers. It leaves what it started, for a look at its logs.
func (s *Stack) Up(ctx context.Context, names []string) error {
	wanted, err := s.find(names)
	if err != nil {
		return err
	}
	for _, svc := range wanted {
		names = append(names, svc.With...)
	}
	slices.Sort(names)
	return s.up(ctx, slices.Compact(names), "up", "--detach", "--build")
}

// Start starts one service, which needs those before it to run.
func (s *Stack) Start(ctx context.Context, name string) error {
	services, err := s.find([]string{name})
	if err != nil {
		return err
	}
	list, err := s.containers(ctx)
	if err != nil {
		return err
	}
	for _, other := range services[0].After {
		if !running(list, other) {
			return fmt.Errorf("starting %s: it needs %s, which does not run: bring the stack up first", name, other)
		}
	}
	return s.up(ctx, []string{name}, "up", "--detach", "--build", "--no-deps")
}

func (s *Stack) up(ctx context.Context, names []string, args ...string) error {
	if err := s.config.CheckSecrets(); err != nil {
		return err
	}
	wanted, err := s.find(names)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := s.run(ctx, append(args, names...)...); err != nil {
		return fmt.Errorf("starting the containers: %w", err)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	for _, svc := range wanted {
		group.Go(func() error { return s.await(groupCtx, svc) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	s.say("up after %.1f s", time.Since(began).Seconds())
	return nil
}

// await asks a service until it answers.
func (s *Stack) await(ctx context.Context, svc *service.Service) error {
	deadline := time.Now().Add(ready)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		try, cancel := context.WithTimeout(ctx, attempt)
		err := svc.Answers(try)
		cancel()
		if err == nil {
			return s.work(ctx, svc)
		}
		if time.Now().After(deadline) {
			return s.withLog(ctx, svc, fmt.Errorf("no answer within %s: %w", ready, err))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// work has a service that answers do its first piece of work.
func (s *Stack) work(ctx context.Context, svc *service.Service) error {
	if svc.Works == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, svc.Start)
	defer cancel()
	if err := svc.Works(ctx); err != nil {
		return s.withLog(ctx, svc, err)
	}
	return nil
}

// warmUp has Spark practise what the job's queries do, from this machine.
func (s *Stack) warmUp(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "run", "./sparkjob", "warm-up")
	cmd.Dir = s.project
	cmd.Env = append(os.Environ(), "STACK=compose")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running sparkjob warm-up: %w\n%s", err, out)
	}
	return nil
}

// withLog adds the last lines of a service's log to an error.
func (s *Stack) withLog(ctx context.Context, svc *service.Service, err error) error {
	lines, logErr := s.read(context.WithoutCancel(ctx), "logs", "--no-color", "--tail=15", svc.Name)
	if logErr != nil {
		return fmt.Errorf("starting %s: %w", svc.Name, err)
	}
	return fmt.Errorf("starting %s: %w\nits last lines:\n%s", svc.Name, err, lines)
}

// Stop stops one service.
func (s *Stack) Stop(ctx context.Context, name string) error {
	if _, err := s.find([]string{name}); err != nil {
		return err
	}
	return s.run(ctx, "stop", name)
}

// Down removes every container and the network. Data stay, in volumes.
func (s *Stack) Down(ctx context.Context) error { return s.run(ctx, "down", "--remove-orphans") }

// Clean is Down and deletes the data.
func (s *Stack) Clean(ctx context.Context) error {
	return s.run(ctx, "down", "--remove-orphans", "--volumes")
}

// Dir says where the data are.
func (s *Stack) Dir() string { return "the volumes of the compose project bookstore" }

// Logs prints the last n lines of one service's log, or of each when the name is empty.
func (s *Stack) Logs(ctx context.Context, name string, n int) error {
	args := []string{"logs", "--tail=" + fmt.Sprint(n)}
	if name != "" {
		args = append(args, name)
	}
	return s.run(ctx, args...)
}

// container is what docker compose ps tells of one.
type container struct {
	Name     string
	Service  string
	State    string // created, running, restarting, exited and so on
	Health   string
	ExitCode int
}

// containers lists those of the project, also stopped ones.
func (s *Stack) containers(ctx context.Context) ([]container, error) {
	out, err := s.read(ctx, "ps", "--all", "--format", "json")
	if err != nil {
		return nil, fmt.Errorf("listing the containers: %w", err)
	}
	return parse(out)
}

// parse reads the output of docker compose ps: one object a line, an array before
// version 2.21.
func parse(out []byte) ([]container, error) {
	var list []container
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return nil, fmt.Errorf("reading docker compose ps: %w", err)
		}
		if raw[0] == '[' {
			return list, json.Unmarshal(raw, &list)
		}
		var c container
		if err := json.Unmarshal(raw, &c); err != nil {
			return nil, fmt.Errorf("reading docker compose ps: %w", err)
		}
		list = append(list, c)
	}
	return list, nil
}

// running reports whether a container of the service runs.
func running(list []container, name string) bool {
	return slices.ContainsFunc(list, func(c container) bool { return c.Service == name && c.State == "running" })
}

// Addresses lists where the running services answer.
func (s *Stack) Addresses(ctx context.Context) error {
	list, err := s.containers(ctx)
	if err != nil {
		return err
	}
	for _, svc := range s.services {
		if running(list, svc.Name) {
			s.say("  %-14s %s", svc.Name, svc.Address)
		}
	}
	return nil
}

// Status prints a table of the containers. It returns ErrNotRunning when one has ended
// with an error or does not answer.
func (s *Stack) Status(ctx context.Context) error {
	list, err := s.containers(ctx)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		s.say("Docker compose: the project bookstore has no containers")
		return nil
	}
	byService := map[string]*service.Service{}
	for _, svc := range s.services {
		byService[svc.Name] = svc
	}
	answers := make([]error, len(list))
	var group errgroup.Group
	for i, c := range list {
		if svc := byService[c.Service]; svc != nil && c.State == "running" {
			group.Go(func() error {
				ctx, cancel := context.WithTimeout(ctx, attempt)
				defer cancel()
				answers[i] = svc.Answers(ctx)
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	t := terminal.NewTable("CONTAINER", "STATE", "HEALTH", "ADDRESS")
	var problems error
	for i, c := range list {
		state, address := c.State, ""
		if svc := byService[c.Service]; svc != nil {
			address = strings.ReplaceAll(svc.Address, "  ", "\n")
		}
		switch {
		case c.State == "running" && answers[i] != nil:
			state, problems = "not answering", ErrNotRunning
		case c.State == "exited" && c.ExitCode == 0: // setup has done its work
			state = "done"
		case c.State != "running":
			state, problems = fmt.Sprintf("%s (exit code %d)", c.State, c.ExitCode), ErrNotRunning
		}
		t.AppendRow(table.Row{c.Name, state, c.Health, address})
	}
	s.say("Docker compose, containers of the project bookstore\n%s", t.Render())
	for i, c := range list {
		if answers[i] != nil {
			s.say("%s does not answer: %v", c.Name, answers[i])
		}
	}
	return problems
}

func (s *Stack) find(names []string) ([]*service.Service, error) {
	var found []*service.Service
	for _, name := range names {
		i := slices.IndexFunc(s.services, func(svc *service.Service) bool { return svc.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no service %q", name)
		}
		found = append(found, s.services[i])
	}
	return found, nil
}

// command is docker compose on the project's file. Versions, ports and passwords are in
// the environment, where the caller has loaded them. Every profile is on, so that
// down and ps know the services of each. Only up, which would start what the named
// services may depend on in another profile, has only those that it may need.
func (s *Stack) command(ctx context.Context, args ...string) *exec.Cmd {
	profiles := []string{"--profile", "*"}
	if args[0] == "up" {
		profiles = []string{"--profile", "job"}
		if s.config.Nodes > 1 {
			profiles = append(profiles, "--profile", "cluster")
		}
	}
	cmd := exec.CommandContext(ctx, "docker", slices.Concat([]string{"compose", "--file", "docker-compose.yml"}, profiles, args)...)
	cmd.Dir = s.project
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	return cmd
}

// run shows what docker compose says.
func (s *Stack) run(ctx context.Context, args ...string) error {
	cmd := s.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = s.out, os.Stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("docker compose %s: %w", args[0], err)
	}
	return nil
}

// read returns what docker compose says.
func (s *Stack) read(ctx context.Context, args ...string) ([]byte, error) {
	cmd := s.command(ctx, args...)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("docker compose %s: %w: %s", args[0], err, strings.TrimSpace(errOut.String()))
	}
	return out, nil
}

func (s *Stack) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }
