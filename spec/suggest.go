package spec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty/function"
)

// synonyms are names that users of other tools try first.
var synonyms = map[string]map[string]string{
	"vm":         {"replicas": "count", "cpu": "cpus", "vcpus": "cpus", "vcpu": "cpus", "cores": "cpus", "ram": "memory", "size": "memory", "tags": "labels"},
	"host":       {"cpu": "cpus", "ram": "memory", "connection": "engine", "tags": "labels"},
	"function":   {"count": "replicas", "scale": "replicas", "command": "exec", "cmd": "exec", "args": "exec", "environment": "env", "machine": "on", "host": "on", "vm": "on", "cpus": "cpu", "ports": "port", "healthcheck": "health", "readiness": "health", "tags": "labels"},
	"frontend":   {"bind": "listen", "port": "listen", "backend": "to", "target": "to", "function": "to", "algorithm": "balance", "policy": "balance"},
	"route":      {"target": "to", "function": "to", "backend": "to", "prefix": "strip_prefix"},
	"split":      {"target": "to", "function": "to", "percent": "weight"},
	"cluster":    {"heads": "head", "master": "head", "controller": "head", "worker": "workers", "nodes": "workers", "members": "workers", "ssh": "ssh_mesh", "hosts": "hosts_file"},
	"scaling":    {"function": "target", "vm": "target", "minimum": "min", "maximum": "max", "interval": "every"},
	"metric":     {"type": "source", "utilization": "utilisation", "threshold": "target"},
	"task":       {"command": "exec", "cmd": "exec", "run": "exec", "url": "http", "trigger": "triggers", "stage": "phase"},
	"image":      {"name": "ref", "image": "ref", "dockerfile": "build", "file": "archive", "tag": "ref"},
	"network":    {"subnet": "cidr", "address": "cidr", "range": "cidr"},
	"health":     {"path": "http", "url": "http", "port": "tcp", "command": "exec", "period": "interval"},
	"update":     {"surge": "max_surge", "unavailable": "max_unavailable"},
	"variable":   {"value": "default", "doc": "description"},
	"output":     {"doc": "description"},
	"validation": {"message": "error_message", "error": "error_message", "rule": "condition"},
}

// lessons answer names that mean something in other tools but have no
// counterpart of one name here.
var lessons = map[string]string{
	"count":     "To make several, write for_each = toset([\"a\", \"b\"]); vm has count, and function has replicas.",
	"lifecycle": "There are no lifecycle settings: a replacement is made before the old one goes wherever that is possible.",
	"dynamic":   "There are no dynamic blocks: write the nested blocks out, or use for_each on the block.",
	"alias":     "Only provider blocks have an alias.",
	"name":      "The name is the block's label, as in vm \"name\" { … }.",
}

// blockLessons does the same for types of blocks.
var blockLessons = map[string]string{
	"resource":  `Name the kind itself: vm "name" { … } or function "name" { … }.`,
	"data":      "What exists already is a host, or comes in through a variable.",
	"module":    "A flow is one folder: put several *.hcl files into it.",
	"terraform": `Its settings belong into flow "name" { … }.`,
	"import":    "Take over what exists with the command flowctl state import.",
	"moved":     "The state has no other names than the spec: what is renamed is made anew.",
	"removed":   "To forget a resource without deleting it, use the command flowctl state rm.",
	"backend":   "Backends follow from a frontend's to and route; there is nothing to declare.",
	"route":     "A route belongs inside of a frontend block.",
	"metric":    "A metric belongs inside of a scaling block.",
	"health":    "A health block belongs inside of a function or frontend block.",
}

var blockSynonyms = map[string]string{
	"machine": "vm", "node": "vm", "server": "vm", "instance": "vm", "virtual_machine": "vm",
	"container": "function", "service": "function", "app": "function", "deployment": "function", "lambda": "function",
	"loadbalancer": "frontend", "load_balancer": "frontend", "lb": "frontend", "listener": "frontend", "proxy": "frontend", "ingress": "frontend",
	"hpc": "cluster", "mesh": "cluster",
	"autoscaling": "scaling", "autoscaler": "scaling", "scaler": "scaling", "scale": "scaling",
	"job": "task", "step": "task", "var": "variable", "input": "variable", "net": "network", "subnet": "network",
}

func suggestBlockType(name string) string {
	if lesson := blockLessons[name]; lesson != "" {
		return " " + lesson
	}
	if better := blockSynonyms[strings.ToLower(name)]; better != "" {
		return fmt.Sprintf(" Did you mean %s?", better)
	}
	return didYouMean(name, BlockTypes(), "")
}

// suggestAttribute ends a sentence about an attribute or nested block that a
// body does not have. meant is the one that is probably meant, "" if none.
func suggestAttribute(what, name string, block bool, s *engine.Schema, extra []string) (text, meant string) {
	if better := synonyms[what][name]; better != "" {
		return fmt.Sprintf(" Did you mean %s?", better), better
	}
	all, alike := slices.Clone(extra), []string(nil)
	if !block {
		alike = slices.DeleteFunc(slices.Clone(extra), isBlockName)
	}
	for _, a := range s.Attributes {
		if !a.Optional || a.Label {
			continue
		}
		all = append(all, a.Name)
		if (a.Form == engine.BlockForm) == block {
			alike = append(alike, a.Name)
		}
	}
	if meant = nearest(name, all); meant != "" {
		return fmt.Sprintf(" Did you mean %s?", meant), meant
	}
	if lessons[name] != "" {
		return " " + lessons[name], ""
	}
	return didYouMean(name, alike, ""), ""
}

// isBlockName reports whether a name of Common or the like is that of a block.
func isBlockName(name string) bool { return name == "timeouts" || name == "validation" }

const (
	clocks = "Its value would differ in every plan, which could then never be empty. Pass it in as a variable."
	env    = "A spec does not read the environment. Declare a variable: " + EnvPrefix + "NAME sets it."
)

// foreignFunctions answers functions that other tools have.
var foreignFunctions = map[string]string{
	"timestamp": clocks, "plantimestamp": clocks, "uuid": clocks, "bcrypt": clocks, "rand": clocks, "now": clocks,
	"env": env, "getenv": env,
	"fileexists": "Use can(file(…)).", "fileset": "List the names, or take them from a variable.", "abspath": "Use \"${flow.dir}/…\".",
	"cidrsubnets": "Use cidrsubnet.", "timeadd": clocks, "timecmp": clocks,
	"yamldecode": "Use jsondecode.", "yamlencode": "Use jsonencode, whose output is YAML, too.",
	"list": "Write [a, b].", "map": "Write { a = b }.", "len": "Did you mean length?", "size": "Did you mean length?",
}

func suggestFunction(name string, known map[string]function.Function) string {
	if lesson := foreignFunctions[name]; lesson != "" {
		return " " + lesson
	}
	if n := nearest(name, slices.Sorted(maps.Keys(known))); n != "" {
		return fmt.Sprintf(" Did you mean %s?", n)
	}
	return " The language reference lists them all."
}

// unknownRoot is what to say of a name that a path begins with.
func unknownRoot(name string, bound []string) string {
	detail := fmt.Sprintf("Nothing is called %q.", name)
	switch name {
	case "path":
		return detail + " The folder of the spec is flow.dir."
	case "terraform":
		return detail + " The name of the flow is flow.name."
	case "count":
		return detail + " In a block with for_each there are each.key and each.value; a replica finds its own number in FLOWCTL_ADDRESS."
	case "self":
		return detail + " A block cannot refer to itself; a replica finds its address in FLOWCTL_ADDRESS and its port in PORT."
	}
	known := append([]string{"var", "local", "each", "flow"}, bound...)
	for _, k := range engine.BlockKinds {
		known = append(known, string(k))
	}
	better := nearest(name, known)
	if s := blockSynonyms[name]; better == "" && s != "" && s != "variable" {
		better = s
	}
	if better != "" {
		return detail + fmt.Sprintf(" Did you mean %s?", better)
	}
	return detail + fmt.Sprintf(" Write var.%[1]s for a variable, local.%[1]s for a local, kind.name for a block, or \"%[1]s\" for text.", name)
}

// nearest returns the name most like the given one, or "" if none is like it:
// a third of the letters may differ, or the name may be a part of just one.
func nearest(name string, known []string) string {
	given := []rune(strings.ToLower(name))
	best, least := "", min((len(given)+1)/3, 3, len(given)-1)+1
	for _, k := range known {
		if d := distance(given, []rune(strings.ToLower(k)), least); d < least {
			best, least = k, d
		}
	}
	if best == "" && len(given) >= 3 {
		for _, k := range known {
			if !strings.Contains(strings.ToLower(k), string(given)) {
				continue
			}
			if best != "" {
				return ""
			}
			best = k
		}
	}
	return best
}

// distance counts the letters to add, drop, change or exchange with their
// neighbour that make b of a (optimal string alignment), up to a limit.
func distance(a, b []rune, limit int) int {
	if max(len(a)-len(b), len(b)-len(a)) >= limit {
		return limit
	}
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row := rows[(i+1)%3], rows[(i+2)%3], rows[i%3]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return rows[len(a)%3][len(b)]
}

// Nearest returns the known name that is meant by one that is not, "" if none is
// near.
func Nearest(name string, known []string) string { return nearest(name, known) }

// DidYouMean ends a sentence about an unknown name with the nearest known one, or
// with all there are if they are few.
func DidYouMean(name string, known []string) string { return didYouMean(name, known, "") }

// didYouMean ends a sentence about an unknown name: with the nearest known one,
// or with all there are if they are few.
func didYouMean(name string, known []string, prefix string) string {
	if n := nearest(name, known); n != "" {
		return fmt.Sprintf(" Did you mean %s%s?", prefix, n)
	}
	switch {
	case len(known) == 0:
		return ""
	case len(known) == 1:
		return " There is " + prefix + known[0] + "."
	case len(known) <= 16:
		return " There are " + enumerate(known, prefix) + "."
	default:
		return ""
	}
}

// enumerate writes "a", "a and b" or "a, b and c".
func enumerate(words []string, prefix string) string {
	full := make([]string, len(words))
	for i, w := range words {
		full[i] = prefix + w
	}
	if len(full) == 1 {
		return full[0]
	}
	return strings.Join(full[:len(full)-1], ", ") + " and " + full[len(full)-1]
}
