package engine

import (
	"fmt"
	"time"
)

// Op is what a step does.
type Op int

// The operations.
const (
	OpCreate Op = iota
	OpUpdate
	OpDelete
	OpRun
	OpGate // nothing: a meeting point that keeps the number of edges linear
	OpSuspend
	OpResume
	OpRestart
	OpShift // gives a percentage of a frontend's requests to the new replicas of a function
	OpJudge // waits, and judges the new replicas by what the frontends count
	OpKeep  // records that an object is kept for a rollback
	OpCapture
	OpRevert
	OpDiscard
)

func (o Op) String() string {
	switch o {
	case OpCreate:
		return "create"
	case OpUpdate:
		return "update"
	case OpDelete:
		return "delete"
	case OpRun:
		return "run"
	case OpGate:
		return "gate"
	case OpSuspend:
		return "suspend"
	case OpResume:
		return "resume"
	case OpRestart:
		return "restart"
	case OpShift:
		return "shift"
	case OpJudge:
		return "judge"
	case OpKeep:
		return "keep"
	case OpCapture:
		return "snapshot"
	case OpRevert:
		return "restore"
	case OpDiscard:
		return "delete-snapshot"
	default:
		panic(fmt.Sprintf("bug: operation %d", int(o)))
	}
}

// ParseOp is the inverse of Op.String.
func ParseOp(s string) (Op, bool) {
	for o := OpCreate; o <= OpDiscard; o++ {
		if o.String() == s {
			return o, true
		}
	}
	return 0, false
}

// Step is one node of a run's DAG. Steps are held in a slice in topological
// order; ID is the place in it, and Needs holds IDs smaller than ID. The address
// of a shift is that of a function's backends behind a frontend ("backend.www/web"),
// that of a judgement the function's.
type Step struct {
	ID       int
	Op       Op
	Address  Address
	Gen      int // of a shift or a judgement: the percentage that the new replicas get
	Phase    Phase
	Provider string // "" for a step that calls none, and so takes nobody's place
	Needs    []int
	Timeout  time.Duration // of one attempt; 0 means none
	Attempts int           // the most attempts; 0 means 1
}

// Name returns the step as an operator reads it: "create function.web[0]".
func (s Step) Name() string {
	switch s.Op {
	case OpShift:
		return fmt.Sprintf("shift %s to %d %%", s.Address, s.Gen)
	case OpJudge:
		return fmt.Sprintf("judge %s at %d %%", s.Address, s.Gen)
	default:
		return s.Op.String() + " " + s.Address.String()
	}
}

// Touches reports whether a step does something to an object.
func (o Op) Touches() bool {
	switch o {
	case OpGate, OpShift, OpJudge, OpKeep, OpCapture, OpDiscard:
		return false
	default:
		return true
	}
}

// StepState is how far a step has come.
type StepState int

// The states of a step. UpstreamFailed is a step that never ran because one
// that it needs failed; Cancelled is one that never ran because the run was
// stopped.
const (
	Pending StepState = iota
	Running
	Retrying // between two attempts
	Done
	Failed
	UpstreamFailed
	Cancelled
)

var stepStates = [...]string{"pending", "running", "retrying", "done", "failed", "upstream_failed", "cancelled"}

func (s StepState) String() string { return stepStates[s] }

// MarshalText implements encoding.TextMarshaler.
func (s StepState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Event is one change of state of one step of a run.
type Event struct {
	At      time.Time
	Step    Step
	State   StepState
	Attempt int           // from 1; 0 before the first
	Elapsed time.Duration // since the first attempt started
	Wait    time.Duration // Retrying: until the next attempt
	Err     error         // Retrying and Failed
	Note    string        // Done: "unchanged"; Running: how far it has come, "" when it begins
}

// RunStatus is how a run ended, or that it has not.
type RunStatus string

// The statuses of a run. An interrupted one was stopped by its operator or
// died; the next apply goes on from there.
const (
	RunRunning     RunStatus = "running"
	RunSucceeded   RunStatus = "succeeded"
	RunFailed      RunStatus = "failed"
	RunInterrupted RunStatus = "interrupted"
)

// RunInfo is one run in the history.
type RunInfo struct {
	ID       int64
	Command  string // "apply", "destroy"
	Status   RunStatus
	Started  time.Time
	Ended    time.Time // zero while it runs
	User     string
	Host     string
	PID      int
	Spec     string // digest of the spec and its variables
	Summary  Summary
	Failures int
	Steps    int
}

// TaskInfo is one task of a run in the history.
type TaskInfo struct {
	Step      Step
	State     StepState
	Attempts  []AttemptInfo
	Unchanged bool // nothing had to be done
}

// AttemptInfo is one attempt at a task.
type AttemptInfo struct {
	Number  int
	Started time.Time
	Ended   time.Time
	Err     string
}
