package docs

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite what is generated")

// generated are the pages that are made as a whole.
var generated = map[string]func(t *testing.T) string{
	"docs/language.md": func(t *testing.T) string {
		text, err := Language()
		if err != nil {
			t.Fatal(err)
		}
		return text
	},
	"docs/commands.md": commandsPage,
}

// Pages, or blocks of code, that are generated are as they would be made now.
func TestPages(t *testing.T) {
	for name, render := range generated {
		text := render(t)
		settle(t, name, fill(t, parsePage(t, name, text)))
	}
	for _, p := range pages(t) {
		if generated[p.name] == nil {
			settle(t, p.name, fill(t, p))
		}
	}
}

// fill puts files and outputs into the blocks of code that are such.
func fill(t *testing.T, p page) string {
	t.Helper()
	var b strings.Builder
	at := 0
	for _, f := range p.fences {
		b.WriteString(p.text[at:f.start])
		text := f.text
		if path := f.directives["file"]; path != "" {
			content, err := os.ReadFile(filepath.Join(root, path))
			if err != nil {
				t.Fatalf("%s:%d: %v", p.name, f.line, err)
			}
			text = string(content)
		}
		if commands := f.directives["output"]; commands != "" {
			text = strings.TrimRight(output(t, commands), "\n") + "\n"
		}
		b.WriteString(text)
		at = f.end
	}
	b.WriteString(p.text[at:])
	return b.String()
}

// settle compares a page with its file, or writes it.
func settle(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	was, err := os.ReadFile(path)
	if err != nil && !*update {
		t.Error(err)
		return
	}
	if string(was) == text {
		return
	}
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Error(err)
		}
		return
	}
	line, old, now := difference(string(was), text)
	t.Errorf("%s is stale; run: go generate ./internal/docs\nline %d was\n\t%s\nand is now\n\t%s", name, line, old, now)
}

// difference finds the first line that differs.
func difference(a, b string) (line int, x, y string) {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range max(len(as), len(bs)) {
		x, y = "", ""
		if i < len(as) {
			x = as[i]
		}
		if i < len(bs) {
			y = bs[i]
		}
		if x != y || i >= len(as) || i >= len(bs) {
			return i + 1, x, y
		}
	}
	return 0, "", ""
}
