package view

import (
	"fmt"
	"strings"
	"time"

	"github.com/flowctl/flowctl/engine"
)

func runStatus(r engine.RunInfo, s Style) string {
	switch r.Status {
	case engine.RunSucceeded:
		return s.good(string(r.Status))
	case engine.RunRunning:
		return s.note(string(r.Status))
	default:
		return s.bad(string(r.Status))
	}
}

// Runs renders the history, the newest run first.
func Runs(runs []engine.RunInfo, s Style) string {
	if len(runs) == 0 {
		return "No runs yet.\n"
	}
	var t Table
	t.Row("RUN", "COMMAND", "STATUS", "STARTED", "TOOK", "TASKS", "FAILED", "BY")
	for _, r := range runs {
		took := ""
		if !r.Ended.IsZero() {
			took = clock(r.Ended.Sub(r.Started))
		}
		t.Row(fmt.Sprint(r.ID), r.Command, runStatus(r, s), r.Started.Local().Format("2006-01-02 15:04:05"), took,
			fmt.Sprint(r.Steps), fmt.Sprint(r.Failures), fmt.Sprintf("%s@%s", r.User, r.Host))
	}
	return t.String()
}

// Run renders one run with its tasks and their attempts.
func Run(r engine.RunInfo, tasks []engine.TaskInfo, s Style) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Run %d: %s %s\n", r.ID, r.Command, runStatus(r, s))
	fmt.Fprintf(&b, "  started %s by %s@%s (process %d)", r.Started.Local().Format("2006-01-02 15:04:05"), r.User, r.Host, r.PID)
	if !r.Ended.IsZero() {
		fmt.Fprintf(&b, ", took %s", clock(r.Ended.Sub(r.Started)))
	}
	fmt.Fprintf(&b, "\n  planned: %s\n\n", counts(r.Summary))
	var t Table
	t.Row("TASK", "PHASE", "STATE", "START", "TOOK", "ATTEMPTS", "")
	for _, task := range tasks {
		start, took, note := "", "", ""
		if n := len(task.Attempts); n > 0 {
			first, last := task.Attempts[0], task.Attempts[n-1]
			start = "+" + clock(first.Started.Sub(r.Started))
			if !last.Ended.IsZero() {
				took = clock(last.Ended.Sub(first.Started))
			}
			if note = last.Err; task.Unchanged {
				note = "unchanged"
			}
		}
		note, _, _ = strings.Cut(note, "\n")
		t.Row(task.Step.Name(), task.Step.Phase.String(), taskState(task.State, s), start, took, fmt.Sprint(len(task.Attempts)), note)
	}
	b.WriteString(t.String())
	return b.String()
}

func taskState(st engine.StepState, s Style) string {
	switch st {
	case engine.Done:
		return s.good(st.String())
	case engine.Failed:
		return s.bad(st.String())
	default:
		return s.dim(st.String())
	}
}

// JSONRun is one run in JSON.
type JSONRun struct {
	ID       int64       `json:"id"`
	Command  string      `json:"command"`
	Status   string      `json:"status"`
	Started  time.Time   `json:"started"`
	Ended    *time.Time  `json:"ended"`
	User     string      `json:"user"`
	Host     string      `json:"host"`
	PID      int         `json:"pid"`
	Spec     string      `json:"spec_digest"`
	Summary  JSONSummary `json:"summary"`
	Tasks    int         `json:"tasks"`
	Failures int         `json:"failures"`
}

// RunJSON converts a run.
func RunJSON(r engine.RunInfo) JSONRun {
	j := JSONRun{
		ID: r.ID, Command: r.Command, Status: string(r.Status), Started: r.Started, User: r.User, Host: r.Host, PID: r.PID,
		Spec: r.Spec, Summary: SummaryJSON(r.Summary), Tasks: r.Steps, Failures: r.Failures,
	}
	if !r.Ended.IsZero() {
		j.Ended = &r.Ended
	}
	return j
}

// RunsJSON converts the history.
func RunsJSON(runs []engine.RunInfo) []JSONRun {
	all := []JSONRun{}
	for _, r := range runs {
		all = append(all, RunJSON(r))
	}
	return all
}

// JSONRunTasks is one run with its tasks.
type JSONRunTasks struct {
	JSONRun
	Items []JSONRunTask `json:"items"`
}

// JSONRunTask is one task of a run.
type JSONRunTask struct {
	Step       int           `json:"step"`
	Op         string        `json:"op"`
	Address    string        `json:"address"`
	Generation int           `json:"generation"`
	Phase      string        `json:"phase"`
	Provider   string        `json:"provider"`
	State      string        `json:"state"`
	Unchanged  bool          `json:"unchanged,omitempty"`
	Attempts   []JSONAttempt `json:"attempts"`
}

// JSONAttempt is one attempt at a task.
type JSONAttempt struct {
	Number  int        `json:"number"`
	Started time.Time  `json:"started"`
	Ended   *time.Time `json:"ended"`
	Error   string     `json:"error,omitempty"`
}

// RunTasksJSON converts a run with its tasks.
func RunTasksJSON(r engine.RunInfo, tasks []engine.TaskInfo) JSONRunTasks {
	j := JSONRunTasks{JSONRun: RunJSON(r), Items: []JSONRunTask{}}
	for _, t := range tasks {
		item := JSONRunTask{
			Step: t.Step.ID, Op: t.Step.Op.String(), Address: t.Step.Address.String(), Generation: t.Step.Gen, Phase: t.Step.Phase.String(),
			Provider: t.Step.Provider, State: t.State.String(), Unchanged: t.Unchanged, Attempts: []JSONAttempt{},
		}
		for _, a := range t.Attempts {
			at := JSONAttempt{Number: a.Number, Started: a.Started, Error: a.Err}
			if !a.Ended.IsZero() {
				at.Ended = &a.Ended
			}
			item.Attempts = append(item.Attempts, at)
		}
		j.Items = append(j.Items, item)
	}
	return j
}
