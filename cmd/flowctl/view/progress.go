package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowctl/flowctl/engine"
)

// Progress follows a run for a terminal: what has ended becomes lines that stay,
// what runs is a block of lines that is drawn again and again beneath them. It
// is a pure function of the events and the time.
type Progress struct {
	style   Style
	total   int
	begun   time.Time
	running map[int]engine.Event // by step
	since   map[int]time.Time    // when the current attempt began
	counts  map[engine.StepState]int
}

// NewProgress follows a run of so many tasks that begins now.
func NewProgress(total int, now time.Time, s Style) *Progress {
	return &Progress{style: s, total: total, begun: now, running: map[int]engine.Event{}, since: map[int]time.Time{}, counts: map[engine.StepState]int{}}
}

// Event takes one event and returns the lines that stay because of it.
func (p *Progress) Event(e engine.Event) []string {
	id := e.Step.ID
	switch e.State {
	case engine.Running, engine.Retrying:
		p.running[id] = e
		if e.Note != "" {
			return nil // it has come further since it began
		}
		p.since[id] = e.At
		if e.State == engine.Retrying {
			return []string{Line(e, p.style)}
		}
		return nil
	default:
		delete(p.running, id)
		p.counts[e.State]++
		return []string{Line(e, p.style)}
	}
}

// Block returns the lines that show what runs, at most height of them.
func (p *Progress) Block(width, height int, now time.Time) []string {
	if height < 1 {
		return nil
	}
	var events []engine.Event
	for _, e := range p.running {
		events = append(events, e)
	}
	slices.SortFunc(events, func(a, b engine.Event) int {
		return cmp.Or(cmp.Compare(a.Step.Phase, b.Step.Phase), cmp.Compare(a.Step.ID, b.Step.ID))
	})
	var lines []string
	room := max(0, height-1) // the last line is the sum
	if len(events) > room {
		room--
	}
	for i, e := range events {
		if i >= room {
			lines = append(lines, p.style.dim(cut(fmt.Sprintf("    … and %d more", len(events)-i), width)))
			break
		}
		lines = append(lines, p.line(e, width, now))
	}
	return append(lines, p.sum(width, now))
}

func (p *Progress) line(e engine.Event, width int, now time.Time) string {
	text := fmt.Sprintf("  %c %-9s %s %s", spinner(now), e.Step.Phase, e.Step.Name(), clock(now.Sub(p.since[e.Step.ID])))
	if e.Note != "" {
		text += "  " + e.Note
	}
	if e.State == engine.Retrying {
		left := max(0, e.Wait-now.Sub(e.At))
		text = fmt.Sprintf("  ↻ %-9s %s attempt %d in %s", e.Step.Phase, e.Step.Name(), e.Attempt+1, clock(left))
		return p.style.warn(cut(text, width))
	}
	return cut(text, width)
}

// sum is the line beneath all: what is done, runs and waits.
func (p *Progress) sum(width int, now time.Time) string {
	ended := 0
	for _, n := range p.counts {
		ended += n
	}
	text := fmt.Sprintf("  %d done, %d running, %d waiting", p.counts[engine.Done], len(p.running), max(0, p.total-ended-len(p.running)))
	if n := p.counts[engine.Failed]; n > 0 {
		text += fmt.Sprintf(", %d failed", n)
	}
	if n := p.counts[engine.UpstreamFailed]; n > 0 {
		text += fmt.Sprintf(", %d upstream_failed", n)
	}
	if n := p.counts[engine.Cancelled]; n > 0 {
		text += fmt.Sprintf(", %d cancelled", n)
	}
	text += fmt.Sprintf("  [%s]", clock(now.Sub(p.begun)))
	return p.style.bold(cut(text, width))
}

// cut shortens a line to a width, so that it never wraps.
func cut(text string, width int) string {
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	if width < 2 {
		return string(runes[:max(0, width)])
	}
	return string(runes[:width-1]) + "…"
}

func spinner(now time.Time) rune {
	frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	return frames[int(now.UnixMilli()/100)%len(frames)]
}

// clock writes a duration short: 0.4s, 12s, 3m05s, 1h02m.
func clock(d time.Duration) string {
	switch {
	case d < 0:
		return "0.0s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
}

// Line renders one event as a line of its own.
func Line(e engine.Event, s Style) string {
	name := fmt.Sprintf("%-9s %s", e.Step.Phase, e.Step.Name())
	switch e.State {
	case engine.Running:
		if e.Note != "" {
			return "  … " + name + ": " + e.Note
		}
		if e.Attempt > 1 {
			return fmt.Sprintf("  … %s (attempt %d)", name, e.Attempt)
		}
		return "  … " + name
	case engine.Retrying:
		return s.warn(fmt.Sprintf("  ↻ %s: attempt %d failed, the next in %s: %s", name, e.Attempt, clock(e.Wait), firstLine(e.Err)))
	case engine.Done:
		text := fmt.Sprintf("%s %s", name, s.dim(clock(e.Elapsed)))
		if e.Note != "" {
			text += s.dim(" (" + e.Note + ")")
		}
		return s.good("  ✓ ") + text
	case engine.Failed:
		return s.bad(fmt.Sprintf("  ✗ %s %s: %s", name, clock(e.Elapsed), firstLine(e.Err)))
	case engine.UpstreamFailed:
		return s.dim("  - " + name + ": upstream_failed, something it needs has failed")
	case engine.Cancelled:
		return s.dim("  - " + name + ": cancelled, the run was stopped")
	default:
		return "    " + name
	}
}

func firstLine(err error) string {
	if err == nil {
		return ""
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// Failure is one failed task, in full.
type Failure struct {
	Name string
	Text string
}

// Failures renders why tasks failed, the log of what they left included.
func Failures(fs []Failure, s Style) string {
	var b strings.Builder
	for _, f := range fs {
		fmt.Fprintf(&b, "\n%s %s\n\n", s.bad("Error:"), s.bold(f.Name+" failed"))
		for line := range strings.Lines(wrap(f.Text, 78)) {
			b.WriteString("  " + strings.TrimRight(line, "\n") + "\n")
		}
	}
	return b.String()
}

// Slowest lists the tasks that took longest, with at least a second.
func Slowest(events []engine.Event, n int, s Style) string {
	var done []engine.Event
	for _, e := range events {
		if e.State == engine.Done && e.Elapsed >= time.Second {
			done = append(done, e)
		}
	}
	slices.SortStableFunc(done, func(a, b engine.Event) int { return cmp.Compare(b.Elapsed, a.Elapsed) })
	if len(done) == 0 {
		return ""
	}
	var parts []string
	for _, e := range done[:min(n, len(done))] {
		parts = append(parts, fmt.Sprintf("%s %s", e.Step.Name(), clock(e.Elapsed)))
	}
	return s.dim("Slowest: "+strings.Join(parts, ", ")) + "\n"
}
