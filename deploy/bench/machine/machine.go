// Package machine says on what a benchmark ran: figures of another machine are others.
package machine

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"
)

// Machine is what the figures depend on, and when they were taken.
type Machine struct {
	CPU    string    `json:"cpu"`
	Cores  int       `json:"cores"`
	Memory string    `json:"memory"`
	System string    `json:"system"`
	Go     string    `json:"go"`
	Java   string    `json:"java"`
	Date   time.Time `json:"date"`
}

var javaVersion = regexp.MustCompile(`version "([^"]+)"`)

// Describe looks at this machine.
func Describe(ctx context.Context) (Machine, error) {
	m := Machine{Cores: runtime.NumCPU(), Go: strings.TrimPrefix(runtime.Version(), "go"), Date: time.Now().UTC().Truncate(time.Second)}
	cpus, cpuErr := cpu.InfoWithContext(ctx)
	if len(cpus) > 0 {
		m.CPU = strings.TrimSpace(cpus[0].ModelName)
	}
	memory, memErr := mem.VirtualMemoryWithContext(ctx)
	if memErr == nil {
		m.Memory = units.BytesSize(float64(memory.Total))
	}
	system, systemErr := host.InfoWithContext(ctx)
	if systemErr == nil {
		m.System = fmt.Sprintf("%s %s, kernel %s", system.Platform, system.PlatformVersion, system.KernelVersion)
	}
	out, javaErr := exec.CommandContext(ctx, "java", "-version").CombinedOutput()
	if match := javaVersion.FindSubmatch(out); match != nil {
		m.Java = string(match[1])
	}
	if err := errors.Join(cpuErr, memErr, systemErr, javaErr); err != nil {
		return m, fmt.Errorf("looking at this machine: %w", err)
	}
	return m, nil
}

// String is one line about it.
func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %s of memory; %s; Go %s, Java %s; %s",
		m.CPU, m.Cores, m.Memory, m.System, m.Go, m.Java, m.Date.Format("2006-01-02 15:04 UTC"))
}

// Busy is how much time the cores of this machine have worked, whoever let them.
func Busy(ctx context.Context) (time.Duration, error) {
	times, err := cpu.TimesWithContext(ctx, false)
	if err != nil || len(times) == 0 {
		return 0, fmt.Errorf("reading the time of the cores: %w", err)
	}
	t := times[0]
	return time.Duration((t.User + t.System + t.Nice + t.Irq + t.Softirq) * float64(time.Second)), nil
}
