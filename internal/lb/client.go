package lb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/flowctl/flowctl/internal/daemon"
)

// Client talks to the data plane of one folder. It is safe for concurrent use,
// and its death disturbs no traffic.
type Client struct {
	dir  string
	http *http.Client
}

// NewClient returns a client for the data plane that owns dir. It connects on
// first use; an error wraps daemon.ErrNotRunning when nothing answers there.
func NewClient(dir string) *Client { return &Client{dir: dir, http: daemon.HTTPClient(dir)} }

// Close closes the client's idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Apply puts s in force: what is new is opened, what changed is changed in
// place, what is missing is taken down. When it returns, no backend that is
// draining in s, or missing from it, is chosen any more, and the snapshot is on
// disk. A frontend that could not be opened is an error in Applied, and hinders
// no other. Errors: ErrInvalid, ErrStaleVersion.
func (c *Client) Apply(ctx context.Context, s Snapshot) (Applied, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return Applied{}, err
	}
	var a Applied
	err = c.do(ctx, http.MethodPut, "/v1/snapshot", bytes.NewReader(b), &a)
	return a, err
}

// Snapshot returns the snapshot in force and what became of it.
func (c *Client) Snapshot(ctx context.Context) (Saved, error) {
	var s Saved
	err := c.look(ctx, "/v1/snapshot", &s)
	return s, err
}

// Stats reads the data plane's counters.
func (c *Client) Stats(ctx context.Context) (Stats, error) {
	var s Stats
	err := c.look(ctx, "/v1/stats", &s)
	return s, err
}

// Answers is Stats with the latencies of all answers of each backend.
func (c *Client) Answers(ctx context.Context) (Stats, error) {
	var s Stats
	err := c.look(ctx, "/v1/stats?answers=true", &s)
	return s, err
}

// pollTime is the length of one long poll of WaitDrained.
const pollTime = 5 * time.Second

// WaitDrained returns nil once the backend is chosen by nobody and has nothing
// in flight; only then may it be stopped. A backend or frontend that is not
// known is drained. When ctx ends first, the error is a *NotDrainedError;
// ErrNotDraining says that no snapshot in force has it draining or missing.
func (c *Client) WaitDrained(ctx context.Context, frontend, backendID string) error {
	for {
		err := c.askDrained(ctx, frontend, backendID, pollTime)
		nd, waiting := errors.AsType[*NotDrainedError](err)
		switch {
		case err == nil, !waiting && ctx.Err() == nil:
			return err
		case ctx.Err() == nil:
			continue
		case waiting:
			return nd
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		return c.askDrained(last, frontend, backendID, 0) // time is up: how much is it now?
	}
}

func (c *Client) askDrained(ctx context.Context, frontend, backendID string, wait time.Duration) error {
	q := url.Values{"frontend": {frontend}, "backend": {backendID}, "wait": {wait.String()}}
	err := c.do(ctx, http.MethodGet, "/v1/drained?"+q.Encode(), nil, nil)
	if nd, ok := errors.AsType[*NotDrainedError](err); ok {
		nd.Frontend, nd.Backend = frontend, backendID
	}
	return err
}

// Shutdown asks the data plane to end: it accepts no more, and what is in flight
// may go on for grace. It returns at once; see daemon.Stop to wait.
func (c *Client) Shutdown(ctx context.Context, grace time.Duration) error {
	return c.do(ctx, http.MethodPost, "/v1/shutdown?grace="+grace.String(), nil, nil)
}

// lookTimeout is how long a data plane that only has to tell what it knows may
// take: one that is stopped or stuck must not hold up who asks.
const lookTimeout = 10 * time.Second

func (c *Client) look(ctx context.Context, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	err := c.do(ctx, http.MethodGet, path, nil, out)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("data plane in %s does not answer (waited %s): is its process stopped?", c.dir, lookTimeout)
	}
	return err
}

// do sends one request and decodes its answer into out, unless that is nil.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://daemon"+path, body)
	if err != nil {
		return err
	}
	res, err := c.http.Do(req)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			err = daemon.ErrNotRunning
		}
		return fmt.Errorf("data plane in %s: %w", c.dir, err)
	}
	defer res.Body.Close()
	if res.StatusCode >= 400 {
		return readError(res)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("answer of data plane in %s: %w", c.dir, err)
	}
	return nil
}

// readError turns an error of the control protocol back into what it was.
func readError(res *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	var e controlError
	if json.Unmarshal(b, &e) != nil || e.Text == "" {
		return fmt.Errorf("data plane: %s: %s", res.Status, strings.TrimSpace(string(b)))
	}
	if e.Kind == kindNotDrained {
		return &NotDrainedError{InFlight: e.InFlight}
	}
	if known := errorKinds[e.Kind]; known != nil {
		return &remoteError{e.Text, known}
	}
	return errors.New(e.Text)
}

// remoteError is a known error with the data plane's own words.
type remoteError struct {
	text string
	is   error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.is }
