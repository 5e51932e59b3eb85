package view

import (
	"encoding/json"
	"io"
	"time"

	"github.com/flowctl/flowctl/engine"
)

// Event types of the JSON stream of apply and destroy.
const (
	TypeVersion    = "version"
	TypeDiagnostic = "diagnostic"
	TypePlan       = "plan"
	TypeRun        = "run"
	TypeTask       = "task"
	TypeOutputs    = "outputs"
	TypeSummary    = "summary"
	TypeWaiting    = "waiting"
	TypeRollback   = "rollback"
)

// Stream writes JSON events, one to a line. The first is of type version.
type Stream struct {
	enc *json.Encoder
	now func() time.Time
}

// NewStream begins a stream.
func NewStream(w io.Writer, version string, now func() time.Time) *Stream {
	s := &Stream{json.NewEncoder(w), now}
	s.enc.SetEscapeHTML(false)
	s.Write(TypeVersion, struct {
		FormatVersion string `json:"format_version"`
		Flowctl       string `json:"flowctl"`
	}{FormatVersion, version})
	return s
}

// Write writes one event; the fields of v become its own.
func (s *Stream) Write(kind string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic("bug: " + err.Error())
	}
	head, err := json.Marshal(struct {
		Type string    `json:"type"`
		At   time.Time `json:"at"`
	}{kind, s.now().UTC()})
	if err != nil {
		panic("bug: " + err.Error())
	}
	if len(body) > 2 {
		head = append(append(head[:len(head)-1], ','), body[1:]...)
	}
	s.enc.Encode(json.RawMessage(head))
}

// JSONTask is one change of state of a task.
type JSONTask struct {
	Step     int     `json:"step"`
	Op       string  `json:"op"`
	Address  string  `json:"address"`
	Gen      int     `json:"generation"`
	Phase    string  `json:"phase"`
	Provider string  `json:"provider,omitempty"`
	State    string  `json:"state"`
	Attempt  int     `json:"attempt,omitempty"`
	ElapsedS float64 `json:"elapsed_s"`
	WaitS    float64 `json:"wait_s,omitempty"`
	Error    string  `json:"error,omitempty"`
	Note     string  `json:"note,omitempty"`
}

// TaskJSON converts an event.
func TaskJSON(e engine.Event) JSONTask {
	j := JSONTask{
		Step: e.Step.ID, Op: e.Step.Op.String(), Address: e.Step.Address.String(), Gen: e.Step.Gen, Phase: e.Step.Phase.String(),
		Provider: e.Step.Provider, State: e.State.String(), Attempt: e.Attempt, ElapsedS: e.Elapsed.Seconds(), WaitS: e.Wait.Seconds(), Note: e.Note,
	}
	if e.Err != nil {
		j.Error = e.Err.Error()
	}
	return j
}

// JSONRollback names a function that goes back by itself, and to which revision.
type JSONRollback struct {
	Function string `json:"function"`
	Revision int    `json:"revision"`
}

// JSONDone is how an apply ended.
type JSONDone struct {
	Status  string      `json:"status"`
	Run     int64       `json:"run,omitempty"`
	Summary JSONSummary `json:"summary"`
	Failed  int         `json:"failed"`
	Away    int         `json:"away,omitempty"`
}
