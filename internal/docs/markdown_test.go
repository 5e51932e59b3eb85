package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the top of the repository, from this package.
const root = "../.."

// page is one file of the documentation.
type page struct {
	name   string // from the root, with slashes
	text   string
	fences []fence
}

// fence is one block of code in a page. A comment on the line before it says how
// it is kept true:
//
//	<!-- with NAME … -->       hcl: load it together with surroundings/NAME.hcl
//	<!-- invalid: SUMMARY -->  hcl: loading it reports this, and nothing else
//	<!-- warns: SUMMARY -->    hcl: it loads, and this is reported
//	<!-- file: PATH -->        it is this file, from the root
//	<!-- part of: PATH -->     it is a part of this file
//	<!-- output: COMMANDS -->  it is what the last of these flowctl commands prints
//
// Further words may follow "with NAME …" after a semicolon.
type fence struct {
	lang       string
	directives map[string]string
	text       string
	line       int // of its first line of code, from 1
	start, end int // of text, in the page's
}

var comment = regexp.MustCompile(`^<!-- (.*) -->$`)

// directiveNames are those that stand before a colon; "with" has none.
var directive = regexp.MustCompile(`^(with|invalid:|warns:|file:|part of:|output:) (.+)$`)

func parsePage(t *testing.T, name, text string) page {
	t.Helper()
	p := page{name: name, text: text}
	var open *fence
	last, at := "", 0
	n := 0
	for line := range strings.Lines(text) {
		n++
		bare := strings.TrimRight(line, "\n")
		switch {
		case open != nil && bare == "```":
			open.end = at
			open.text = text[open.start:open.end]
			p.fences = append(p.fences, *open)
			open = nil
		case open == nil && strings.HasPrefix(bare, "```"):
			open = &fence{lang: strings.TrimPrefix(bare, "```"), directives: directivesOf(t, name, n-1, last), line: n + 1, start: at + len(line)}
		}
		last = bare
		at += len(line)
	}
	if open != nil {
		t.Errorf("%s:%d: this block of code has no end", name, open.line)
	}
	return p
}

func directivesOf(t *testing.T, name string, line int, text string) map[string]string {
	t.Helper()
	all := map[string]string{}
	m := comment.FindStringSubmatch(text)
	if m == nil {
		return all
	}
	for part := range strings.SplitSeq(m[1], "; ") {
		d := directive.FindStringSubmatch(part)
		if d == nil {
			t.Errorf("%s:%d: %q is no word about a block of code", name, line, part)
			continue
		}
		all[strings.TrimSuffix(d[1], ":")] = d[2]
	}
	return all
}

// pages reads all pages of the folder docs.
func pages(t *testing.T) []page {
	t.Helper()
	var all []page
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".md") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		all = append(all, parsePage(t, filepath.ToSlash(name), string(text)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("only %d pages were found: the test looks in the wrong place", len(all))
	}
	return all
}

// prose is a page without its blocks of code, line by line, so that numbers of
// lines stay.
func (p page) prose() string {
	var b strings.Builder
	at := 0
	for _, f := range p.fences {
		b.WriteString(p.text[at:f.start])
		b.WriteString(strings.Repeat("\n", strings.Count(f.text, "\n")))
		at = f.end
	}
	b.WriteString(p.text[at:])
	return b.String()
}

var (
	heading  = regexp.MustCompile(`(?m)^#+ (.+)$`)
	linkText = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	unspoken = regexp.MustCompile("[^a-z0-9 _-]")
)

// anchors are the fragments that a page's headings can be reached by.
func (p page) anchors() map[string]bool {
	all := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(p.prose(), -1) {
		all[strings.ReplaceAll(unspoken.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return all
}

func TestLinksLeadSomewhere(t *testing.T) {
	all := pages(t)
	byName := map[string]page{}
	for _, p := range all {
		byName[p.name] = p
	}
	for _, p := range all {
		for _, m := range linkText.FindAllStringSubmatch(p.prose(), -1) {
			if strings.HasPrefix(m[1], "https://") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			target := p.name
			if path != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(p.name), path))
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", p.name, m[1])
			} else if anchor != "" && !byName[target].anchors()[anchor] {
				t.Errorf("%s: %s has no section #%s", p.name, target, anchor)
			}
		}
	}
}

func TestEveryPageIsInTheIndex(t *testing.T) {
	index, err := os.ReadFile(filepath.Join(root, "docs/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pages(t) {
		name := strings.TrimPrefix(p.name, "docs/")
		if name != "README.md" && !strings.Contains(string(index), "("+name+")") {
			t.Errorf("docs/README.md has no link to %s", name)
		}
	}
}
