// Package plot draws series over time as SVG: panels above each other, on one
// axis of time. It is made for what flowctl shows of scaling, and does no more.
// Start with Write.
package plot

import (
	"fmt"
	"html"
	"io"
	"math"
	"strconv"
	"strings"
)

// Chart is one picture.
type Chart struct {
	Title   string
	Seconds float64 // the whole width
	Panels  []Panel
}

// Panel is one diagram. Its lines share an axis that begins at 0.
type Panel struct {
	Title string // with the unit
	Lines []Line
}

// Line is one series, its values evenly spaced over the width.
type Line struct {
	Name   string
	Values []float64
	Steps  bool // sizes: drawn as stairs, and thinned out by their last value instead of the mean
	Faint  bool // filled in grey, behind the others
}

// The measures of a picture, in pixels.
const (
	width  = 960.0
	left   = 60.0
	right  = 40.0
	top    = 40.0
	height = 150.0
	gap    = 44.0
	most   = 860 // points of a line: one a pixel
)

// colours are those of Okabe and Ito, which can be told apart by everybody.
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"}

// Write draws the chart.
func Write(w io.Writer, c Chart) error {
	total := top + float64(len(c.Panels))*(height+gap)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" font-family="sans-serif" font-size="11">`+"\n", width, total)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	fmt.Fprintf(&b, `<text x="%g" y="18" font-size="14">%s</text>`+"\n", left, html.EscapeString(c.Title))
	for i, p := range c.Panels {
		p.draw(&b, top+float64(i)*(height+gap), c.Seconds)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (p Panel) draw(b *strings.Builder, y, seconds float64) {
	high := 0.0
	thin := make([][]float64, len(p.Lines))
	for i, l := range p.Lines {
		thin[i] = l.thin()
		for _, v := range thin[i] {
			high = max(high, v)
		}
	}
	tick := nice(high / 4)
	high = max(tick*math.Ceil(high/tick-1e-9), tick)
	fmt.Fprintf(b, `<text x="%g" y="%g" font-weight="bold">%s</text>`+"\n", left, y-6, html.EscapeString(p.Title))
	for v := 0.0; v <= high+tick/2; v += tick {
		at := y + height*(1-v/high)
		fmt.Fprintf(b, `<path d="M%g %.1fH%g" stroke="#ddd"/><text x="%g" y="%.1f" text-anchor="end">%s</text>`+"\n", left, at, width-right, left-6, at+4, strconv.FormatFloat(v, 'g', 4, 64))
	}
	p.times(b, y, seconds)
	at := left + 240
	colour := 0
	for i, l := range p.Lines {
		name := "#999"
		if !l.Faint {
			name = colours[colour%len(colours)]
			colour++
		}
		fmt.Fprintf(b, `<path d="%s" %s/>`+"\n", path(thin[i], y, high, l), style(l, name))
		fmt.Fprintf(b, `<text x="%g" y="%g" fill="%s">%s</text>`+"\n", at, y-6, name, html.EscapeString(l.Name))
		at += 14 + 6.5*float64(len(l.Name))
	}
}

// times writes the axis of time.
func (p Panel) times(b *strings.Builder, y, seconds float64) {
	if seconds <= 0 {
		return
	}
	unit, name := 1.0, "s"
	switch {
	case seconds >= 3*86400:
		unit, name = 86400, "d"
	case seconds >= 3*3600:
		unit, name = 3600, "h"
	case seconds >= 180:
		unit, name = 60, "min"
	}
	tick := nice(seconds / unit / 10)
	for v := 0.0; v*unit <= seconds; v += tick {
		x := left + (width-left-right)*v*unit/seconds
		fmt.Fprintf(b, `<path d="M%.1f %gv4" stroke="#999"/><text x="%.1f" y="%g" text-anchor="middle">%s %s</text>`+"\n", x, y+height, x, y+height+16, strconv.FormatFloat(v, 'g', 4, 64), name)
	}
}

func style(l Line, colour string) string {
	if l.Faint {
		return `fill="#ddd" stroke="#bbb"`
	}
	return `fill="none" stroke="` + colour + `" stroke-width="1.3"`
}

func path(values []float64, y, high float64, l Line) string {
	var b strings.Builder
	for i, v := range values {
		x := left + (width-left-right)*float64(i)/float64(max(len(values)-1, 1))
		at := y + height*(1-v/high)
		switch {
		case i == 0 && l.Faint:
			fmt.Fprintf(&b, "M%.1f %.1fL%.1f %.1f", x, y+height, x, at)
		case i == 0:
			fmt.Fprintf(&b, "M%.1f %.1f", x, at)
		case l.Steps:
			fmt.Fprintf(&b, "H%.1fV%.1f", x, at)
		default:
			fmt.Fprintf(&b, "L%.1f %.1f", x, at)
		}
	}
	if l.Faint && len(values) > 0 {
		fmt.Fprintf(&b, "V%.1fZ", y+height)
	}
	return b.String()
}

// thin makes at most one value a pixel.
func (l Line) thin() []float64 {
	n := len(l.Values)
	if n <= most {
		return l.Values
	}
	out := make([]float64, most)
	for i := range out {
		part := l.Values[i*n/most : max((i+1)*n/most, i*n/most+1)]
		if l.Steps {
			out[i] = part[len(part)-1]
			continue
		}
		for _, v := range part {
			out[i] += v / float64(len(part))
		}
	}
	return out
}

// nice is the next of 1, 2, 5, 10, 20, … (and their tenths) that is not less.
func nice(x float64) float64 {
	if x <= 0 {
		return 1
	}
	ten := math.Pow(10, math.Floor(math.Log10(x)))
	for _, f := range []float64{1, 2, 5} {
		if x <= f*ten*(1+1e-9) {
			return f * ten
		}
	}
	return 10 * ten
}
