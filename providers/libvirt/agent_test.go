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
)

// guest is a hypervisor with one machine, whose agent speaks the protocol and runs
// what it is told on this computer.
type guest struct {
	hypervisor
	silent int    // how many commands get no answer
	asks   int    // how often an answer is not there yet
	state  string // the domain's
	done   map[int]map[string]any
}

func (g *guest) Domain(name string) (domain, error) { return domain{Name: name, State: g.state}, nil }

func (g *guest) Agent(name, command string, _ time.Duration) (string, error) {
	if g.silent > 0 {
		g.silent--
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
