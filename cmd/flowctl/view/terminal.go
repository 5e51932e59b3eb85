package view

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// Terminal draws lines that stay, and beneath them a block that is drawn anew.
// It never draws more lines than the terminal has, so nothing scrolls away
// twice. It is not safe for concurrent use.
type Terminal struct {
	Out   io.Writer
	drawn int // lines of the block now on the screen
}

// Draw writes lines that stay and then the block, in one write.
func (t *Terminal) Draw(lines, block []string) {
	var b bytes.Buffer
	if t.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r\x1b[J", t.drawn)
	}
	for _, l := range append(lines, block...) {
		b.WriteString(strings.ReplaceAll(l, "\n", " ") + "\n")
	}
	t.drawn = len(block)
	t.Out.Write(b.Bytes())
}
