package agent

import (
	"net"
	"strconv"
	"time"
)

// State is where a replica is in its life.
type State string

// The states of a replica.
const (
	StateStarting  State = "starting"  // being made, or its program being started
	StateRunning   State = "running"   // its program runs; whether it serves is for a health check to say
	StateBackoff   State = "backoff"   // it ended; it starts again at NextStart
	StateSuspended State = "suspended" // its processes are held where they are
	StateStopping  State = "stopping"  // asked to end, or its last processes being killed
	StateStopped   State = "stopped"   // ended for good; seen only while the agent shuts down
)

// Status is a replica as it is.
type Status struct {
	Name      string      `json:"name"`
	Spec      ReplicaSpec `json:"spec"` // with its defaults
	State     State       `json:"state"`
	Host      string      `json:"host"`
	Port      int         `json:"port"` // 0 while it is being made
	PID       int         `json:"pid,omitempty"`
	Started   time.Time   `json:"started,omitzero"`    // of the process that runs
	Restarts  int         `json:"restarts"`            // starts after the first
	NextStart time.Time   `json:"next_start,omitzero"` // in back-off
	LastExit  *Exit       `json:"last_exit,omitempty"`
	Error     string      `json:"error,omitempty"` // why it could not be started the last time
	Usage     Usage       `json:"usage"`

	// For Command: what a process beside the replica needs. Env may hold secrets.
	Env     []string `json:"env"`
	Dir     string   `json:"dir"`
	Cgroups []string `json:"cgroups,omitempty"` // folders; none where cgroups cannot be used
}

// Addr is where the replica listens, as host:port.
func (s Status) Addr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// Uptime is how long the process has run; 0 when none does.
func (s Status) Uptime(now time.Time) time.Duration {
	if s.Started.IsZero() {
		return 0
	}
	return max(0, now.Sub(s.Started))
}

// Exit is how a process ended.
type Exit struct {
	At        time.Time `json:"at"`
	Code      int       `json:"code"`                 // -1 when a signal ended it
	Signal    string    `json:"signal,omitempty"`     // its name
	OOMKilled bool      `json:"oom_killed,omitempty"` // by the kernel, for its memory limit
	LastLines []string  `json:"last_lines,omitempty"` // of its log, at most 20, long ones cut, as UTF-8
}

// String is "exit code 3" or "SIGKILL (out of memory)".
func (e Exit) String() string {
	switch {
	case e.OOMKilled:
		return e.Signal + " (out of memory)"
	case e.Signal != "":
		return e.Signal
	}
	return "exit code " + strconv.Itoa(e.Code)
}

// Usage is what a replica, or all of a machine, uses. It is sampled about once
// a second. Memory is the working set (cgroup usage without inactive page
// cache), or without cgroups the sum of the resident sets, in which a page that
// two processes share counts twice.
type Usage struct {
	At          time.Time `json:"at,omitzero"`  // of the sample; zero before the first
	CPUSeconds  float64   `json:"cpu_seconds"`  // since the replica was made, over restarts; never falls
	CPUCores    float64   `json:"cpu_cores"`    // over the last interval
	MemoryBytes int64     `json:"memory_bytes"` // now
	OOMKills    int64     `json:"oom_kills"`    // since it was made; 0 without cgroups
}

// MachineStatus is a machine as it is.
type MachineStatus struct {
	Machine
	ID             string    `json:"id"` // in FLOWCTL_MACHINE of every process it runs
	PID            int       `json:"pid"`
	Started        time.Time `json:"started"`
	LimitsEnforced bool      `json:"limits_enforced"`      // of cpu and memory, of machine and replicas
	LimitsWhy      string    `json:"limits_why,omitempty"` // why not, or not all
	Usage          Usage     `json:"usage"`                // of all replicas, removed ones included in CPUSeconds
	Replicas       int       `json:"replicas"`
	Running        int       `json:"running"`
}

// Snapshot is all replicas of a machine at one revision.
type Snapshot struct {
	// Revision counts changes of state, of specs and of the set of replicas (not
	// of usage) since the agent started, from 1.
	Revision int64    `json:"revision"`
	Replicas []Status `json:"replicas"` // by name
}
