package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/flowctl/flowctl/internal/load"
	"github.com/flowctl/flowctl/internal/trial"
	"github.com/flowctl/flowctl/runtime/api"
	"github.com/tidwall/gjson"
)

// The rules of systems before flowctl, in examples/classics, make another replica, and
// the machine that it needs. How busy a processor can be made depends on who else
// uses it, so what counts as busy is next to nothing here, and times are shorter.
func TestClassics(t *testing.T) {
	for _, c := range []struct {
		name               string
		vars               []string
		replicas, machines int      // at least, once it is busy
		then               []string // variables with which it shrinks again, at the next apply; nil if it never does
	}{
		{"libvirt-autoscaler", []string{"overload=0.002"}, 2, 2, nil},
		{"vim-vmm", []string{"above=[0.0005, 0.001, 0.002]", "checks=4s"}, 4, 2, nil},
		{"tumblebug", []string{"out=0.002", "in=0.001", "tick=1s", "period=3s"}, 2, 2, []string{"out=0.99", "in=0.98", "tick=1s", "period=3s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join("../../examples/classics", c.name+".hcl"))
			if err != nil {
				t.Fatal(err)
			}
			f, url := spiked(t, c.name, string(text), append(c.vars, "listen=127.0.0.1:0")...)
			l := load.Preset(load.Steady)
			l.Request.URL, l.Request.Timeout, l.MaxInFlight = url+"/fib/24", 2*time.Minute, 100
			busy, rest := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() {
				r, err := load.Run(busy, l, nil)
				if err != nil || r.Failed() > 0 {
					t.Errorf("%v\n%s", err, load.Summary(r))
				}
			})
			until := func(what string, holds func(replicas, machines int) bool) {
				t.Helper()
				sized(t, f, what, holds)
			}
			until("it does not grow", func(r, m int) bool { return r >= c.replicas && m >= c.machines })
			rest()
			wg.Wait()
			if c.then != nil {
				f.Vars = append(c.then, "listen=127.0.0.1:0")
				if err := f.Apply(t.Context()); err != nil {
					t.Fatal(err)
				}
				until("it does not shrink", func(r, _ int) bool { return r == 1 })
			}
			if err := f.Destroy(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// sized waits until the sizes of a flow with two rules are as they should be.
func sized(t *testing.T, f trial.Flow, what string, holds func(replicas, machines int) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	var last api.Status
	held := false
	f.Follow(ctx, 200*time.Millisecond, func(s api.Status) {
		sizes := map[string]int{}
		for _, r := range s.Rules {
			sizes[r.Target[:3]] = r.Decision.Ready
		}
		if last = s; len(s.Rules) == 2 && holds(sizes["fun"], sizes["vm."]) {
			held = true
			cancel()
		}
	})
	if !held {
		t.Errorf("%s: %+v", what, last)
	}
}

// The rule for a queue, too, with a broker's: from nothing, and back to nothing when
// every job is done.
func TestClassicQueue(t *testing.T) {
	t.Parallel()
	broker, monitor := startBroker(t)
	text, err := os.ReadFile("../../examples/classics/queue.hcl")
	if err != nil {
		t.Fatal(err)
	}
	f := tried(t, "queue", string(text), "broker="+broker, "monitor="+monitor, "sample=1s", "decide=3s")
	sized(t, f, "something runs although there are no jobs", func(r, m int) bool { return r == 0 && m == 0 })
	const jobs = 16
	submit := osexec.CommandContext(t.Context(), filepath.Join(demoDir, "flowctl-demo"), "submit", "-broker="+broker, "-jobs", fmt.Sprint(jobs), "-job=2s")
	if out, err := submit.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sized(t, f, "it does not grow", func(r, m int) bool { return r >= 2 && m >= 2 })
	sized(t, f, "it does not come to rest", func(r, m int) bool { return r == 0 && m == 0 })
	if n := gjson.Get(get(t, monitor+"/jsz?streams=true&consumers=true"), "account_details.0.stream_detail.0.consumer_detail.0.ack_floor.stream_seq").Int(); n != jobs {
		t.Errorf("%d of %d jobs are done", n, jobs)
	}
	if err := f.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
}

// startBroker starts a NATS server of its own, and returns where it and its monitor
// answer.
func startBroker(t *testing.T) (broker, monitor string) {
	t.Helper()
	program, err := osexec.LookPath("nats-server")
	if cache, _ := os.UserCacheDir(); err != nil {
		program = filepath.Join(cache, "flowctl", "bin", "nats-server")
	}
	if _, err := os.Stat(program); err != nil {
		t.Skip("there is no nats-server here; hack/setup fetches one")
	}
	dir := t.TempDir()
	cmd := osexec.Command(program, "-a=127.0.0.1", "-p=-1", "-m=-1", "-js", "-sd="+dir, "--ports_file_dir="+dir)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	ports := filepath.Join(dir, fmt.Sprintf("nats-server_%d.ports", cmd.Process.Pid))
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		text, _ := os.ReadFile(ports)
		if urls := gjson.ParseBytes(text); urls.Get("nats.0").Exists() && urls.Get("monitoring.0").Exists() {
			return urls.Get("nats.0").String(), urls.Get("monitoring.0").String()
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the broker does not start: %v\n%s", err, &log)
		case <-tick.C:
		}
	}
}

// get is what an address answers.
func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
