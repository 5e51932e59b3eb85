package observe

import (
	"time"

	"github.com/flowctl/flowctl/engine"
)

// homes tells for functions which machines their replicas are on, and for machines
// what they have.
type homes struct {
	machines map[engine.Address][]engine.Address // by function, each once
	limits   map[engine.Address]engine.Capacity  // by machine
}

func homesOf(objects []engine.Object) homes {
	h := homes{map[engine.Address][]engine.Address{}, map[engine.Address]engine.Capacity{}}
	seen := map[[2]engine.Address]bool{}
	for _, o := range objects {
		if !o.Kept.IsZero() {
			continue
		}
		switch o.Address.Kind {
		case engine.KindFunction:
			function := o.Address.Group()
			machine, err := engine.ParseAddress(o.Attr("machine"))
			if err == nil && !seen[[2]engine.Address{function, machine}] {
				seen[[2]engine.Address{function, machine}] = true
				h.machines[function] = append(h.machines[function], machine)
			}
		case engine.KindVM:
			vm := engine.MustDecode[engine.VM](o.Value)
			h.limits[o.Address] = engine.Capacity{CPU: float64(vm.CPUs), Memory: vm.Memory}
		}
	}
	return h
}

// leastLoaded is the load of that of a function's machines which has the least of a
// metric, as a share of what the machine has if the metric is a share: while it is
// high, all are. Machines that were not measured lately do not count; ok is false if
// none was, or if r does not tell of any.
func (h homes) leastLoaded(m metric, r reading, latest map[string]reading, fresh time.Time) (least float64, ok bool) {
	told := false
	for _, machine := range h.machines[m.function] {
		_, here := r.of(machine)
		told = told || here
		for _, one := range latest {
			u, measured := one.of(machine)
			if !measured || one.at.Before(fresh) {
				continue
			}
			limit := h.limits[machine]
			x, most := u.CPUCores, limit.CPU
			if m.Name == "memory" {
				x, most = float64(u.MemoryBytes), float64(limit.Memory)
			}
			if m.Share && most == 0 {
				continue
			}
			if m.Share {
				x /= most
			}
			if !ok || x < least {
				least, ok = x, true
			}
		}
	}
	return least, ok && told
}
