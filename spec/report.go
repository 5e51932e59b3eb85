package spec

import (
	"cmp"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
)

// finding identifies a diagnostic, so that none is reported twice.
type finding struct {
	severity        engine.Severity
	source          engine.Range
	summary, detail string
}

// report collects findings.
type report struct {
	diags engine.Diagnostics
	seen  map[finding]bool
}

// add files a diagnostic, unless the very same one is known.
func (r *report) add(d engine.Diagnostic) {
	f := finding{severity: d.Severity, summary: d.Summary, detail: d.Detail}
	if d.Source != nil {
		f.source = *d.Source
	}
	if !r.seen[f] {
		r.seen[f] = true
		r.diags = append(r.diags, d)
	}
}

func (r *report) addAll(ds engine.Diagnostics) {
	for _, d := range ds {
		r.add(d)
	}
}

func (r *report) fault(at hcl.Range, summary, detail string) {
	r.add(engine.Diagnostic{Summary: summary, Detail: detail, Source: sourceOf(at)})
}

func (r *report) warn(at hcl.Range, summary, detail string) {
	r.add(engine.Diagnostic{Severity: engine.Warning, Summary: summary, Detail: detail, Source: sourceOf(at)})
}

// faultOf reports a fault of one block instance.
func (r *report) faultOf(inst *instance, at hcl.Range, summary, detail string) {
	r.addOf(inst, engine.Diagnostics{{Summary: summary, Detail: detail, Source: sourceOf(at)}})
}

// warnOf warns of one block instance.
func (r *report) warnOf(inst *instance, at hcl.Range, summary, detail string) {
	r.addOf(inst, engine.Diagnostics{{Severity: engine.Warning, Summary: summary, Detail: detail, Source: sourceOf(at)}})
}

// addOf reports what is to be said about one block instance. All instances are
// made of the same text, so that one of them speaks for all in one place.
func (r *report) addOf(inst *instance, ds engine.Diagnostics) {
	for _, d := range ds {
		d.Address = inst.addr
		inst.faulty = inst.faulty || d.Severity == engine.Error
		place := finding{severity: d.Severity, summary: d.Summary}
		if d.Source != nil {
			place.source = *d.Source
		}
		if first, ok := inst.block.reported[place]; ok && first != inst {
			continue
		}
		if inst.block.reported == nil {
			inst.block.reported = map[finding]*instance{}
		}
		inst.block.reported[place] = inst
		r.add(d)
	}
}

// sortDiags puts findings into the order of the source, those without a place
// first.
func sortDiags(ds engine.Diagnostics) {
	slices.SortStableFunc(ds, func(a, b engine.Diagnostic) int {
		switch {
		case a.Source == nil && b.Source == nil:
			return 0
		case a.Source == nil:
			return -1
		case b.Source == nil:
			return 1
		}
		return cmp.Or(
			cmp.Compare(a.Source.Filename, b.Source.Filename),
			cmp.Compare(a.Source.Start.Byte, b.Source.Start.Byte),
		)
	})
}
