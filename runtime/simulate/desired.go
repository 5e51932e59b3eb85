package simulate

import (
	"fmt"
	"strings"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/rule"
)

// Of takes what can be simulated from a flow. The caller fills in the rest. The
// error is about a rule that depends on what is known only when the flow is
// applied.
func Of(d engine.Desired) (Input, error) {
	in := Input{Machines: d.Machines, Functions: d.Functions, Drains: map[engine.Address]time.Duration{}}
	for _, decl := range d.Decls {
		if k := decl.Address.Kind; k != engine.KindScaling && k != engine.KindFunction {
			continue
		}
		v, ds := decl.Config.Eval(engine.Unmade{})
		if ds.HasErrors() {
			return in, ds.Err()
		}
		if decl.Address.Kind == engine.KindFunction {
			in.Drains[decl.Address] = engine.MustDecode[engine.Replica](v).Drain.Std()
			continue
		}
		if !rule.Known(v) {
			return in, fmt.Errorf("%s depends on what is known only when the flow is applied, so it cannot be simulated", decl.Address)
		}
		x, problems := rule.Of(strings.TrimPrefix(decl.Address.String(), "scaling."), engine.MustDecode[engine.Scaling](v))
		for _, p := range problems {
			if !p.Warning {
				return in, fmt.Errorf("%s: %s", decl.Address, p.Detail)
			}
		}
		in.Rules = append(in.Rules, x)
	}
	return in, nil
}
