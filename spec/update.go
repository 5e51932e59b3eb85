package spec

import (
	"fmt"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
)

// ofStrategy says which settings of an update block only one strategy has.
var ofStrategy = map[string]string{
	"keep": engine.BlueGreen,
	"step": engine.Canary, "pause": engine.Canary, "min_requests": engine.Canary, "max_error_rate": engine.Canary, "max_slower": engine.Canary,
}

// checkUpdate looks at what one function says about its updates.
func (l *loader) checkUpdate(inst *instance, u engine.UpdatePolicy) {
	if u.Strategy != engine.BlueGreen && u.MaxSurge == 0 && u.MaxUnavailable == 0 && inst.sound() {
		l.faultOf(inst, inst.block.nested("update"), "Update that cannot move", fmt.Sprintf("%s allows neither a replica more nor one fewer than wanted while it is updated, so no replica could ever be replaced. Set max_surge or max_unavailable to 1 or more.", inst.addr))
	}
	for _, name := range []string{"keep", "step", "pause", "min_requests", "max_error_rate", "max_slower"} {
		if where, given := inst.block.updateSetting(name); given && ofStrategy[name] != u.Strategy {
			l.warnOf(inst, where, "Setting without effect", fmt.Sprintf("%s belongs to strategy = %q, and %s is updated by %q. Remove the line, or write that strategy.", name, ofStrategy[name], inst.addr, u.Strategy))
		}
	}
	l.checkSteps(inst, u)
}

// checkSteps checks the shares of a canary.
func (l *loader) checkSteps(inst *instance, u engine.UpdatePolicy) {
	where, given := inst.block.updateSetting("step")
	if !given || u.Strategy != engine.Canary || !inst.sound() {
		return
	}
	switch {
	case len(u.Step) == 0:
		l.faultOf(inst, where, "Canary without steps", fmt.Sprintf("%s is updated by canary, but no step says how many of the requests the new replicas get. Write step = [10, 50], or remove the line.", inst.addr))
	case slices.ContainsFunc(u.Step, func(n int) bool { return n < 1 || n > 99 }):
		l.faultOf(inst, where, "Invalid steps", fmt.Sprintf("The steps of %s are percentages from 1 to 99: what comes after the last one is everything.", inst.addr))
	case !rising(u.Step):
		l.faultOf(inst, where, "Invalid steps", fmt.Sprintf("The steps of %s do not rise: each must be greater than the one before, as in [10, 50].", inst.addr))
	}
}

func rising(steps []int) bool {
	for i := 1; i < len(steps); i++ {
		if steps[i] <= steps[i-1] {
			return false
		}
	}
	return true
}

// updateSetting returns the place of an attribute of the update block, and whether
// it is written.
func (b *block) updateSetting(name string) (hcl.Range, bool) {
	for _, blk := range b.body.Blocks {
		if a := blk.Body.Attributes[name]; blk.Type == "update" && a != nil {
			return a.Expr.Range(), true
		}
	}
	return hcl.Range{}, false
}

// checkCanaries finds canaries that nobody could judge.
func (l *loader) checkCanaries() {
	behind := l.behindFrontends()
	for _, d := range l.desired.Decls {
		if d.Address.Kind != engine.KindFunction || d.Roll.Strategy != engine.Canary || behind[d.Address] {
			continue
		}
		if inst := l.groups[d.Address]; inst.sound() {
			l.faultOf(inst, inst.block.nested("update"), "Canary without a frontend", fmt.Sprintf("A canary is judged by what frontends count, and none balances to %s. Add a frontend with to = %s, or write strategy = \"blue_green\" or \"rolling\".", d.Address, d.Address))
		}
	}
}

// behindFrontends are the functions that frontends balance to.
func (l *loader) behindFrontends() map[engine.Address]bool {
	behind := map[engine.Address]bool{}
	for _, f := range l.fronts {
		for _, t := range f.targets {
			behind[t.to] = true
		}
	}
	return behind
}
