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

// report files a diagnostic, unless the very same one is known.
func (l *loader) report(d engine.Diagnostic) {
	f := finding{severity: d.Severity, summary: d.Summary, detail: d.Detail}
	if d.Source != nil {
		f.source = *d.Source
	}
	if !l.seen[f] {
		l.seen[f] = true
		l.diags = append(l.diags, d)
	}
}

func (l *loader) reportAll(ds engine.Diagnostics) {
	for _, d := range ds {
		l.report(d)
	}
}

func (l *loader) fault(r hcl.Range, summary, detail string) {
	l.report(engine.Diagnostic{Summary: summary, Detail: detail, Source: at(r)})
}

func (l *loader) warn(r hcl.Range, summary, detail string) {
	l.report(engine.Diagnostic{Severity: engine.Warning, Summary: summary, Detail: detail, Source: at(r)})
}

// faultOf reports a fault of one block instance.
func (l *loader) faultOf(inst *instance, r hcl.Range, summary, detail string) {
	inst.faulty = true
	l.report(engine.Diagnostic{Summary: summary, Detail: detail, Address: inst.addr, Source: at(r)})
}

// reportOf reports what evaluating one block instance came upon. All instances
// are made of the same text, so that one of them speaks for all in one place.
func (l *loader) reportOf(inst *instance, ds engine.Diagnostics) {
	for _, d := range ds {
		d.Address = inst.addr
		inst.faulty = inst.faulty || d.Severity == engine.Error
		place := finding{severity: d.Severity, source: *d.Source, summary: d.Summary}
		if first, ok := inst.block.reported[place]; ok && first != inst {
			continue
		}
		if inst.block.reported == nil {
			inst.block.reported = map[finding]*instance{}
		}
		inst.block.reported[place] = inst
		l.report(d)
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
