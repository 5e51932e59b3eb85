package docs

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// command is one command as its help tells of it.
type command struct {
	name  string // "flowctl state rm"
	short string // from its parent's list
	long  string
	usage string
	flags []option
	subs  []command
}

// option is one flag of a command.
type option struct {
	name, short, kind, meaning string
}

var (
	listed  = regexp.MustCompile(`^  (?:flowctl )?([a-z][a-z-]*)  +(\S.*)$`)
	flagged = regexp.MustCompile(`^ +(?:-(\w), )?--([a-z-]+)(?: (\S+))?(?:   +(.*))?$`)
)

// skipped are commands that every program of this make has.
var skipped = []string{"help", "completion"}

// program is all commands, asked for once: each is a process of its own.
func program(t *testing.T) command {
	t.Helper()
	if asked.name == "" {
		asked = help(t, "flowctl", "", nil)
	}
	return asked
}

var asked command

// help asks a command, and those beneath it, for their help. Flags that every
// command has are left to the topmost.
func help(t *testing.T, name, short string, common []option) command {
	t.Helper()
	words := strings.Fields(name)
	text, err := flowctl(t, t.TempDir(), append([]string{"help"}, words[1:]...)...)
	if err != nil {
		t.Fatalf("flowctl help %s: %v\n%s", name, err, text)
	}
	c := command{name: name, short: short}
	section := "long"
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n ")
		if line == "" {
			if section == "long" {
				c.long += "\n"
			}
			continue
		}
		if !strings.HasPrefix(line, " ") && strings.HasSuffix(line, ":") && isSection(line) {
			section = line
			continue
		}
		c.take(t, section, line)
	}
	c.long = strings.TrimSpace(c.long)
	c.flags = slices.DeleteFunc(c.flags, func(o option) bool { return slices.Contains(common, o) })
	if common == nil {
		common = c.flags
	}
	for i, s := range c.subs {
		c.subs[i] = help(t, name+" "+s.name, s.short, common)
	}
	return c
}

func isSection(line string) bool {
	return slices.Contains([]string{"Usage:", "Flags:", "Global Flags:", "Additional help topics:"}, line) || strings.HasSuffix(line, "ommands:") || line == "To look at what is there:" || line == "More:"
}

// take reads one line of a section of the help.
func (c *command) take(t *testing.T, section, line string) {
	t.Helper()
	switch section {
	case "long":
		c.long += line + "\n"
	case "Usage:":
		if c.usage == "" {
			c.usage = strings.TrimSpace(line)
		}
	case "Flags:", "Global Flags:":
		if strings.HasPrefix(line, "Use ") { // the last line: how to get more help
			return
		}
		m := flagged.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("%s: the flag %q cannot be read", c.name, line)
		}
		if m[2] != "help" {
			c.flags = append(c.flags, option{m[2], m[1], m[3], m[4]})
		}
	default:
		if m := listed.FindStringSubmatch(line); m != nil && !slices.Contains(skipped, m[1]) {
			c.subs = append(c.subs, command{name: m[1], short: m[2]})
		}
	}
}

// commandsPage makes docs/commands.md.
func commandsPage(t *testing.T) string {
	t.Helper()
	intro, err := os.ReadFile("commands.md.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	root := program(t)
	var b strings.Builder
	b.Write(intro)
	list := table{head: []string{"Command", "What it does"}}
	list.add(root)
	fmt.Fprintf(&b, "\n## All commands\n\n%s\n## Flags of every command\n\n%s", list.String(), optionTable(root.flags))
	for _, c := range root.subs {
		c.write(&b, "##")
	}
	return b.String()
}

func (t *table) add(c command) {
	for _, s := range c.subs {
		if len(s.subs) == 0 || len(s.flags) > 0 {
			t.row(fmt.Sprintf("[%s](#%s)", s.name, strings.ReplaceAll(s.name, " ", "-")), s.short)
		}
		t.add(s)
	}
}

func (c command) write(b *strings.Builder, level string) {
	fmt.Fprintf(b, "\n%s %s\n\n%s.\n", level, c.name, c.short)
	if c.long != "" && c.long != c.short {
		fmt.Fprintf(b, "\n```text\n%s\n```\n", c.long)
	}
	if c.usage != "" && (len(c.subs) == 0 || len(c.flags) > 0) {
		fmt.Fprintf(b, "\nUsage: `%s`\n", c.usage)
	}
	if len(c.flags) > 0 {
		b.WriteString("\n" + optionTable(c.flags))
	}
	for _, s := range c.subs {
		s.write(b, level+"#")
	}
}

func optionTable(flags []option) string {
	t := table{head: []string{"Flag", "Meaning"}}
	for _, f := range flags {
		name := "-" + f.name
		if f.kind != "" {
			name += " " + f.kind
		}
		text := code(name)
		if f.short != "" {
			text += ", " + code("-"+f.short)
		}
		t.row(text, f.meaning)
	}
	return t.String()
}

// usage is one command line in a page.
type usage struct {
	page, line string
}

// Every command line in a page names a command that is there, and flags that it
// has.
func TestCommandLinesAreUnderstood(t *testing.T) {
	known := map[string]command{}
	var visit func(c command)
	visit = func(c command) {
		known[c.name] = c
		for _, s := range c.subs {
			visit(s)
		}
	}
	top := program(t)
	visit(top)
	lines := 0
	for _, u := range usages(t) {
		lines++
		words := strings.Fields(strings.NewReplacer("(", " ", ")", " ").Replace(u.line))
		c := top
		for len(words) > 1 {
			sub, ok := known[c.name+" "+words[1]]
			if !ok {
				break
			}
			c, words = sub, words[1:]
		}
		if (c.name == top.name || len(c.subs) > 0 && len(c.flags) == 0) && len(words) > 1 && !slices.Contains(skipped, words[1]) && !strings.HasPrefix(words[1], "-") {
			t.Errorf("%s: %q: there is no such command", u.page, u.line)
			continue
		}
		for _, w := range words[1:] {
			if w == "--" || w == "&&" || w == "|" || w == ">" {
				break
			}
			name, _, _ := strings.Cut(strings.TrimLeft(w, "-"), "=")
			if strings.HasPrefix(w, "-") && !c.has(name) && !top.has(name) {
				t.Errorf("%s: %q: %s has no flag -%s", u.page, u.line, c.name, name)
			}
		}
	}
	if lines < 50 {
		t.Errorf("only %d command lines were found: the test looks in the wrong place", lines)
	}
}

func (c command) has(flag string) bool {
	return flag == "help" || slices.ContainsFunc(c.flags, func(o option) bool { return o.name == flag || o.short == flag })
}

var inline = regexp.MustCompile("`(flowctl [^`]+)`")

// usages finds command lines: in blocks of code of a shell, after the prompt,
// and between backquotes.
func usages(t *testing.T) []usage {
	var all []usage
	for _, p := range pages(t) {
		if generated[p.name] != nil {
			continue
		}
		for _, f := range p.fences {
			if f.lang != "console" && f.lang != "sh" {
				continue
			}
			for line := range strings.Lines(f.text) {
				line = strings.TrimPrefix(strings.TrimSpace(line), "$ ")
				if strings.HasPrefix(line, "flowctl ") && (f.lang == "sh" || strings.Contains(f.text, "$ "+line)) {
					all = append(all, usage{p.name, line})
				}
			}
		}
		for _, m := range inline.FindAllStringSubmatch(p.prose(), -1) {
			all = append(all, usage{p.name, m[1]})
		}
	}
	return all
}
