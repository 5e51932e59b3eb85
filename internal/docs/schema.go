package docs

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// reference writes the reference of one block: its attributes, its nested blocks,
// and what others may refer to.
func reference(name string, s *engine.Schema) string {
	var b strings.Builder
	b.WriteString(attributes(s, nil))
	nested(&b, name, s, nil)
	if text := computed(s); text != "" {
		fmt.Fprintf(&b, "\nFilled in by the apply; other blocks may refer to it:\n\n%s", text)
	}
	return b.String()
}

// attributes is the table of what may be written in a block, or in one that is
// nested in another (within).
func attributes(s *engine.Schema, within *engine.Attribute) string {
	t := table{head: []string{"Name", "Type", "Default", "Allowed", "A change", "Meaning"}}
	for i := range s.Attributes {
		if a := &s.Attributes[i]; a.Optional {
			t.row(code(a.Name), typeOf(a), defaultOf(a), allowed(a), change(a, within), a.Doc)
		}
	}
	return t.String()
}

// nested writes the blocks within a block, and those within them.
func nested(b *strings.Builder, name string, s *engine.Schema, within *engine.Attribute) {
	for i := range s.Attributes {
		a := &s.Attributes[i]
		if a.Form != engine.BlockForm || !a.Optional {
			continue
		}
		inner, outer := name+": "+a.Name, a
		if within != nil {
			outer = within
		}
		fmt.Fprintf(b, "\n### %s\n\n%s\n\n%s", inner, sentence(a), attributes(a.Block, outer))
		nested(b, inner, a.Block, outer)
	}
}

// sentence says how a nested block is written, and what it is for.
func sentence(a *engine.Attribute) string {
	text := code(a.Name + " { … }")
	for i := range a.Block.Attributes {
		if l := &a.Block.Attributes[i]; l.Label {
			text = code(fmt.Sprintf("%s %q { … }", a.Name, l.Name))
		}
	}
	if a.Repeated {
		text += ", any number of times"
	}
	return text + ". " + a.Doc
}

// computed is the table of what the engine and the providers fill in; "" if
// there is nothing.
func computed(s *engine.Schema) string {
	t := table{head: []string{"Name", "Type", "Meaning"}}
	for i := range s.Attributes {
		if a := &s.Attributes[i]; a.Computed {
			t.row(code(a.Name), typeOf(a), a.Doc)
		}
	}
	return t.String()
}

func typeOf(a *engine.Attribute) string {
	switch a.Form {
	case engine.SizeForm:
		return "size"
	case engine.DurationForm:
		return "duration"
	case engine.BlockForm:
		if a.Repeated {
			return "blocks"
		}
		return "block"
	case engine.ReferenceForm:
		if a.Type.IsListType() {
			return "reference to " + kinds(a.Refs) + ", or a list of them"
		}
		return "reference to " + kinds(a.Refs)
	}
	switch {
	case a.Label:
		return "the block's label"
	case a.Type == cty.Number && a.Whole:
		return "whole number"
	case a.Type.IsObjectType():
		return code(a.Name + ".NAME")
	default:
		return typeName(a.Type)
	}
}

func typeName(t cty.Type) string {
	switch {
	case t.IsListType():
		return "list of " + typeName(t.ElementType()) + "s"
	case t.IsMapType():
		return "map of " + typeName(t.ElementType()) + "s"
	default:
		return t.FriendlyName()
	}
}

func kinds(all []engine.Kind) string {
	if len(all) == 0 {
		return "any block"
	}
	var words []string
	for _, k := range all {
		words = append(words, link(string(k)))
	}
	return strings.Join(words, " or ")
}

func defaultOf(a *engine.Attribute) string {
	switch {
	case a.Required, a.Label:
		return "required"
	case a.Default == cty.NilVal:
		return ""
	}
	b, err := ctyjson.Marshal(a.Default, a.Type)
	if err != nil {
		panic("bug: default of " + a.Name + ": " + err.Error())
	}
	return code(string(b))
}

// allowed says which values an attribute takes, "" if any of its type.
func allowed(a *engine.Attribute) string {
	switch {
	case a.Enum != nil:
		var words []string
		for _, e := range a.Enum {
			words = append(words, code(strconv.Quote(e)))
		}
		return strings.Join(words, ", ")
	case a.Min != nil && a.Max != nil:
		return bound(a, *a.Min) + " to " + bound(a, *a.Max)
	case a.Min != nil && (*a.Min > 0 || a.Form == engine.Plain):
		return bound(a, *a.Min) + " or more"
	case a.Max != nil:
		return bound(a, *a.Max) + " or less"
	default:
		return ""
	}
}

// bound writes a bound as a spec would.
func bound(a *engine.Attribute, f float64) string {
	switch a.Form {
	case engine.SizeForm:
		return engine.Size(f).String()
	case engine.DurationForm:
		return engine.Duration(f * 1e9).String()
	default:
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
}

// change says what a change of an attribute does to the object, which is for the
// whole of a nested block to say.
func change(a, within *engine.Attribute) string {
	if within != nil && !a.Label {
		a = within
	}
	switch {
	case a.Replace:
		return "new object"
	case a.Meta, a.Label:
		return ""
	default:
		return "in place"
	}
}

// table is a Markdown table. Columns without any content are left out.
type table struct {
	head []string
	rows [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) String() string {
	if len(t.rows) == 0 {
		return ""
	}
	var used []int
	for i := range t.head {
		for _, r := range t.rows {
			if r[i] != "" {
				used = append(used, i)
				break
			}
		}
	}
	var b strings.Builder
	write := func(cells []string) {
		for _, i := range used {
			cell := strings.ReplaceAll(cells[i], "|", `\|`)
			b.WriteString("| " + cell + strings.Repeat(" ", min(1, len(cell))))
		}
		b.WriteString("|\n")
	}
	write(t.head)
	b.WriteString(strings.Repeat("| --- ", len(used)) + "|\n")
	for _, r := range t.rows {
		write(r)
	}
	return b.String()
}

func code(text string) string { return "`" + text + "`" }

// link leads to a section of the same page.
func link(section string) string { return fmt.Sprintf("[%s](#%s)", section, section) }
