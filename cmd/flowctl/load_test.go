package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/internal/load"
)

// sender is a flowctl load that sends requests at a steady rate until stopped.
type sender struct {
	cmd *osexec.Cmd
	out bytes.Buffer
	csv string
}

func (f flowctl) send(url string, rps int, flags ...string) *sender {
	f.t.Helper()
	s := &sender{csv: filepath.Join(f.t.TempDir(), "load.csv")}
	args := append([]string{"load", "-json", "-duration=0", "-timeout=20s", "-max-in-flight=1000", fmt.Sprintf("-base=%d", rps), "-csv=" + s.csv}, flags...)
	s.cmd = osexec.CommandContext(f.t.Context(), filepath.Join(plainDir, "flowctl"), append(args, url)...)
	s.cmd.Stdout, s.cmd.Stderr = &s.out, os.Stderr
	if err := s.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	return s
}

// sofar is the number of requests that were answered well until now.
func (s *sender) sofar() int {
	text, _ := os.ReadFile(s.csv)
	rows, _ := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if len(rows) == 0 {
		return 0
	}
	column, ok := slices.Index(rows[0], "ok"), 0
	for _, r := range rows[1:] {
		n, _ := strconv.Atoi(r[column])
		ok += n
	}
	return ok
}

func (s *sender) stop(t *testing.T) (r load.Report) {
	t.Helper()
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	s.cmd.Wait() // its status tells of failed requests, and so does the report
	if err := json.Unmarshal(s.out.Bytes(), &r); err != nil {
		t.Fatalf("%v: %s", err, &s.out)
	}
	return r
}

// enough is how many requests a test of whole traffic sends at the least.
const enough = 20_000

// Rolling updates, replicas that come and go, machines that come and go: no
// request fails, neither on kept connections nor on new ones.
func TestNoRequestFailsWhileEverythingChanges(t *testing.T) {
	f := flowctl{t: t, dir: t.TempDir(), name: "steady"}
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
	loads := map[string]*sender{
		"api, kept connections": f.send(api+"/fib/5", 700),
		"api, new connections":  f.send(api+"/fib/5", 120, "-new-connections"),
		"www through both":      f.send(www+"/api?n=5", 120),
	}
	changes, ok := 0, 0
	for round := 1; ok < enough; round++ {
		banner := fmt.Sprint(round)
		for _, c := range []struct{ api, web, machines int }{{2, 2, 2}, {4, 2, 2}, {3, 3, 3}, {2, 2, 2}} {
			spec(banner, c.api, c.web, c.machines)
			f.must("apply", "-auto-approve")
			changes++
		}
		ok = 0
		for _, l := range loads {
			ok += l.sofar()
		}
	}
	for name, l := range loads {
		r := l.stop(t)
		if r.Failed() > 0 || r.Cut > 0 {
			t.Errorf("%s: %d of %d failed, %d cut\n%s", name, r.Failed(), r.Sent, r.Cut, load.Summary(r))
		}
		if r.Replicas["function.api[0]"]+r.Replicas["function.web[0]"] == 0 {
			t.Errorf("%s: nothing went to the first replica: %v", name, r.Replicas)
		}
	}
	t.Logf("%d requests through %d changes", ok, changes)
	f.must("destroy", "-auto-approve")
	f.gone(0)
}
