package spec_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// TestMeanings compares what good flows ask for with what is expected: the
// declarations in order with what they need, the groups, and the values, as far
// as they are known before anything is made and then in a world that the case
// describes (in the file "world": lines of an address and an object).
func TestMeanings(t *testing.T) {
	archives, err := filepath.Glob("testdata/good/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no archives", err)
	}
	for _, path := range archives {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		path, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		family := strings.TrimSuffix(filepath.Base(path), ".txtar")
		got := map[string]string{}
		for _, c := range casesOf(a) {
			t.Run(family+"/"+c.name, func(t *testing.T) {
				d, ds, sources := c.load(t)
				if ds.HasErrors() {
					t.Fatal(transcript(ds, sources))
				}
				got[c.name] = transcript(ds, sources) + facts(d, worldOf(t, string(c.files["world"])))
				checkOrder(t, d)
				if !*update && got[c.name] != c.want {
					t.Errorf("facts:\n%s\nwant:\n%s", got[c.name], c.want)
				}
			})
		}
		if *update {
			if err := os.WriteFile(path, txtar.Format(updated(a, got)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// world is what has been made, by address.
type world map[engine.Address]cty.Value

func worldOf(t *testing.T, text string) world {
	w := world{}
	groups := map[engine.Address][]cty.Value{}
	for line := range strings.Lines(text) {
		name, object, _ := strings.Cut(strings.TrimSpace(line), " ")
		a, err := engine.ParseAddress(name)
		if err != nil {
			t.Fatal(err)
		}
		typ, err := ctyjson.ImpliedType([]byte(object))
		if err != nil {
			t.Fatal(err)
		}
		v, err := ctyjson.Unmarshal([]byte(object), typ)
		if err != nil {
			t.Fatal(err)
		}
		w[a] = v
		if _, ok := a.Index(); ok {
			groups[a.Group()] = append(groups[a.Group()], v)
		}
	}
	for a, all := range groups {
		w[a] = cty.TupleVal(all)
	}
	return w
}

// Value implements engine.Values.
func (w world) Value(a engine.Address) cty.Value {
	if v, ok := w[a]; ok {
		return v
	}
	return cty.DynamicVal
}

// facts writes all that a Desired says.
func facts(d engine.Desired, w world) string {
	var b strings.Builder
	fmt.Fprintf(&b, "flow %s", d.Flow)
	if d.Description != "" {
		fmt.Fprintf(&b, " %q", d.Description)
	}
	if d.Parallelism != 0 {
		fmt.Fprintf(&b, " parallelism=%d", d.Parallelism)
	}
	if l := d.Limits; l.Phases()[engine.Provision]+l.Phases()[engine.Deploy]+l.Phases()[engine.Stitch]+l.Phases()[engine.Tune]+len(l.Providers) > 0 {
		fmt.Fprintf(&b, " limits=%v", l)
	}
	b.WriteString("\n")
	for _, p := range d.Providers {
		fmt.Fprintf(&b, "provider %s%s\n", p.Name, show(p.Config))
	}
	for _, decl := range d.Decls {
		declFacts(&b, decl, w)
	}
	for _, m := range d.Machines {
		fmt.Fprintf(&b, "machines %s: %s of %s", m.Address, bounds(m.Count), capacity(m.Each))
		if m.Headroom > 0 {
			fmt.Fprintf(&b, ", %d free", m.Headroom)
		}
		b.WriteString("\n")
	}
	for _, f := range d.Functions {
		functionFacts(&b, f)
	}
	for _, o := range d.Outputs {
		fmt.Fprintf(&b, "output %s", o.Name)
		if o.Description != "" {
			fmt.Fprintf(&b, " %q", o.Description)
		}
		evaluations(&b, o.Config, w)
	}
	return b.String()
}

func declFacts(b *strings.Builder, d engine.Decl, w world) {
	b.WriteString(d.Address.String())
	if d.Provider != "" {
		b.WriteString(" by " + d.Provider)
	}
	for _, n := range d.Needs {
		kind := map[engine.NeedKind]string{engine.Made: "needs", engine.Serving: "needs serving", engine.Member: "balances to"}[n.Kind]
		fmt.Fprintf(b, ", %s %s (line %d)", kind, n.Target, n.Source.Start.Line)
	}
	if d.Timeouts != (engine.Timeouts{}) {
		fmt.Fprintf(b, ", timeouts %s %s %s", d.Timeouts.Create, d.Timeouts.Update, d.Timeouts.Delete)
	}
	if d.Address.Kind == engine.KindFunction && !reflect.DeepEqual(d.Roll, engine.DefaultUpdate) {
		fmt.Fprintf(b, ", rolls %+v", d.Roll)
	}
	evaluations(b, d.Config, w)
}

// evaluations writes a value with nothing known, and in the world, if that
// differs.
func evaluations(b *strings.Builder, c engine.Config, w world) {
	v, ds := c.Eval(world{})
	before := show(v) + problems(ds)
	v, ds = c.Eval(w)
	after := show(v) + problems(ds)
	b.WriteString(before + "\n")
	if after != before {
		b.WriteString("  then" + after + "\n")
	}
}

func problems(ds engine.Diagnostics) string {
	text := ""
	for _, d := range ds {
		text += "\n    " + d.String()
	}
	return text
}

// show writes a value on lines of its own, without what is null.
func show(v cty.Value) string {
	text := render(v)
	if text == "{}" {
		return ""
	}
	return "\n    " + text
}

func render(v cty.Value) string {
	bare, marks := v.Unmark()
	prefix := ""
	if _, ok := marks[engine.Sensitive]; ok {
		prefix = "sensitive "
	}
	t := bare.Type()
	switch {
	case bare.IsNull():
		return prefix + "null"
	case !bare.IsKnown():
		if t == cty.DynamicPseudoType {
			return prefix + "?"
		}
		return prefix + "?" + t.FriendlyName()
	case t == cty.String:
		return prefix + strconv.Quote(bare.AsString())
	case t == cty.Number:
		return prefix + bare.AsBigFloat().Text('g', 10)
	case t == cty.Bool:
		return prefix + fmt.Sprint(bare.True())
	case t.IsObjectType() || t.IsMapType():
		var parts []string
		all := bare.AsValueMap()
		for _, k := range slices.Sorted(maps.Keys(all)) {
			if e, _ := all[k].Unmark(); t.IsMapType() || !e.IsNull() && !isEmpty(e) {
				parts = append(parts, k+": "+render(all[k]))
			}
		}
		return prefix + "{" + strings.Join(parts, ", ") + "}"
	case t.IsListType() || t.IsTupleType() || t.IsSetType():
		var parts []string
		for it := bare.ElementIterator(); it.Next(); {
			_, e := it.Element()
			parts = append(parts, render(e))
		}
		return prefix + "[" + strings.Join(parts, ", ") + "]"
	default:
		return prefix + v.GoString()
	}
}

func isEmpty(v cty.Value) bool {
	return v.IsKnown() && v.Type().IsListType() && v.Type().ElementType().IsObjectType() && v.LengthInt() == 0
}

func bounds(b engine.Bounds) string {
	if b.Autoscaled {
		return fmt.Sprintf("%d..%d", b.Min, b.Max)
	}
	return strconv.Itoa(b.Min)
}

func capacity(c engine.Capacity) string {
	return fmt.Sprintf("cpu %g, memory %s, slots %d", c.CPU, c.Memory, c.Slots)
}

func functionFacts(b *strings.Builder, f engine.FunctionGroup) {
	fmt.Fprintf(b, "replicas %s: %s of %s on %v", f.Address, bounds(f.Replicas), capacity(f.Each), f.On)
	if f.Spread {
		b.WriteString(", spread")
	}
	if f.MaxPerMachine > 0 {
		fmt.Fprintf(b, ", at most %d each", f.MaxPerMachine)
	}
	if len(f.Colocate) > 0 {
		fmt.Fprintf(b, ", near %v", f.Colocate)
	}
	if len(f.Avoid) > 0 {
		fmt.Fprintf(b, ", apart from %v", f.Avoid)
	}
	b.WriteString("\n")
}

// checkOrder checks that each declaration comes after those that it needs, and
// functions after their machines.
func checkOrder(t testing.TB, d engine.Desired) {
	t.Helper()
	done := map[engine.Address]bool{}
	on := map[engine.Address][]engine.Address{}
	for _, f := range d.Functions {
		on[f.Address] = f.On
	}
	for _, decl := range d.Decls {
		if done[decl.Address] {
			t.Fatalf("%s is declared twice", decl.Address)
		}
		needs := slices.Clone(on[decl.Address])
		for _, n := range decl.Needs {
			if n.Kind != engine.Member {
				needs = append(needs, n.Target.Group())
			}
		}
		for _, a := range needs {
			if !done[a] {
				t.Fatalf("%s comes before %s, which it needs", decl.Address, a)
			}
		}
		done[decl.Address] = true
	}
}
