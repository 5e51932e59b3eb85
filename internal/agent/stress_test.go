package agent_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flowctl/flowctl/internal/agent"
	"github.com/flowctl/flowctl/internal/daemon"
)

// Many clients do everything at once to few replicas, processes are killed under
// the agent, and it is shut down, or killed, in the midst of it. Every answer is
// a success or an expected refusal, and nothing is left.
func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"shut down", "killed"} {
		modes(t, func(t *testing.T, mode string) {
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d, %s", seed, how)
			m := start(t, mode, agent.Machine{CPUs: 2})
			ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
			defer cancel()
			var clients sync.WaitGroup
			for i := range uint64(8) {
				clients.Go(func() { m.meddle(ctx, t, rand.New(rand.NewPCG(seed, i)), 40) })
			}
			clients.Wait()
			if err := m.Healthy(ctx); err != nil {
				t.Fatal(err)
			}
			for i := range uint64(8) { // these run into the end
				clients.Go(func() { m.meddle(ctx, t, rand.New(rand.NewPCG(seed, 100+i)), 1000) })
			}
			m.until(t, "r0", "has been restarted", func(st agent.Status) bool { return st.Restarts > 0 })
			if how == "killed" {
				m.kill9(t)
				clients.Wait()
				if _, err := agent.Sweep(ctx, m.dir); err != nil {
					t.Error(err)
				}
				return
			}
			if err := m.Shutdown(ctx); err != nil {
				t.Error(err)
			}
			clients.Wait()
		})
	}
}

// meddle does n things at random, or fewer when the agent goes away.
func (m machine) meddle(ctx context.Context, t *testing.T, chance *rand.Rand, n int) {
	spec := agent.ReplicaSpec{StopGrace: 20 * time.Millisecond, LogMaxBytes: 8192}
	programs := [][]string{{"/bin/sleep", "1000"}, sh("echo hello; sleep 0.02; exit 1"), sh("trap '' TERM; setsid sleep 1000 & while :; do echo deaf; sleep 0.01; done"), {"/no/such"}}
	for range n {
		which := chance.IntN(4)
		spec.Name, spec.Exec = fmt.Sprint("r", which), programs[which]
		spec.CPU = float64(chance.IntN(3))
		var err error
		switch chance.IntN(12) {
		case 0, 1, 2:
			_, err = m.Put(ctx, spec)
		case 3:
			err = m.Remove(ctx, spec.Name)
		case 4:
			_, err = m.Restart(ctx, spec.Name)
		case 5:
			_, err = m.Ensure(ctx, spec.Name)
		case 6:
			var st agent.Status
			if st, err = m.Get(ctx, spec.Name); err == nil && st.PID > 0 {
				syscall.Kill(st.PID, syscall.SIGKILL)
			}
		case 7:
			_, err = m.SetMachine(ctx, agent.Machine{Host: "127.0.0.1", CPUs: 1 + chance.Float64()})
		case 8:
			for _, err = range m.Logs(ctx, spec.Name, agent.LogOptions{Tail: 5}) {
				if err != nil {
					break
				}
			}
		case 10:
			_, err = m.Suspend(ctx, spec.Name)
		case 11:
			_, err = m.Resume(ctx, spec.Name)
		case 9: // a client that loses patience
			short, cancel := context.WithTimeout(ctx, time.Duration(chance.IntN(5))*time.Millisecond)
			_, err = m.Restart(short, spec.Name)
			cancel()
			if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
				err = nil
			}
		}
		switch {
		case errors.Is(err, daemon.ErrNotRunning):
			return
		case err == nil, errors.Is(err, agent.ErrNotFound), errors.Is(err, agent.ErrBusy), errors.Is(err, agent.ErrInvalid):
		case !alive(m.status.PID): // it died under the request
			return
		default:
			t.Errorf("%s: %v", spec.Name, err)
			return
		}
		if _, err := os.Stat(m.dir); err != nil {
			return
		}
	}
}
