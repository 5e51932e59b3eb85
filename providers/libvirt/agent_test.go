package libvirt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	osexec "os/exec"
	"strings"
	"testing"
	"time"

	"github.com/flowctl/flowctl/providers"
)

// guest is a hypervisor with one machine, whose agent speaks the protocol and runs
// what it is told on this computer.
type guest struct {
	hypervisor
	silent int    // how many commands get no answer; none does while it is paused
	asks   int    // how often an answer is not there yet
	state  string // the domain's
	why    string // it is paused
	resume int    // how often it was resumed
	done   map[int]map[string]any
	paused func() // is called once, when a program has been started
}

func (g *guest) Domain(name string) (domain, error) {
	return domain{Name: name, State: g.state, Why: g.why}, nil
}

func (g *guest) Resume(string) error {
	g.state, g.why = "running", ""
	g.resume++
	return nil
}

func (g *guest) Agent(name, command string, _ time.Duration) (string, error) {
	if g.silent > 0 || g.state == "paused" {
		g.silent = max(0, g.silent-1)
		return "", fmt.Errorf("domain %s: %w", name, errSilent)
	}
	var c struct {
		Execute   string
		Arguments struct {
			Path  string
			Arg   []string
			Input []byte `json:"input-data"`
			PID   int
		}
	}
	if err := json.Unmarshal([]byte(command), &c); err != nil {
		return "", err
	}
	if strings.Contains(command, "null") {
		return "", fmt.Errorf("invalid parameter type in %s", command)
	}
	var answer any = struct{}{}
	switch c.Execute {
	case "guest-exec":
		pid := len(g.done) + 1
		answer, g.done[pid] = map[string]any{"pid": pid}, run(c.Arguments.Path, c.Arguments.Arg, c.Arguments.Input)
		if g.paused != nil {
			g.paused()
		}
	case "guest-exec-status":
		answer = g.done[c.Arguments.PID]
		if g.asks > 0 {
			g.asks--
			answer = map[string]any{"exited": false}
		}
	}
	text, err := json.Marshal(map[string]any{"return": answer})
	return string(text), err
}

func run(path string, args []string, input []byte) map[string]any {
	var out, errs strings.Builder
	cmd := osexec.Command(path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(string(input)), &out, &errs
	_ = cmd.Run() // its state tells
	status := map[string]any{"exited": true, "out-data": []byte(out.String()), "err-data": []byte(errs.String())}
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		status["exitcode"] = code
	} else {
		status["signal"] = 9
	}
	return status
}

func TestCommandsRunInGuests(t *testing.T) {
	for script, want := range map[string]ended{
		"cat":                  {Out: []byte("in\n")},
		"echo no >&2; exit 3":  {Status: 3, Err: []byte("no\n")},
		"kill -9 $$":           {Status: 137},
		"printf 'a\\000\\377'": {Out: []byte("a\x00\xff")},
	} {
		g := &guest{state: "running", asks: 2, done: map[int]map[string]any{}}
		got, err := runInGuest(t.Context(), g, "m", []string{"/bin/sh", "-c", script}, []byte("in\n"))
		if err != nil || got.Status != want.Status || string(got.Out) != string(want.Out) || string(got.Err) != string(want.Err) {
			t.Errorf("%s: %+v, %v; want %+v", script, got, err, want)
		}
	}
	g := &guest{state: "running", done: map[int]map[string]any{}}
	if got, err := runInGuest(t.Context(), g, "m", []string{"/bin/cat"}, nil); err != nil || got.Status != 0 {
		t.Errorf("without input: %+v, %v", got, err)
	}
	if err := (ended{Status: 3, Err: []byte("no\n")}).fault("try"); err == nil || !strings.Contains(err.Error(), "status 3 in the guest:\n  no") {
		t.Errorf("a command that failed: %v", err)
	}
}

func TestNobodyWaitsForACommandForEver(t *testing.T) {
	g := &guest{state: "running", asks: 1 << 30, done: map[int]map[string]any{}}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, errors.New("no more patience"))
	defer cancel()
	if _, err := runInGuest(ctx, g, "m", []string{"/bin/true"}, nil); err == nil || !strings.Contains(err.Error(), "no more patience") {
		t.Errorf("a command that does not end: %v", err)
	}
}

func TestAgentsAreWaitedFor(t *testing.T) {
	g := &guest{state: "running", silent: 3}
	if err := awake(t.Context(), g, "m"); err != nil || g.silent > 0 {
		t.Errorf("an agent that answers in the end: %v, %+v", err, g)
	}
	if err := awake(t.Context(), &guest{state: "crashed", silent: 3}, "m"); err == nil || !strings.Contains(err.Error(), "is crashed before") {
		t.Errorf("a machine that ends: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := awake(ctx, &guest{state: "running", silent: 1 << 30}, "m"); !errors.Is(err, errSilent) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an agent that never answers: %v", err)
	}
}

// Whoever pauses a machine while it is made does not fail what makes it.
func TestMachinesThatArePausedWhileTheyStartGoOn(t *testing.T) {
	g := &guest{state: "paused", why: pausedByUser}
	if err := awake(t.Context(), g, "m"); err != nil || g.resume != 1 {
		t.Errorf("a machine that is paused before its agent answers: %v, resumed %d times", err, g.resume)
	}
	g = &guest{state: "running", asks: 3, done: map[int]map[string]any{}}
	g.paused = func() { g.state, g.why = "paused", pausedByUser }
	if e, err := runInGuest(t.Context(), g, "m", []string{"/bin/true"}, nil); err != nil || e.Status != 0 || g.resume != 1 {
		t.Errorf("a machine that is paused while it is told who it is: %+v, %v, resumed %d times", e, err, g.resume)
	}
	g = &guest{state: "paused", silent: 2} // libvirt's own doing
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := awake(ctx, g, "m"); !errors.Is(err, context.DeadlineExceeded) || g.resume != 0 {
		t.Errorf("a machine that libvirt has paused: %v, resumed %d times", err, g.resume)
	}
	g = &guest{state: "paused", why: pausedByDisk}
	if err := awake(t.Context(), g, "m"); err == nil || !strings.Contains(err.Error(), "domain m is paused since its disk cannot be written to") || providers.Retryable(err) {
		t.Errorf("a machine whose disk is full: %v", err)
	}
}
