package spec_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/spec"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"pgregory.net/rapid"
)

// TestScrambledFlowsNeverPanic loads flows in which tokens and lines of the
// samples are exchanged, dropped and repeated.
func TestScrambledFlowsNeverPanic(t *testing.T) {
	var samples [][]string // lines
	var words []string     // tokens
	eachSample(t, func(_ string, text []byte) {
		samples = append(samples, strings.SplitAfter(string(text), "\n"))
		all, _ := hclsyntax.LexConfig(text, "a.hcl", hcl.InitialPos)
		for _, tok := range all {
			words = append(words, string(tok.Bytes))
		}
	})
	slices.Sort(words)
	words = slices.Compact(words)
	opts := options()
	rapid.Check(t, func(t *rapid.T) {
		lines := slices.Clone(rapid.SampledFrom(samples).Draw(t, "sample"))
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			i := rapid.IntRange(0, len(lines)-1).Draw(t, "line")
			switch rapid.IntRange(0, 3).Draw(t, "change") {
			case 0:
				other := rapid.SampledFrom(samples).Draw(t, "other")
				lines[i] = rapid.SampledFrom(other).Draw(t, "their line")
			case 1:
				lines = slices.Insert(lines, i, rapid.SampledFrom(lines).Draw(t, "again"))
			case 2:
				all, _ := hclsyntax.LexConfig([]byte(lines[i]), "a.hcl", hcl.InitialPos)
				var b strings.Builder
				at := rapid.IntRange(0, len(all)-1).Draw(t, "token")
				for j, tok := range all {
					if j == at {
						b.WriteString(rapid.SampledFrom(words).Draw(t, "word"))
					} else {
						b.Write(tok.Bytes)
					}
					b.WriteByte(' ')
				}
				lines[i] = b.String() + "\n"
			case 3:
				lines[i] = rapid.SampledFrom([]string{"}\n", "{\n", "\n", "\"\n", "<<EOT\n"}).Draw(t, "bracket")
			}
		}
		tryAll(t, strings.Join(lines, ""), opts)
	})
}

// tryAll loads a flow and evaluates all that comes of it.
func tryAll(t *rapid.T, text string, opts spec.Options) {
	d, ds := spec.Load(bundleOf(text), opts)
	for _, f := range ds {
		if f.Summary == "" || f.Detail == "" || f.Summary == "Expression not evaluable" {
			t.Fatalf("%+v in\n%s", f, text)
		}
	}
	for _, decl := range d.Decls {
		decl.Config.Eval(world{})
		decl.Config.Eval(nothing{})
	}
	for _, o := range d.Outputs {
		o.Config.Eval(world{})
		o.Config.Eval(nothing{})
	}
}

// TestStrangeExpressionsNeverPanic puts expressions of all kinds into all kinds
// of places.
func TestStrangeExpressionsNeverPanic(t *testing.T) {
	names := spec.FunctionNames()
	var functions []string
	for name := range names {
		functions = append(functions, name)
	}
	slices.Sort(functions)
	opts := options()
	rapid.Check(t, func(t *rapid.T) {
		constant := &expressions{t: t, functions: functions, leaves: constants}
		any := &expressions{t: t, functions: functions, leaves: slices.Concat(constants, references)}
		each := &expressions{t: t, functions: functions, leaves: slices.Concat(any.leaves, eaches)}
		bare := &expressions{t: t, functions: functions, leaves: slices.Concat(constants, unmadeNames)}
		text := fmt.Sprintf(strange, constant.expr(2), constant.expr(2), any.expr(2), any.expr(3), bare.expr(2), bare.expr(1),
			each.expr(3), any.expr(2), any.expr(3), any.expr(3), any.expr(2), any.expr(3))
		tryAll(t, text, opts)
	})
}

const strange = `
flow "x" {}
variable "n" { default = 3 }
variable "nil" { default = null }
variable "list" { default = ["a", "b", null] }
variable "any" { default = %s }
variable "typed" {
  type    = map(object({ a = optional(list(string), ["x"]), b = optional(number) }))
  default = %s
}
variable "secret" {
  default   = { a = "x", b = ["y"] }
  sensitive = true
}
variable "unset" { type = list(string) }
locals {
  a = %s
  b = %s
  c = { k = local.a, v = var.secret }
}
vm "one" {
  cpus   = 1
  memory = "1GiB"
}
vm "many" {
  for_each = %s
  cpus     = %s
  memory   = "1GiB"
  labels   = %s
}
function "f" {
  on   = %s
  exec = %s
  env  = { A = %s }
}
frontend "www" {
  listen = ":80"
  to     = %s
}
output "o" { value = %s }
`

// expressions draws expressions.
type expressions struct {
	t         *rapid.T
	functions []string
	leaves    []string
}

// The leaves of expressions: what may stand anywhere, what refers to resources,
// what is known before they are made, and what is known with for_each.
var (
	constants = []string{"null", "true", "0", "1", "-1", "1.5", "1e100", `""`, `"a"`, `"1"`, `"k"`, "[]", "{}", `["a", "b"]`,
		`toset(["a", "b"])`, `{ a = 1, b = "x" }`, `sensitive("s")`, `tomap({ a = "b" })`, "range(3)", `[sensitive(1), null]`, `{ a = { b = [null] } }`}
	unmadeNames = []string{"var.n", "var.nil", "var.list", "var.any", "var.typed", "var.secret", "var.secret.a", "var.unset", "flow.name"}
	references  = slices.Concat(unmadeNames, []string{"local.a", "local.b", "local.c", "local.c.v.b", "vm.one", "vm.one[0]", "vm.one[0].id", "vm.one[*].labels",
		"vm.many", `vm.many["a"]`, `vm.many["a"][0].labels["x"]`, "function.f", "function.f[0].env", "frontend.www", "frontend.www.url"})
	eaches = []string{"each.key", "each.value", "each.value.x", "each.value[0]", "vm.many[each.key]", "vm.one[each.value].id"}
)

func (g *expressions) pick(from ...string) string { return rapid.SampledFrom(from).Draw(g.t, "pick") }

func (g *expressions) expr(depth int) string {
	if depth == 0 {
		return g.leaf()
	}
	sub := func() string { return g.expr(rapid.IntRange(0, depth-1).Draw(g.t, "depth")) }
	switch rapid.IntRange(0, 13).Draw(g.t, "kind") {
	case 0:
		return fmt.Sprintf("[%s, %s]", sub(), sub())
	case 1:
		return fmt.Sprintf("{ %s = %s, (%s) = %s }", g.pick("a", "b", `"c d"`, "k"), sub(), sub(), sub())
	case 2, 3, 4:
		args := make([]string, rapid.IntRange(0, 3).Draw(g.t, "args"))
		for i := range args {
			args[i] = sub()
		}
		spread := ""
		if len(args) > 0 && rapid.IntRange(0, 9).Draw(g.t, "spread") == 0 {
			spread = "..."
		}
		return fmt.Sprintf("%s(%s%s)", rapid.SampledFrom(g.functions).Draw(g.t, "function"), strings.Join(args, ", "), spread)
	case 5:
		return fmt.Sprintf("(%s ? %s : %s)", sub(), sub(), sub())
	case 6:
		return fmt.Sprintf("[for %s in %s : %s%s]", g.pick("x", "k, v", "each", "vm", "local"), sub(), sub(), g.pick("", " if "+sub()))
	case 7:
		return fmt.Sprintf("{ for %s in %s : %s => %s%s }", g.pick("x", "k, v", "var"), sub(), sub(), sub(), g.pick("", "..."))
	case 8:
		return fmt.Sprintf("(%s)%s", sub(), g.pick("[*]", "[*].a", "[0]", ".a", `["b"]`, ".*.a", "[1].b", ".0"))
	case 9:
		return fmt.Sprintf("%s[%s]", rapid.SampledFrom(g.leaves).Draw(g.t, "of"), sub())
	case 10:
		return fmt.Sprintf("\"a${%s}b%%{ if %s }c%%{ else }${%s}%%{ endif }\"", sub(), sub(), sub())
	case 11:
		return fmt.Sprintf("\"%%{ for x in %s ~}${x}%%{ endfor }\"", sub())
	case 12:
		return fmt.Sprintf("%s %s %s", sub(), g.pick("+", "-", "*", "/", "%", "==", "!=", "<", "&&", "||"), sub())
	default:
		return fmt.Sprintf("%s%s", g.pick("-", "!"), sub())
	}
}

func (g *expressions) leaf() string {
	if rapid.IntRange(0, 30).Draw(g.t, "odd") == 0 {
		return g.pick("x", "k", "v", "vm", "var", "path.module", "each.key", "local.nothing")
	}
	return rapid.SampledFrom(g.leaves).Draw(g.t, "leaf")
}

// TestFlowsLoadInOrder draws well-formed flows of any shape: each loads without
// a fault, in an order in which everything comes after what it needs, and the
// same whatever the order of the blocks.
func TestFlowsLoadInOrder(t *testing.T) {
	opts := options()
	rapid.Check(t, func(t *rapid.T) {
		blocks := drawFlow(t)
		d, ds := spec.Load(bundleOf(strings.Join(blocks, "")), opts)
		if ds.HasErrors() {
			t.Fatalf("%v\n%s", ds.Err(), strings.Join(blocks, ""))
		}
		inOrder(t, d)
		shuffled := rapid.Permutation(blocks).Draw(t, "order of blocks")
		again, ds := spec.Load(bundleOf(strings.Join(shuffled, "")), opts)
		if ds.HasErrors() {
			t.Fatal(ds.Err())
		}
		if x, y := order(d), order(again); x != y {
			t.Fatalf("the order of the blocks decides about the plan:\n%s\n%s", x, y)
		}
	})
}

// order writes the declarations with their needs.
func order(d engine.Desired) string {
	var b strings.Builder
	for _, decl := range d.Decls {
		fmt.Fprint(&b, decl.Address)
		for _, n := range decl.Needs {
			fmt.Fprint(&b, " ", n.Target, n.Kind)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// inOrder is checkOrder for rapid, and checks that Serving makes no circle:
// with the functions behind a frontend as needs of those who need it served,
// the order still holds.
func inOrder(t *rapid.T, d engine.Desired) {
	done := map[engine.Address]bool{}
	behind := map[engine.Address][]engine.Address{}
	on := map[engine.Address][]engine.Address{}
	for _, f := range d.Functions {
		on[f.Address] = f.On
	}
	for _, decl := range d.Decls {
		for _, n := range decl.Needs {
			if n.Kind == engine.Member {
				behind[decl.Address] = append(behind[decl.Address], n.Target)
			}
		}
	}
	for _, decl := range d.Decls {
		needs := slices.Clone(on[decl.Address])
		for _, n := range decl.Needs {
			switch n.Kind {
			case engine.Serving:
				needs = append(needs, behind[n.Target]...)
				fallthrough
			case engine.Made:
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

// drawFlow draws blocks in layers: each refers to blocks of the layers below it.
// Functions may refer to any frontend, which makes circles of serving.
func drawFlow(t *rapid.T) []string {
	blocks := []string{"flow \"x\" {}\n", "locals {\n  keys = toset([\"a\", \"b\"])\n}\n"}
	var machines []string // references to values
	for i := range rapid.IntRange(1, 5).Draw(t, "machines") {
		each, ref := "", fmt.Sprintf("vm.m%d[0].id", i)
		if rapid.Bool().Draw(t, "for_each") {
			each, ref = "  for_each = local.keys\n", fmt.Sprintf("vm.m%d[%s][0].id", i, rapid.SampledFrom([]string{`"a"`, `"b"`}).Draw(t, "key"))
		}
		blocks = append(blocks, fmt.Sprintf("vm \"m%d\" {\n%s  cpus = 4\n  memory = \"4GiB\"\n%s}\n", i, each, labels(t, machines)))
		machines = append(machines, ref)
	}
	functions := rapid.IntRange(0, 6).Draw(t, "functions")
	frontends := 0
	if functions > 0 {
		frontends = rapid.IntRange(0, 4).Draw(t, "frontends")
	}
	values := slices.Clone(machines)
	for i := range frontends {
		to := rapid.IntRange(0, functions-1).Draw(t, "to")
		blocks = append(blocks, fmt.Sprintf("frontend \"w%d\" {\n  listen = \":%d\"\n  to = function.f%d\n}\n", i, 8000+i, to))
		values = append(values, fmt.Sprintf("frontend.w%d.url", i))
	}
	for i := range functions {
		on := rapid.IntRange(0, len(machines)-1).Draw(t, "on")
		body := strings.Replace(labels(t, values), "labels", "env", 1)
		for other := range i {
			if rapid.IntRange(0, 4).Draw(t, "also") == 0 {
				body += fmt.Sprintf("  %s = [function.f%d]\n", "depends_on", other)
				break
			}
		}
		blocks = append(blocks, fmt.Sprintf("function \"f%d\" {\n  on = vm.m%d\n%s}\n", i, on, body))
	}
	return blocks
}

// labels draws a map of references.
func labels(t *rapid.T, refs []string) string {
	if len(refs) == 0 || rapid.IntRange(0, 3).Draw(t, "no labels") == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("  labels = {\n")
	for i := range rapid.IntRange(1, 3).Draw(t, "labels") {
		fmt.Fprintf(&b, "    l%d = %s\n", i, rapid.SampledFrom(refs).Draw(t, "ref"))
	}
	b.WriteString("  }\n")
	return b.String()
}
