package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine"
)

// prefixer lets several replicas write at once, line by line, each line with its
// replica's address before it in a colour of its own. It is safe for concurrent
// use.
type prefixer struct {
	mu      sync.Mutex
	style   view.Style
	width   int
	colours map[engine.Address]int
	alone   bool // no prefix
}

// newPrefixer takes the replicas that are known at first; one alone has no prefix.
func newPrefixer(a *app, objects []engine.Object) *prefixer {
	p := &prefixer{style: a.outStyle(), colours: map[engine.Address]int{}}
	for _, o := range objects {
		p.width = max(p.width, len(o.Address.String()))
		p.colour(o.Address)
	}
	p.alone = len(p.colours) == 1
	return p
}

func (p *prefixer) colour(a engine.Address) int {
	if _, ok := p.colours[a]; !ok {
		p.colours[a] = len(p.colours)
	}
	return p.colours[a]
}

// line writes one line.
func (p *prefixer) line(w io.Writer, a engine.Address, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	prefix := ""
	if n := p.colour(a); !p.alone {
		prefix = p.style.Pick(n, fmt.Sprintf("%-*s | ", p.width, a))
	}
	fmt.Fprintf(w, "%s%s\n", prefix, text)
}

// stream returns a writer for what one replica writes.
func (p *prefixer) stream(a engine.Address, w io.Writer) *lines {
	return &lines{each: func(text string) { p.line(w, a, printable(text)) }}
}

// lines cuts what is written into lines. It is for one writer.
type lines struct {
	each func(string)
	rest []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	for {
		at := bytes.IndexByte(l.rest, '\n')
		if at < 0 {
			return len(b), nil
		}
		l.each(string(l.rest[:at]))
		l.rest = l.rest[at+1:]
	}
}

// flush writes a last line that does not end.
func (l *lines) flush() {
	if len(l.rest) > 0 {
		l.each(string(l.rest))
	}
	l.rest = nil
}
