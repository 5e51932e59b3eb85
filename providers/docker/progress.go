package docker

import (
	"context"
	"fmt"
	"strings"

	"github.com/flowctl/flowctl/engine"
)

// progress tells how far a step has come, each time that it is a twentieth
// further.
type progress struct {
	what string
	told int64
}

func (p *progress) tell(ctx context.Context, what string, done, of int64) {
	if of <= 0 {
		return
	}
	part := done * 20 / of
	if what == p.what && part <= p.told {
		return
	}
	p.what, p.told = what, part
	engine.Note(ctx, fmt.Sprintf("%s %s of %s", what, rounded(done), rounded(of)))
}

// rounded writes a number of bytes for a reader.
func rounded(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%d KiB", n>>10)
	}
}

// layers sums up what an engine says of the layers that it pulls.
type layers struct {
	progress
	by map[string]layer
}

type layer struct{ done, of int64 }

// take takes one message of a pull or a build.
func (l *layers) take(ctx context.Context, m message) {
	if step, ok := strings.CutPrefix(m.Stream, "Step "); ok {
		engine.Note(ctx, "step "+strings.TrimSpace(step))
	}
	if l.by == nil {
		l.by = map[string]layer{}
	}
	at := l.by[m.ID]
	switch {
	case m.Status == "Downloading" && m.Progress != nil:
		at = layer{m.Progress.Current, m.Progress.Total}
	case m.Status == "Download complete":
		at.done = at.of
	default:
		return
	}
	l.by[m.ID] = at
	var all layer
	for _, x := range l.by {
		all.done, all.of = all.done+x.done, all.of+x.of
	}
	l.tell(ctx, "pulled", all.done, all.of)
}
