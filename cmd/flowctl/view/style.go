package view

import "os"

// Style writes text in colours, or not. The zero value does not.
type Style struct{ colour bool }

// Wants reports whether colours are wanted on a stream that is a terminal or
// not: NO_COLOR, CLICOLOR_FORCE and TERM=dumb are obeyed (no-color.org,
// bixense.com/clicolors); choice is auto, always or never.
func Wants(choice string, terminal bool, getenv func(string) string) Style {
	switch {
	case choice == "always":
		return Style{true}
	case choice == "never" || getenv("NO_COLOR") != "":
		return Style{}
	case getenv("CLICOLOR_FORCE") != "" && getenv("CLICOLOR_FORCE") != "0":
		return Style{true}
	default:
		return Style{terminal && getenv("TERM") != "dumb" && getenv("CLICOLOR") != "0"}
	}
}

func (s Style) wrap(code, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// The roles of colours, from the 16 that every terminal has.
func (s Style) bold(t string) string { return s.wrap("1", t) }
func (s Style) dim(t string) string  { return s.wrap("2", t) }
func (s Style) good(t string) string { return s.wrap("32", t) }
func (s Style) warn(t string) string { return s.wrap("33", t) }
func (s Style) bad(t string) string  { return s.wrap("31", t) }
func (s Style) note(t string) string { return s.wrap("36", t) }

// Bold writes text in bold.
func (s Style) Bold(t string) string { return s.bold(t) }

// Dim writes text that matters less.
func (s Style) Dim(t string) string { return s.dim(t) }

// Good, Bad and Warn write text in the colour of its meaning.
func (s Style) Good(t string) string { return s.good(t) }

// Bad writes text in the colour of failure.
func (s Style) Bad(t string) string { return s.bad(t) }

// Warn writes text in the colour of a warning.
func (s Style) Warn(t string) string { return s.warn(t) }

// Pick writes text in one of several colours, the same for the same number.
func (s Style) Pick(n int, t string) string {
	codes := []string{"36", "33", "32", "35", "34", "96", "93", "92", "95", "94"}
	return s.wrap(codes[n%len(codes)], t)
}

// IsTerminal reports whether a file is a terminal. The null device, which is a
// character device, too, is none.
func IsTerminal(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}
