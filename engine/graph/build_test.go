package graph_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/graph"
	"github.com/flowctl/flowctl/engine/plan"
	"github.com/flowctl/flowctl/spec"
	"github.com/zclconf/go-cty/cty"
	"golang.org/x/tools/txtar"
)

func desired(t testing.TB, text string) engine.Desired {
	t.Helper()
	d, diags := spec.Load(spec.Bundle{Dir: "/", Files: []spec.File{{Name: "test.hcl", Bytes: []byte("flow \"test\" {}\n" + text)}}}, spec.Options{
		Providers:       map[string]*engine.Schema{"sim": engine.SchemaOf[struct{}](), "builtin": engine.SchemaOf[struct{}]()},
		DefaultProvider: "sim", Builtin: "builtin", Balancer: "sim",
	})
	if diags.HasErrors() {
		t.Fatal(diags.Err())
	}
	return d
}

// made is the state after a plan has been carried out, as a provider would have
// filled it in.
func made(t testing.TB, p engine.Plan) engine.Snapshot {
	t.Helper()
	var s engine.Snapshot
	for _, c := range p.Changes {
		if c.Action == engine.Delete {
			continue
		}
		attrs := c.Planned.AsValueMap()
		for name, a := range attrs {
			if !a.IsKnown() {
				attrs[name] = cty.NullVal(a.Type())
				if a.Type() == cty.String {
					attrs[name] = cty.StringVal(fmt.Sprintf("%s of %s #%d", name, c.Address, c.Gen))
				}
			}
		}
		s.Objects = append(s.Objects, engine.Object{Address: c.Address, Gen: c.Gen, Provider: c.Provider, Value: cty.ObjectVal(attrs), Needs: engine.NeedsOf(c.Needs)})
	}
	s.Sort()
	return s
}

func compute(t testing.TB, d engine.Desired, s engine.Snapshot) engine.Plan {
	t.Helper()
	p, diags := plan.Compute(plan.Input{Desired: d, Recorded: s, Destroy: len(d.Decls) == 0})
	if diags.HasErrors() {
		t.Fatal(diags.Err())
	}
	return p
}

// settle computes and carries out plans until nothing changes: an edge such as
// a backend's depends on what was made before it.
func settle(t testing.TB, d engine.Desired) engine.Snapshot {
	t.Helper()
	var s engine.Snapshot
	for range 5 {
		p := compute(t, d, s)
		if p.Empty() {
			return s
		}
		s = made(t, p)
	}
	t.Fatal("it does not settle")
	return s
}

// show lists steps with what they wait for: "create function.web[0] #2 < gate …".
func show(steps []engine.Step) string {
	var b strings.Builder
	name := func(s engine.Step) string {
		if s.Op == engine.OpGate || s.Op == engine.OpShift || s.Op == engine.OpJudge {
			return s.Name()
		}
		return fmt.Sprintf("%s #%d", s.Name(), s.Gen)
	}
	for _, s := range steps {
		b.WriteString(name(s))
		for i, n := range s.Needs {
			b.WriteString(map[bool]string{true: " < ", false: ", "}[i == 0] + name(steps[n]))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// TestBuild goes through testdata: from one spec to another, the steps in order.
// Rewrite the expectations with UPDATE=1, and read what changed.
func TestBuild(t *testing.T) {
	archives, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range archives {
		if !strings.HasSuffix(a.Name(), ".txtar") {
			continue
		}
		t.Run(strings.TrimSuffix(a.Name(), ".txtar"), func(t *testing.T) {
			path := "testdata/" + a.Name()
			ar, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files := map[string]*txtar.File{}
			for i := range ar.Files {
				files[ar.Files[i].Name] = &ar.Files[i]
			}
			var s engine.Snapshot
			if f := files["from.hcl"]; f != nil {
				s = settle(t, desired(t, string(f.Data)))
			}
			to := engine.Desired{Flow: "test"}
			if f := files["to.hcl"]; f != nil {
				to = desired(t, string(f.Data))
			}
			p := compute(t, to, s)
			steps, err := graph.Build(p)
			if err != nil {
				t.Fatal(err)
			}
			got := show(steps)
			for range 50 { // maps are walked in another order each time
				if steps, err := graph.Build(p); err != nil || show(steps) != got {
					t.Fatalf("the same plan gave other steps (%v):\n%s\nand before:\n%s", err, show(steps), got)
				}
			}
			if os.Getenv("UPDATE") != "" {
				files["want.txt"].Data = []byte(got)
				if err := os.WriteFile(path, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(files["want.txt"].Data); got != want {
				t.Errorf("steps:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// A backend of a successor that is gone again, beside the one of the replica that
// there is: where that has to leave first, its backend cannot wait.
func TestALeftoverLeavesWithWhatItStandsOn(t *testing.T) {
	text := `vm "n" {
  cpus   = 1
  memory = "1GiB"
  slots  = 1
}
function "f" {
  on   = vm.n
  exec = ["x"]
  env  = { V = "1" }
}
frontend "w" {
  listen = "127.0.0.1:80"
  to     = function.f
}
`
	s := settle(t, desired(t, text))
	for _, o := range s.Objects {
		if o.Address.Kind == engine.KindBackend {
			o.Gen++
			o.Value = engine.With(o.Value, map[string]cty.Value{"replica_id": cty.StringVal("gone")})
			s.Objects = append(s.Objects, o)
			break
		}
	}
	s.Sort()
	steps, err := graph.Build(compute(t, desired(t, strings.Replace(text, `V = "1"`, `V = "2"`, 1)), s))
	if err != nil {
		t.Fatal(err)
	}
	if got := show(steps); !strings.Contains(got, "delete function.f[0]") {
		t.Errorf("steps:\n%s", got)
	}
}

// A replica that comes back waits for those that it calls unless some of them serve. What
// it is to be told of, a new revision of them, it waits for in any case.
func TestARepairWaitsForNobodyBesideWhomOthersServe(t *testing.T) {
	const text = `vm "n" {
  cpus   = 4
  memory = "1GiB"
}
function "api" {
  on       = vm.n
  replicas = 2
  exec     = ["api"]
  env      = { V = "1" }
}
frontend "api" {
  listen = "127.0.0.1:81"
  to     = function.api
}
function "web" {
  on       = vm.n
  replicas = 2
  exec     = ["web"]
  env      = { API = frontend.api.url }
}
task "check" {
  when = "always"
  exec = ["check"]
  env  = { API = frontend.api.url }
}
`
	web, api := engine.Addr(engine.KindFunction, "web"), engine.Addr(engine.KindFunction, "api")
	for _, c := range []struct {
		name         string
		lost, broken []engine.Address
		more, v      string
		waits        bool
	}{
		{"one is lost", []engine.Address{web.At(1), api.At(1)}, nil, "2", "1", false},
		{"one does not work", []engine.Address{web.At(1)}, []engine.Address{api.At(1)}, "2", "1", false},
		{"one is more", []engine.Address{web.At(1)}, nil, "3", "1", false},
		{"all are lost", []engine.Address{web.At(1), api.At(0), api.At(1)}, nil, "2", "1", true},
		{"one is lost, one does not work", []engine.Address{web.At(1), api.At(0)}, []engine.Address{api.At(1)}, "2", "1", true},
		{"one is lost, and it is a new revision", []engine.Address{web.At(1), api.At(1)}, nil, "2", "2", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := plan.Input{Recorded: settle(t, desired(t, text)), Observed: map[engine.Key]engine.Observation{}}
			in.Desired = desired(t, strings.NewReplacer("replicas = 2\n  exec     = [\"api\"]", "replicas = "+c.more+"\n  exec = [\"api\"]", `V = "1"`, fmt.Sprintf("V = %q", c.v)).Replace(text))
			for i := range in.Recorded.Objects {
				o := &in.Recorded.Objects[i]
				obs := engine.Observation{Presence: engine.Present, Object: *o}
				if slices.Contains(c.lost, o.Address) {
					obs.Presence = engine.Gone
				} else if slices.Contains(c.broken, o.Address) {
					obs.Presence = engine.Down
				}
				in.Observed[o.Key()] = obs
			}
			p, diags := plan.Compute(in)
			if diags.HasErrors() {
				t.Fatal(diags.Err())
			}
			steps, err := graph.Build(p)
			if err != nil {
				t.Fatal(err)
			}
			if got := waitsFor(steps, engine.OpCreate, web.At(1), api); got != c.waits {
				t.Errorf("it waits: %v\n%s", got, show(steps))
			}
			if len(c.broken) == 0 && !waitsFor(steps, engine.OpRun, engine.Addr(engine.KindTask, "check"), api) {
				t.Errorf("a task does not wait for all\n%s", show(steps))
			}
		})
	}
}

// waitsFor reports whether a step comes after any that is about a replica of a function.
func waitsFor(steps []engine.Step, op engine.Op, a, function engine.Address) bool {
	before := map[int]bool{}
	for i := range slices.Backward(steps) {
		if s := &steps[i]; before[i] || s.Op == op && s.Address == a {
			if s.Op != engine.OpGate && s.Address.Group() == function {
				return true
			}
			for _, n := range s.Needs {
				before[n] = true
			}
		}
	}
	return false
}

func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := compute(b, desired(b, fmt.Sprintf("vm \"n\" {\n count = %d\n cpus = 1\n memory = \"1GiB\"\n}\nfunction \"f\" {\n on = vm.n\n replicas = %d\n exec = [\"x\"]\n}\nfrontend \"w\" {\n listen = \"127.0.0.1:80\"\n to = function.f\n}\n", n/10, n/2)), engine.Snapshot{})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := graph.Build(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
