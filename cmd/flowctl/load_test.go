package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flowctl/flowctl/internal/load"
)

// steady sends requests at a steady rate until stopped and returns the report.
func steady(ctx context.Context, t *testing.T, url string, rps float64, newConnections bool) func() load.Report {
	ctx, stop := context.WithCancel(ctx)
	done := make(chan load.Report, 1)
	go func() {
		c := load.Preset(load.Steady)
		c.Request.URL, c.Shape.BaseRPS, c.Shape.Duration = url, rps, 0
		c.Request.Timeout, c.Grace = 20*time.Second, 20*time.Second
		c.NewConnections, c.MaxInFlight = newConnections, 1000
		report, err := load.Run(ctx, c, func(load.Tick) {})
		if err != nil {
			t.Error(err)
		}
		done <- report
	}()
	return func() load.Report { stop(); return <-done }
}

// Rolling updates, replicas that come and go, machines that come and go: no
// request fails, neither on kept connections nor on new ones.
func TestNoRequestFailsWhileEverythingChanges(t *testing.T) {
	f := flowctl{t, t.TempDir(), "steady"}
	t.Cleanup(func() { killLeftovers(t, f.dir) })
	spec := func(banner string, api, web, machines int) {
		text := fmt.Sprintf(crashFlow, "steady", banner)
		text = strings.Replace(text, "replicas = 2", fmt.Sprintf("replicas = %d", api), 1)
		text = strings.Replace(text, "count  = 2", fmt.Sprintf("count  = %d", machines), 1)
		text = strings.Replace(text, `exec     = ["flowctl-demo", "api"]`, fmt.Sprintf("exec     = [\"flowctl-demo\", \"api\"]\n  env      = { BANNER = %q }", banner), 1)
		text = strings.Replace(text, `on     = vm.node`, fmt.Sprintf("on       = vm.node\n  replicas = %d", web), 1)
		text += "output \"api\" { value = frontend.api.url }\noutput \"www\" { value = frontend.www.url }\n"
		if err := os.WriteFile(filepath.Join(f.dir, "flow.hcl"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	spec("0", 2, 2, 2)
	f.must("apply", "-auto-approve")
	api, www := f.must("output", "-raw", "api"), f.must("output", "-raw", "www")
	loads := map[string]func() load.Report{
		"api, kept connections": steady(t.Context(), t, api+"/fib/5", 700, false),
		"api, new connections":  steady(t.Context(), t, api+"/fib/5", 100, true),
		"www through both":      steady(t.Context(), t, www+"/api?n=5", 100, false),
	}
	begun := time.Now()
	changes := 0
	for round := 1; time.Since(begun) < 24*time.Second; round++ {
		banner := fmt.Sprint(round)
		for _, c := range []struct{ api, web, machines int }{{2, 2, 2}, {4, 2, 2}, {3, 3, 3}, {2, 2, 2}} {
			spec(banner, c.api, c.web, c.machines)
			f.must("apply", "-auto-approve")
			changes++
		}
	}
	var ok int64
	for name, stop := range loads {
		r := stop()
		ok += r.OK
		if r.Failed() > 0 || r.Dropped > 0 || r.Cut > 0 {
			t.Errorf("%s: %d of %d failed, %d dropped, %d cut\n%s", name, r.Failed(), r.Sent, r.Dropped, r.Cut, load.Summary(r))
		}
		if r.Replicas["function.api[0]"]+r.Replicas["function.web[0]"] == 0 {
			t.Errorf("%s: nothing went to the first replica: %v", name, r.Replicas)
		}
	}
	t.Logf("%d requests through %d changes", ok, changes)
	if ok < 20000 {
		t.Errorf("only %d requests, want at least 20000", ok)
	}
	f.must("destroy", "-auto-approve")
	f.gone(0)
}
