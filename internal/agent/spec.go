package agent

import (
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Defaults of a ReplicaSpec.
const (
	DefaultStopSignal  = "SIGTERM"
	DefaultStopGrace   = 10 * time.Second
	DefaultLogMaxBytes = 10 << 20
	DefaultLogFiles    = 3

	minLogMaxBytes = 4 << 10
	maxLogFiles    = 100
)

// Labels that end up in the environment of a replica, and so cannot change
// while it runs.
const (
	LabelFlow    = "flow"
	LabelAddress = "address"
)

// Machine is what a machine is to be. CPUs and MemoryBytes bound all its
// replicas together where the agent may make cgroups (MachineStatus says
// whether); Slots is for placement and is not enforced here.
type Machine struct {
	Labels      map[string]string `json:"labels,omitempty"`
	Host        string            `json:"host"`         // IP address its replicas listen on
	CPUs        float64           `json:"cpus"`         // cores; 0 = unlimited
	MemoryBytes int64             `json:"memory_bytes"` // 0 = unlimited
	Slots       int               `json:"slots"`        // most replicas; 0 = unknown
}

// Validate says what of m cannot be.
func (m Machine) Validate() error {
	if _, err := netip.ParseAddr(m.Host); err != nil {
		return invalidf("machine host %q is not an IP address; use a loopback address such as 127.0.0.1", m.Host)
	}
	if m.CPUs < 0 || m.MemoryBytes < 0 || m.Slots < 0 {
		return invalidf("machine has negative cpus, memory or slots; use 0 for no limit")
	}
	return nil
}

// ReplicaSpec is one replica: a program to keep running. The zero value of each
// field but Name and Exec means the default.
type ReplicaSpec struct {
	Name   string            `json:"name"` // unique on the machine; letters, digits, "._-"
	Labels map[string]string `json:"labels,omitempty"`

	// Exec is the program and its arguments. Exec[0] is absolute or has a slash;
	// it is then looked up from Dir.
	Exec []string `json:"exec"`
	// Env is added to PATH, HOME, LANG, TZ and TMPDIR of the agent. HOST, PORT,
	// FLOWCTL_ADDRESS, FLOWCTL_FLOW, FLOWCTL_REPLICA (the Name), FLOWCTL_FILES and
	// FLOWCTL_MACHINE are the agent's and win over it.
	Env map[string]string `json:"env,omitempty"`
	Dir string            `json:"dir,omitempty"` // working directory; default a private one, empty at first

	CPU         float64 `json:"cpu,omitempty"`          // cores; 0 = unlimited
	MemoryBytes int64   `json:"memory_bytes,omitempty"` // 0 = unlimited

	StopSignal string        `json:"stop_signal,omitempty"`   // name with or without SIG; to the whole process group
	StopGrace  time.Duration `json:"stop_grace_ns,omitempty"` // then SIGKILL

	// Files are put under a folder of the replica's own, FLOWCTL_FILES, before it
	// starts and when they change.
	Files []SpecFile `json:"files,omitempty"`

	LogMaxBytes int64 `json:"log_max_bytes,omitempty"` // size of one log file
	LogFiles    int   `json:"log_files,omitempty"`     // how many are kept, the current one included

	// PortHint is taken as the replica's port if it is free when the replica is
	// made; it means nothing afterwards.
	PortHint int `json:"port_hint,omitempty"`
}

// SpecFile is a file that a replica is given.
type SpecFile struct {
	Path    string      `json:"path"` // absolute, within the folder
	Content string      `json:"content"`
	Mode    fs.FileMode `json:"mode"`
}

var safeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// withDefaults returns the spec with every default filled in.
func (s ReplicaSpec) withDefaults() ReplicaSpec {
	s.StopSignal = signalName(s.StopSignal)
	if s.StopSignal == "" {
		s.StopSignal = DefaultStopSignal
	}
	if s.StopGrace == 0 {
		s.StopGrace = DefaultStopGrace
	}
	if s.LogMaxBytes == 0 {
		s.LogMaxBytes = DefaultLogMaxBytes
	}
	if s.LogFiles == 0 {
		s.LogFiles = DefaultLogFiles
	}
	return s
}

// validate checks a spec withDefaults, as far as that goes without looking at
// the computer.
func (s ReplicaSpec) validate() error {
	if !safeName.MatchString(s.Name) {
		return invalidf("replica name %q is not safe as a file name; use letters, digits, '.', '_', '-' and start with a letter or digit", s.Name)
	}
	if len(s.Exec) == 0 || s.Exec[0] == "" {
		return invalidf("replica %s has no program; give exec", s.Name)
	}
	if !strings.Contains(s.Exec[0], "/") {
		return invalidf("replica %s: program %q has no slash; give its full path", s.Name, s.Exec[0])
	}
	if s.Dir != "" && !filepath.IsAbs(s.Dir) {
		return invalidf("replica %s: working directory %q is not absolute", s.Name, s.Dir)
	}
	if err := s.validateStrings(); err != nil {
		return err
	}
	if unix.SignalNum(s.StopSignal) == 0 {
		return invalidf("replica %s: unknown stop signal %q; use a name such as SIGTERM", s.Name, s.StopSignal)
	}
	switch {
	case s.CPU < 0, s.MemoryBytes < 0, s.StopGrace < 0:
		return invalidf("replica %s has a negative cpu, memory or stop grace", s.Name)
	case s.LogMaxBytes < minLogMaxBytes:
		return invalidf("replica %s: a log file of %d bytes is too small; the least is %d", s.Name, s.LogMaxBytes, minLogMaxBytes)
	case s.LogFiles < 1 || s.LogFiles > maxLogFiles:
		return invalidf("replica %s keeps %d log files; keep 1 to %d", s.Name, s.LogFiles, maxLogFiles)
	case s.PortHint < 0 || s.PortHint > 65535:
		return invalidf("replica %s: port hint %d is not a port", s.Name, s.PortHint)
	}
	return nil
}

// validateStrings refuses what the kernel cannot pass to a program.
func (s ReplicaSpec) validateStrings() error {
	for _, a := range s.Exec {
		if strings.ContainsRune(a, 0) {
			return invalidf("replica %s: argument %q holds a zero byte", s.Name, a)
		}
	}
	for _, k := range []string{LabelFlow, LabelAddress} {
		if strings.ContainsRune(s.Labels[k], 0) {
			return invalidf("replica %s: label %s holds a zero byte", s.Name, k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(s.Env)) {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.ContainsRune(s.Env[k], 0) {
			return invalidf("replica %s: environment variable %q cannot be passed to a program", s.Name, k)
		}
	}
	return nil
}

// signalName returns the full name of a signal: "SIGTERM" for "term".
func signalName(s string) string {
	s = strings.ToUpper(s)
	if s == "" || strings.HasPrefix(s, "SIG") {
		return s
	}
	return "SIG" + s
}

// sameSpec says whether an update from old to now has nothing to do. Both have
// their defaults; PortHint does not count.
func sameSpec(old, now ReplicaSpec) bool {
	return len(fixedDiff(old, now)) == 0 && maps.Equal(old.Labels, now.Labels) &&
		old.CPU == now.CPU && old.MemoryBytes == now.MemoryBytes &&
		slices.Equal(old.Files, now.Files) && old.StopSignal == now.StopSignal && old.StopGrace == now.StopGrace &&
		old.LogMaxBytes == now.LogMaxBytes && old.LogFiles == now.LogFiles
}

// fixedDiff names what differs and cannot change under a running process.
func fixedDiff(old, now ReplicaSpec) []string {
	var diff []string
	for _, f := range []struct {
		name string
		same bool
	}{
		{"exec", slices.Equal(old.Exec, now.Exec)},
		{"env", maps.Equal(old.Env, now.Env)},
		{"dir", old.Dir == now.Dir},
		{"label " + LabelFlow, old.Labels[LabelFlow] == now.Labels[LabelFlow]},
		{"label " + LabelAddress, old.Labels[LabelAddress] == now.Labels[LabelAddress]},
	} {
		if !f.same {
			diff = append(diff, f.name)
		}
	}
	return diff
}

// checkUpdate returns the error for an update that needs a new process.
func checkUpdate(old, now ReplicaSpec) error {
	diff := fixedDiff(old, now)
	if len(diff) == 0 {
		return nil
	}
	return &fault{ErrReplace, fmt.Sprintf(
		"replica %s runs with another %s, which cannot change while it runs; remove it and put it again, or put it under a new name",
		now.Name, strings.Join(diff, ", "))}
}

// inheritedEnv are the variables that a replica gets from the agent. No other
// passes, so that no secret of the operator leaks into a replica.
var inheritedEnv = []string{"PATH", "HOME", "LANG", "TZ", "TMPDIR"}

// Environment of a replica that marks it as ours.
const (
	markMachine = "FLOWCTL_MACHINE"
	markReplica = "FLOWCTL_REPLICA"
)

// environment returns the environment of a replica, sorted. own looks up the
// agent's variables.
func environment(own func(string) (string, bool), machineID, host string, port int, files string, s ReplicaSpec) []string {
	env := map[string]string{}
	for _, k := range inheritedEnv {
		if v, ok := own(k); ok {
			env[k] = v
		}
	}
	maps.Copy(env, s.Env)
	maps.Copy(env, map[string]string{
		"HOST":            host,
		"PORT":            fmt.Sprint(port),
		"FLOWCTL_ADDRESS": s.Labels[LabelAddress],
		"FLOWCTL_FLOW":    s.Labels[LabelFlow],
		"FLOWCTL_FILES":   files,
		markReplica:       s.Name,
		markMachine:       machineID,
	})
	list := make([]string, 0, len(env))
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return list
}
