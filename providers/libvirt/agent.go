package libvirt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/flowctl/flowctl/providers"
)

// errSilent wraps the errors of a guest agent that does not answer: there is none,
// it has not started yet, or its machine does not run.
var errSilent = errors.New("the guest agent does not answer")

// agentPatience is how long one command to a guest agent may take. What a command
// starts in the guest may take longer: it is asked for until it has ended.
const agentPatience = 20 * time.Second

// ended is how a command in a guest ended, and what it printed: 16 MiB of each
// stream at most, which is what the agent keeps.
type ended struct {
	Status int // 128 and the signal's number if one ended it
	Out    []byte
	Err    []byte
}

// fault is the error of a command that failed, or nil.
func (e ended) fault(act string) error {
	if e.Status == 0 {
		return nil
	}
	said := readable(append(e.Out, e.Err...))
	return fmt.Errorf("%s: status %d in the guest:\n%s", act, e.Status, said)
}

// ask gives a guest's agent one command of its protocol (qemu-ga(8), QEMU's
// qga/qapi-schema.json) and returns what it answers. arguments may be nil.
func ask[T any](ctx context.Context, h hypervisor, domain, command string, arguments any) (T, error) {
	var got struct{ Return T }
	if ctx.Err() != nil {
		return got.Return, context.Cause(ctx)
	}
	text, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, arguments})
	if err != nil {
		return got.Return, err
	}
	answer, err := h.Agent(domain, string(text), agentPatience)
	if err != nil {
		return got.Return, err
	}
	if err := json.Unmarshal([]byte(answer), &got); err != nil {
		return got.Return, fmt.Errorf("read what the guest agent of domain %s answers to %s: %w", domain, command, err)
	}
	return got.Return, nil
}

// awake waits until a guest's agent answers, as long as ctx lasts.
func awake(ctx context.Context, h hypervisor, domain string) error {
	for p := (pause{10 * time.Millisecond, 500 * time.Millisecond}); ; {
		_, err := ask[struct{}](ctx, h, domain, "guest-ping", nil)
		if err != nil && ctx.Err() != nil {
			return fmt.Errorf("domain %s: %w: %w", domain, errSilent, context.Cause(ctx))
		}
		if err == nil || !errors.Is(err, errSilent) {
			return err
		}
		if over, err := startsOn(h, domain); err != nil {
			return err
		} else if over != "" {
			return providers.Permanent(fmt.Errorf("domain %s is %s before its guest agent has answered", domain, over))
		}
		if !p.wait(ctx) {
			return fmt.Errorf("domain %s: %w: %w", domain, err, context.Cause(ctx))
		}
	}
}

// runInGuest runs a program in a guest, with input on its standard input, and
// waits until it has ended. The error is that of asking, not the program's. When ctx
// ends before the program, nobody waits for it any more, and it runs on.
func runInGuest(ctx context.Context, h hypervisor, domain string, argv []string, input []byte) (ended, error) {
	if input == nil {
		input = []byte{} // null is none of the protocol
	}
	started, err := ask[struct{ PID int }](ctx, h, domain, "guest-exec", map[string]any{
		"path": argv[0], "arg": argv[1:], "input-data": input, "capture-output": true,
	})
	if err != nil {
		return ended{}, err
	}
	for p := (pause{5 * time.Millisecond, 250 * time.Millisecond}); ; {
		s, err := ask[execStatus](ctx, h, domain, "guest-exec-status", map[string]any{"pid": started.PID})
		if errors.Is(err, errSilent) && ctx.Err() == nil { // as of a machine that is paused for a moment
			if err := awake(ctx, h, domain); err != nil {
				return ended{}, err
			}
			continue
		}
		switch {
		case err != nil:
			return ended{}, err
		case s.Exited && s.Signal != 0:
			return ended{128 + s.Signal, s.Out, s.Err}, nil
		case s.Exited:
			return ended{s.ExitCode, s.Out, s.Err}, nil
		}
		if !p.wait(ctx) {
			return ended{}, fmt.Errorf("run %s in domain %s: %w", argv[0], domain, context.Cause(ctx))
		}
	}
}

// execStatus is what the agent tells of a program that it has started.
type execStatus struct {
	Exited   bool
	ExitCode int
	Signal   int
	Out      []byte `json:"out-data"` // base64 in JSON, as encoding/json has it
	Err      []byte `json:"err-data"`
}

// pause is a wait that grows each time, up to most.
type pause struct{ next, most time.Duration }

// wait waits, and reports false if ctx ended before.
func (p *pause) wait(ctx context.Context) bool {
	t := time.NewTimer(p.next)
	defer t.Stop()
	p.next = min(p.next*3/2, p.most)
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
