package builtin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// Name is the name under which specs and state know this provider.
const Name = "builtin"

// Factory makes the provider.
var Factory = providers.Factory{
	Doc:   "Makes scaling rules, tasks and clusters. Blocks need not name it.",
	Kinds: []engine.Kind{engine.KindCluster, engine.KindScaling, engine.KindTask},
	New: func(_ context.Context, s providers.Settings) (providers.Provider, error) {
		return New(s), nil
	},
}

// New returns the provider.
func New(s providers.Settings) *providers.Native {
	t := tasks{dir: s.SpecDir, flow: s.Flow}
	return &providers.Native{Name: Name, Kinds: map[engine.Kind]providers.Resource{
		engine.KindScaling: providers.Of[engine.Scaling]{
			ReadFn: record[engine.Scaling],
			ApplyFn: func(_ context.Context, _ providers.Ref, want engine.Scaling, _ *engine.Scaling) (engine.Scaling, bool, error) {
				return want, true, nil
			},
			DeleteFn: func(context.Context, providers.Ref, engine.Scaling) error { return nil },
		},
		engine.KindTask: providers.Of[engine.Task]{
			ReadFn:   t.read,
			ApplyFn:  t.apply,
			DeleteFn: func(context.Context, providers.Ref, engine.Task) error { return nil },
			CheckFn:  t.check,
		},
	}}
}

// record reads what exists only in the state: it is as it was recorded.
func record[T any](_ context.Context, _ providers.Ref, known T) (T, providers.Status, error) {
	return known, providers.Status{}, nil
}

// tasks runs commands and sends requests.
type tasks struct {
	dir, flow string
}

// read finds a task that has run. One whose run was interrupted left no record
// of having run, and runs again.
func (t tasks) read(_ context.Context, _ providers.Ref, known engine.Task) (engine.Task, providers.Status, error) {
	if known.RunID == "" {
		return known, providers.Status{Presence: engine.Gone, Why: "it did not run to its end"}, nil
	}
	return known, providers.Status{}, nil
}

func (t tasks) apply(ctx context.Context, r providers.Ref, want engine.Task, _ *engine.Task) (engine.Task, bool, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, want.Timeout.Std(), fmt.Errorf("it took longer than %s", want.Timeout))
	defer cancel()
	var out string
	var err error
	if want.HTTP != nil {
		out, err = request(ctx, *want.HTTP, r)
	} else {
		out, err = t.command(ctx, want, r)
	}
	if err != nil {
		return want, false, err
	}
	want.Output, want.RunID = out, r.Operation
	return want, true, nil
}

// check finds a program that is not there.
func (t tasks) check(_ context.Context, a engine.Address, want engine.Task, _ *engine.Task) engine.Diagnostics {
	if want.HTTP != nil || len(want.Exec) == 0 || want.Exec[0] == "" {
		return nil
	}
	if _, err := t.find(want.Exec[0]); err != nil {
		return engine.Diagnostics{{Summary: "Program not found", Address: a,
			Detail: fmt.Sprintf("%s runs %q: %v. Give a path relative to the spec (with a slash), or a program on the PATH.", a, want.Exec[0], err)}}
	}
	return nil
}

// find resolves a program: with a slash from the spec's folder on, else on the
// PATH.
func (t tasks) find(program string) (string, error) {
	if strings.Contains(program, "/") && !filepath.IsAbs(program) {
		program = filepath.Join(t.dir, program)
	}
	path, err := osexec.LookPath(program)
	var e *osexec.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	return path, err
}

const outputLimit = 4 << 10

func (t tasks) command(ctx context.Context, want engine.Task, r providers.Ref) (string, error) {
	path, err := t.find(want.Exec[0])
	if err != nil {
		return "", fmt.Errorf("find program %q: %w", want.Exec[0], err)
	}
	cmd := osexec.Command(path, want.Exec[1:]...)
	cmd.Dir = t.dir
	if want.WorkingDir != "" {
		cmd.Dir = want.WorkingDir
		if !filepath.IsAbs(cmd.Dir) {
			cmd.Dir = filepath.Join(t.dir, cmd.Dir)
		}
	}
	cmd.Env = os.Environ()
	for _, k := range slices.Sorted(maps.Keys(want.Env)) {
		cmd.Env = append(cmd.Env, k+"="+want.Env[k])
	}
	cmd.Env = append(cmd.Env, "FLOWCTL_FLOW="+t.flow, "FLOWCTL_ADDRESS="+r.Address.String(), "FLOWCTL_OPERATION="+r.Operation)
	var out, errs tail
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a ^C at the terminal is ours to pass on
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("start %s: %w", path, err)
	}
	return t.wait(ctx, cmd, &out, &errs)
}

// wait waits for a command. When ctx ends, the command's process group is asked
// to end, and killed after five seconds.
func (t tasks) wait(ctx context.Context, cmd *osexec.Cmd, out, errs *tail) (string, error) {
	cmd.WaitDelay = time.Second
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		kill := time.AfterFunc(5*time.Second, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		<-ended
		kill.Stop()
		err = context.Cause(ctx)
	}
	if err != nil {
		text := strings.TrimSpace(errs.text())
		if text == "" {
			text = strings.TrimSpace(out.text())
		}
		if text != "" {
			text = "; it printed:\n    " + strings.ReplaceAll(text, "\n", "\n    ")
		}
		// A program says nothing about whether another attempt helps: retries do.
		return "", providers.Passing(fmt.Errorf("%s: %w%s", strings.Join(cmd.Args, " "), err, text))
	}
	return out.head(), nil
}

// tail keeps the beginning and the end of what is written to it.
type tail struct {
	first, last []byte
}

func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if room := outputLimit - len(t.first); room > 0 {
		t.first = append(t.first, p[:min(room, n)]...)
	}
	t.last = append(t.last, p...)
	if extra := len(t.last) - outputLimit; extra > 0 {
		t.last = append(t.last[:0:0], t.last[extra:]...)
	}
	return n, nil
}

func (t *tail) head() string { return clean(t.first) }
func (t *tail) text() string { return clean(t.last) }

// clean makes output safe to keep: valid UTF-8.
func clean(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return string(bytes.ToValidUTF8(b, []byte("�")))
}

func request(ctx context.Context, h engine.TaskHTTP, r providers.Ref) (string, error) {
	req, err := http.NewRequestWithContext(ctx, h.Method, h.URL, strings.NewReader(h.Body))
	if err != nil {
		return "", fmt.Errorf("request %s: %w", h.URL, err)
	}
	for k, v := range h.Headers {
		req.Header.Set(k, v)
	}
	req.Header.Set("Idempotency-Key", r.Operation)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", providers.Passing(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, outputLimit))
	if err != nil {
		return "", providers.Passing(fmt.Errorf("%s %s: read the answer: %w", h.Method, h.URL, err))
	}
	ok := resp.StatusCode >= 200 && resp.StatusCode <= 299
	if len(h.Expect) > 0 {
		ok = slices.Contains(h.Expect, resp.StatusCode)
	}
	if !ok {
		return "", providers.Passing(fmt.Errorf("%s %s answered %s: %s", h.Method, h.URL, resp.Status, strings.TrimSpace(clean(body[:min(len(body), 500)]))))
	}
	return clean(body), nil
}
