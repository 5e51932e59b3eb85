package spec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// loadProviders evaluates the provider blocks.
func (l *loader) loadProviders() {
	first := map[string]hcl.Range{}
	for _, blk := range l.providers {
		schema := l.opts.Providers[blk.Labels[0]]
		if schema == nil {
			l.fault(blk.LabelRanges[0], "Unknown provider", l.unknownProvider(blk.Labels[0]))
			continue
		}
		in := where{known: "Providers are set up before anything is made"}
		name, ok := l.providerName(blk, in)
		if !ok {
			continue
		}
		if was, again := first[name]; again {
			l.fault(blk.DefRange(), "Duplicate provider", fmt.Sprintf("The provider %q is set up twice, first at %s. Give one of them an alias of its own.", name, place(was)))
			continue
		}
		first[name] = blk.DefRange()
		l.settings[name] = true
		d, _ := l.static(blk.Body, schema, "provider", in, nil, "alias")
		v := d.object(blk.Body, schema, blk.DefRange())
		l.addAll(d.diags)
		l.desired.Providers = append(l.desired.Providers, engine.Setting{Name: name, Config: v})
	}
	l.checkDefaultProvider()
	l.checkLimits()
}

// checkLimits checks the limits of providers in the flow block.
func (l *loader) checkLimits() {
	limits := l.desired.Limits.Providers
	if len(limits) == 0 {
		return
	}
	where := (&block{body: l.flow.Body, def: l.flow.DefRange()}).nested("limits")
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		if n := limits[name]; n < 1 || n > 1000 {
			l.fault(where, "Invalid value", fmt.Sprintf("The limit of provider %s is %d. Write a whole number from 1 to 1000.", name, n))
		}
		l.checkProvider(name, where)
	}
}

// checkDefaultProvider checks the provider that the flow block names.
func (l *loader) checkDefaultProvider() {
	if l.flow == nil {
		return
	}
	if a := l.flow.Body.Attributes["provider"]; a != nil && !l.exprs[a.Expr].broken {
		l.checkProvider(l.opts.DefaultProvider, a.Expr.Range())
	}
}

// providerName returns "name", or "name.alias".
func (l *loader) providerName(blk *hclsyntax.Block, in where) (string, bool) {
	a := blk.Body.Attributes["alias"]
	if a == nil {
		return blk.Labels[0], true
	}
	if l.examine(a.Expr, in).broken {
		return "", false
	}
	v, ds := evaluate(a.Expr, l.scope)
	l.addAll(convertDiags(ds))
	if ds.HasErrors() || !v.IsKnown() {
		return "", false
	}
	v, _ = v.Unmark()
	if v.IsNull() || v.Type() != cty.String || !hclsyntax.ValidIdentifier(v.AsString()) {
		l.fault(a.Expr.Range(), "Invalid name", "An alias is a name in quotes: letters, digits, _ and -.")
		return "", false
	}
	return blk.Labels[0] + "." + v.AsString(), true
}

// providerOf returns the name of the provider that makes an instance's
// resources.
func (l *loader) providerOf(inst *instance) string {
	b := inst.block
	a := b.body.Attributes["provider"]
	if a == nil {
		switch b.kind {
		case engine.KindFunction:
			return ""
		case engine.KindFrontend:
			return l.opts.Balancer
		case engine.KindScaling, engine.KindTask, engine.KindCluster:
			return l.opts.Builtin
		default:
			if l.flow == nil || l.flow.Body.Attributes["provider"] == nil {
				l.checkProvider(l.opts.DefaultProvider, b.def)
			}
			return l.opts.DefaultProvider
		}
	}
	if b.kind == engine.KindFunction || b.kind == engine.KindCluster || l.exprs[a.Expr].broken {
		return ""
	}
	v, ds := evaluate(a.Expr, inst.scope())
	l.addOf(inst, convertDiags(ds))
	if ds.HasErrors() || !v.IsKnown() {
		return ""
	}
	v, _ = v.Unmark()
	if v.IsNull() || v.Type() != cty.String {
		l.fault(a.Expr.Range(), "Wrong type", `"provider" expects the name of a provider, such as "local", or "name.alias".`)
		return ""
	}
	l.checkProvider(v.AsString(), a.Expr.Range())
	return v.AsString()
}

// checkProvider checks a provider's name.
func (l *loader) checkProvider(name string, where hcl.Range) {
	base, alias, aliased := strings.Cut(name, ".")
	switch {
	case l.opts.Providers[base] == nil:
		l.fault(where, "Unknown provider", l.unknownProvider(base))
	case aliased && !l.settings[name]:
		l.fault(where, "Unknown provider alias", fmt.Sprintf("No block declares this alias. Write provider %q { alias = %q … }, or remove .%s here.", base, alias, alias))
	}
}

func (l *loader) unknownProvider(name string) string {
	return fmt.Sprintf("There is no provider %q.%s", name, didYouMean(name, slices.Sorted(maps.Keys(l.opts.Providers)), ""))
}
