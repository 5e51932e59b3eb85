package tasks

import (
	"cmp"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// redacted is an error whose text does not tell what is sensitive.
type redacted struct {
	err  error
	text string
}

func (r *redacted) Error() string { return r.text }
func (r *redacted) Unwrap() error { return r.err }

// shortestSecret is how long a text must be to be looked for: the value "1" is
// everywhere.
const shortestSecret = 3

// shortestLine is the shortest line of a secret of several that is hidden by itself.
const shortestLine = 8

// redact takes the sensitive values of a resource out of an error about it:
// programs and servers repeat what they were given. What is recorded of it counts
// as well as what is wanted.
func (r *Runner) redact(c *engine.Change, err error) error {
	if err == nil {
		return err
	}
	var values []cty.Value
	if c.Config != nil {
		if v, diags := c.Config.Eval(r); !diags.HasErrors() {
			values = append(values, v)
		}
	}
	if c.Prior != nil {
		values = append(values, engine.Mark(c.Prior.Value, c.Prior.Sensitive))
	}
	var hidden []string
	for _, v := range values {
		hidden = append(hidden, secrets(v)...)
	}
	// The longest first: one may be a part of another.
	slices.SortFunc(hidden, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	text := err.Error()
	for _, s := range hidden {
		text = strings.ReplaceAll(text, s, "(sensitive value)")
	}
	if text == err.Error() {
		return err
	}
	return &redacted{err, text}
}

// secrets lists the texts within a value that are marked sensitive.
func secrets(v cty.Value) []string {
	var all []string
	bare, marked := v.UnmarkDeepWithPaths()
	for _, m := range marked {
		if _, ok := m.Marks[engine.Sensitive]; !ok {
			continue
		}
		secret, err := m.Path.Apply(bare)
		if err != nil {
			continue
		}
		for _, s := range texts(secret) {
			if len(s) >= shortestSecret {
				all = append(all, s)
			}
			if !strings.Contains(s, "\n") {
				continue
			}
			for line := range strings.Lines(s) { // logs are shown line by line
				if line = strings.TrimSpace(line); len(line) >= shortestLine {
					all = append(all, line)
				}
			}
		}
	}
	return all
}

// texts lists all strings within a value.
func texts(v cty.Value) []string {
	var all []string
	cty.Walk(v, func(_ cty.Path, x cty.Value) (bool, error) {
		if x.IsKnown() && !x.IsNull() && x.Type() == cty.String {
			all = append(all, x.AsString())
		}
		return true, nil
	})
	return all
}
