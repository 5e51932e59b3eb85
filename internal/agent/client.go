package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/flowctl/flowctl/internal/daemon"
)

// Client talks to the agent of one folder. The errors of its methods wrap
// daemon.ErrNotRunning when there is no agent, and one of the errors of this
// package where a caller might act on it. Safe for concurrent use.
type Client struct {
	dir  string
	http *http.Client
}

// NewClient returns a client of the agent that owns dir, whether it runs or not.
func NewClient(dir string) *Client { return &Client{dir, daemon.HTTPClient(dir)} }

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Healthy says whether the agent runs and answers.
func (c *Client) Healthy(ctx context.Context) error {
	return c.look(ctx, "/v1/healthz", nil)
}

// Machine returns the machine as it is.
func (c *Client) Machine(ctx context.Context) (m MachineStatus, err error) {
	return m, c.look(ctx, "/v1/machine", &m)
}

// SetMachine changes the machine under its running replicas. Its Host can only
// change while it has none (ErrReplace).
func (c *Client) SetMachine(ctx context.Context, to Machine) (m MachineStatus, err error) {
	return m, c.do(ctx, http.MethodPut, "/v1/machine", to, &m)
}

// Put makes a replica and starts it, or changes the one of that name: its
// labels, limits, stop signal and grace, and its log's size, without a restart.
// A change of anything else is refused with ErrReplace. The same spec again does
// nothing. A spec that cannot run is refused with ErrInvalid, and leaves nothing.
func (c *Client) Put(ctx context.Context, spec ReplicaSpec) (s Status, err error) {
	if !safeName.MatchString(spec.Name) {
		return s, spec.withDefaults().validate()
	}
	return s, c.do(ctx, http.MethodPut, replicaPath(spec.Name), spec, &s)
}

// Get returns one replica, or ErrNotFound.
func (c *Client) Get(ctx context.Context, name string) (s Status, err error) {
	return s, c.look(ctx, replicaPath(name), &s)
}

// List returns all replicas, by name.
func (c *Client) List(ctx context.Context) ([]Status, error) {
	snap, err := c.Changes(ctx, 0)
	return snap.Replicas, err
}

// Changes waits for a revision later than after, and returns all replicas at
// that revision. After 0 is at once.
func (c *Client) Changes(ctx context.Context, after int64) (s Snapshot, err error) {
	path := "/v1/replicas?after=" + strconv.FormatInt(after, 10)
	if after == 0 {
		return s, c.look(ctx, path, &s)
	}
	return s, c.do(ctx, http.MethodGet, path, nil, &s)
}

// Restart ends a replica's process (signal, grace, SIGKILL) and starts another
// on the same port; it returns when that runs.
func (c *Client) Restart(ctx context.Context, name string) (s Status, err error) {
	return s, c.do(ctx, http.MethodPost, replicaPath(name)+"/restart", nil, &s)
}

// Ensure starts a replica now if it waits in back-off.
func (c *Client) Ensure(ctx context.Context, name string) (s Status, err error) {
	return s, c.do(ctx, http.MethodPost, replicaPath(name)+"/ensure", nil, &s)
}

// Signal sends a signal, by its name, to the program of a replica.
func (c *Client) Signal(ctx context.Context, name, signal string) error {
	return c.do(ctx, http.MethodPost, replicaPath(name)+"/signal?signal="+url.QueryEscape(signal), nil, nil)
}

// Suspend holds the processes of a replica where they are, until Resume.
func (c *Client) Suspend(ctx context.Context, name string) (s Status, err error) {
	return s, c.do(ctx, http.MethodPost, replicaPath(name)+"/suspend", nil, &s)
}

// Resume lets a replica's processes go on.
func (c *Client) Resume(ctx context.Context, name string) (s Status, err error) {
	return s, c.do(ctx, http.MethodPost, replicaPath(name)+"/resume", nil, &s)
}

// Remove stops a replica and deletes its files; it returns when it is gone.
// Removing what does not exist succeeds. It goes on when ctx ends.
func (c *Client) Remove(ctx context.Context, name string) error {
	err := c.do(ctx, http.MethodDelete, replicaPath(name), nil, nil)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Shutdown stops all replicas, each with its grace, and then the agent; it
// returns when the agent is gone. No agent is success.
func (c *Client) Shutdown(ctx context.Context) error {
	agent, err := daemon.Find(c.dir)
	if err == nil {
		err = c.do(ctx, http.MethodPost, "/v1/shutdown", nil, nil)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for err == nil {
		if _, err = daemon.Find(c.dir); err != nil && agent.Ended() {
			break
		}
		err = nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for machine agent to end: %w", context.Cause(ctx))
		}
	}
	if errors.Is(err, daemon.ErrNotRunning) {
		return nil
	}
	return err
}

// LogOptions says which lines of a log to return. The zero value is all that
// there are.
type LogOptions struct {
	Tail   int       // no more than the last so many; 0 = all, negative = none
	Since  time.Time // none older; zero = all
	Follow bool      // go on with new lines until the replica is removed
}

// Logs returns lines of a replica's log, over its restarts, the oldest first.
// The error, if any, comes last. A replica that a dead agent ran has its log
// until it is removed.
func (c *Client) Logs(ctx context.Context, name string, o LogOptions) iter.Seq2[LogLine, error] {
	return func(yield func(LogLine, error) bool) {
		q := url.Values{"tail": {strconv.Itoa(o.Tail)}, "follow": {strconv.FormatBool(o.Follow)}}
		if !o.Since.IsZero() {
			q.Set("since", o.Since.Format(time.RFC3339Nano))
		}
		resp, err := c.send(ctx, http.MethodGet, replicaPath(name)+"/logs?"+q.Encode(), nil)
		if err != nil {
			yield(LogLine{}, err)
			return
		}
		defer resp.Body.Close()
		if err := c.lines(ctx, resp, yield); err != nil {
			yield(LogLine{}, err)
		}
	}
}

// lines passes the records of a response on, until yield has enough.
func (c *Client) lines(ctx context.Context, resp *http.Response, yield func(LogLine, error) bool) error {
	r := bufio.NewReaderSize(resp.Body, maxRecord)
	for {
		record, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(record) == 0 {
			if text := resp.Trailer.Get(logErrorTrailer); text != "" {
				return errors.New(text)
			}
			return nil
		}
		if err != nil {
			return c.explain(ctx, fmt.Errorf("read log: %w", err))
		}
		line, err := parseRecord(bytes.TrimSuffix(record, []byte{'\n'}))
		if err != nil {
			return err
		}
		if !yield(line, nil) {
			return nil
		}
	}
}

func replicaPath(name string) string { return "/v1/replicas/" + url.PathEscape(name) }

// lookTimeout is how long an agent that only has to tell what it knows may take:
// one that is stopped or stuck must not hold up who asks all of them.
const lookTimeout = 10 * time.Second

func (c *Client) look(ctx context.Context, path string, out any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lookTimeout, fmt.Errorf("machine agent of %s does not answer (waited %s): is its process stopped?", c.dir, lookTimeout))
	defer cancel()
	return c.do(ctx, http.MethodGet, path, nil, out)
}

// do sends a request and reads the answer into out.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return c.explain(ctx, fmt.Errorf("read answer of machine agent: %w", err))
	}
	return nil
}

// send sends a request; an answer that is an error becomes one.
func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, body)
	if err != nil {
		return nil, err
	}
	if method != http.MethodPost {
		// May be sent again, say when a connection turns out to be one to an
		// earlier agent (see http.Transport).
		req.Header["X-Idempotency-Key"] = nil
	}
	resp, err := c.try(req)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var p problem
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || p.Error == "" {
		return nil, fmt.Errorf("machine agent answers %s", resp.Status)
	}
	return nil, p.err()
}

// try sends a request. An agent that owns its folder but does not listen is
// beginning or dying: that is waited for, and then the request is sent again if
// it cannot have been served or may be served twice.
func (c *Client) try(req *http.Request) (resp *http.Response, err error) {
	for range 5 {
		resp, err = c.http.Do(req)
		if err == nil || req.Context().Err() != nil || !c.settle(req.Context()) {
			break
		}
		unsent := errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
		if !unsent && req.Method == http.MethodPost {
			break
		}
		if req.GetBody != nil {
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
	}
	return resp, err
}

// socketPatience is how long a folder may be owned by an agent that does not
// listen: while it cleans up after a dead one, mostly.
const socketPatience = buryTimeout + 2*time.Second

// settle waits until the agent answers or is gone, and says which. A dying one
// may still take connections.
func (c *Client) settle(ctx context.Context) (answers bool) {
	ctx, cancel := context.WithTimeout(ctx, socketPatience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := daemon.Find(c.dir); errors.Is(err, daemon.ErrNotRunning) {
			return false
		}
		if req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/v1/healthz", nil); err == nil {
			if resp, err := c.http.Do(req); err == nil {
				resp.Body.Close()
				return true
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}

// explain turns an error of the connection into daemon.ErrNotRunning if that is
// what it means.
func (c *Client) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, gone := daemon.Find(c.dir); errors.Is(gone, daemon.ErrNotRunning) {
		return fmt.Errorf("machine agent of %s is %w", c.dir, gone)
	}
	return fmt.Errorf("ask machine agent of %s: %w", c.dir, err)
}
