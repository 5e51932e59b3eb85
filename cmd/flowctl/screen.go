package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
)

// pager is what a screen shows.
type pager interface {
	// load gets what there is now. It runs beside the others; what it returns is
	// called when they rest.
	load(ctx context.Context) (take func(), err error)
	// draw returns all lines; of those, the first fixed ones do not scroll.
	draw(width, height int) (lines []string, fixed int)
	// press takes up a key that the screen has no use for.
	press(key string)
	keys() string // what they do
}

// screen shows a pager on the whole terminal, loaded again and again, until the
// operator has seen enough.
type screen struct {
	ctx      context.Context
	pager    pager
	interval time.Duration
	style    view.Style

	width, height int
	top           int // the first line shown of those that scroll
	most          int // that it can be
	trouble       string
}

// loaded is what a load came to.
type loaded struct {
	take func()
	err  error
}

// again tells that it is time for the next load.
type again struct{}

// watch runs a screen. The first load is waited for: it fails as other commands do.
func (a *app) watch(ctx context.Context, p pager, interval time.Duration) error {
	in, ok := a.in.(*os.File)
	if !ok || !a.inTTY || !a.outTTY {
		return args.Usagef("this needs a terminal, and standard input or output is none")
	}
	if interval < 100*time.Millisecond {
		return args.Usagef("-interval=%s is too short: 100ms at least", interval)
	}
	take, err := p.load(ctx)
	if err != nil {
		return err
	}
	take()
	s := &screen{ctx: ctx, pager: p, interval: interval, style: a.outStyle(), width: 80, height: 24}
	_, err = tea.NewProgram(s, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(a.out.(*stream).Writer), tea.WithEnvironment(a.environ),
		tea.WithoutSignalHandler()).Run()
	if ctx.Err() != nil || errors.Is(err, tea.ErrInterrupted) {
		return nil
	}
	return err
}

// Init implements tea.Model.
func (s *screen) Init() tea.Cmd { return s.wait() }

func (s *screen) wait() tea.Cmd {
	return tea.Tick(s.interval, func(time.Time) tea.Msg { return again{} })
}

// Update implements tea.Model.
func (s *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		if msg.Width > 0 && msg.Height > 0 { // some terminals do not know
			s.width, s.height = msg.Width, msg.Height
		}
	case again:
		return s, func() tea.Msg {
			take, err := s.pager.load(s.ctx)
			return loaded{take, err}
		}
	case loaded:
		s.trouble = ""
		if msg.err != nil {
			s.trouble = msg.err.Error()
		} else {
			msg.take()
		}
		return s, s.wait()
	case tea.KeyPressMsg:
		return s, s.key(msg.String())
	}
	return s, nil
}

func (s *screen) key(key string) tea.Cmd {
	page := max(1, s.height-4)
	switch key {
	case "q", "esc", "ctrl+c":
		return tea.Quit
	case "up", "k":
		s.top--
	case "down", "j":
		s.top++
	case "pgup", "ctrl+b":
		s.top -= page
	case "pgdown", "ctrl+f", "space":
		s.top += page
	case "home", "g":
		s.top = 0
	case "end", "G":
		s.top = s.most
	default:
		s.pager.press(key)
	}
	return nil
}

// View implements tea.Model.
func (s *screen) View() tea.View {
	lines, fixed := s.pager.draw(s.width, s.height-1)
	fixed = min(fixed, len(lines), max(0, s.height-2))
	room := max(1, s.height-1-fixed)
	s.most = max(0, len(lines)-fixed-room)
	s.top = max(0, min(s.top, s.most))
	shown := append(lines[:fixed:fixed], lines[fixed+s.top:min(len(lines), fixed+s.top+room)]...)
	for len(shown) < s.height-1 {
		shown = append(shown, "")
	}
	foot := s.pager.keys() + "   q quits"
	if s.most > 0 {
		foot = fmt.Sprintf("%d more lines: arrows, page keys   %s", s.most, foot)
	}
	foot = s.style.Dim(foot)
	if s.trouble != "" {
		foot = s.style.Bad(strings.ReplaceAll(s.trouble, "\n", " "))
	}
	v := tea.NewView(strings.Join(append(shown, foot), "\n"))
	v.AltScreen = true
	return v
}
