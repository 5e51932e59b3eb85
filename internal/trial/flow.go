package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/flowctl/flowctl/internal/daemon"
	"github.com/flowctl/flowctl/runtime/api"
)

// Flow is one spec that flowctl is run on.
type Flow struct {
	Program string   // flowctl
	Spec    string   // the file
	Name    string   // of the flow in it
	Vars    []string // NAME=VALUE, for what the spec leaves open
	Env     []string // besides this process's own
	Log     io.Writer
}

// Run runs one command on the flow and returns what it printed. The error has
// what it complained of.
func (f Flow) Run(ctx context.Context, command string, flags ...string) (string, error) {
	args := append([]string{command}, flags...)
	if command == "output" || command == "runs" && slices.Contains(flags, "show") { // their arguments are names
		args = append(args, "-spec="+f.Spec)
	} else {
		args = append(args, f.Spec)
	}
	cmd := osexec.CommandContext(ctx, f.Program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) } // what it has begun it ends
	cmd.Env = append(os.Environ(), f.Env...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if f.Log != nil {
		cmd.Stderr = io.MultiWriter(&complaint, f.Log)
	}
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("flowctl %s: %w\n%s%s", command, err, &out, &complaint)
	}
	return out.String(), nil
}

// Apply applies the spec.
func (f Flow) Apply(ctx context.Context) error {
	flags := []string{"-auto-approve"}
	for _, v := range f.Vars {
		flags = append(flags, "-var", v)
	}
	_, err := f.Run(ctx, "apply", flags...)
	return err
}

// Destroy leaves nothing of the flow.
func (f Flow) Destroy(ctx context.Context) error {
	_, err := f.Run(ctx, "destroy", "-auto-approve")
	return err
}

// Output is the value of an output.
func (f Flow) Output(ctx context.Context, name string) (string, error) {
	out, err := f.Run(ctx, "output", "-raw", name)
	return strings.TrimSpace(out), err
}

// Controller is the folder of the flow's controller, where its socket is.
func (f Flow) Controller() string {
	return filepath.Join(filepath.Dir(f.Spec), ".flowctl", f.Name, "controller")
}

// Status asks the controller what it does.
func (f Flow) Status(ctx context.Context) (s api.Status, err error) {
	client := daemon.HTTPClient(f.Controller())
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://controller/v1/status", nil)
	if err != nil {
		return s, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// Follow asks again and again, until ctx ends. A controller that does not answer
// is asked again.
func (f Flow) Follow(ctx context.Context, every time.Duration, see func(api.Status)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ctx.Err() == nil {
		if s, err := f.Status(ctx); err == nil {
			see(s)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}
