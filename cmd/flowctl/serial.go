package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// escapeKey ends a connection to a console: ^].
const escapeKey = 0x1d

// quiet is how long a console says nothing before it is taken to have said all about
// what was piped in.
const quiet = 2 * time.Second

// connect connects the operator to the console of a machine.
func (s *session) connect(ctx context.Context, address string) error {
	objects, err := s.pick(ctx, []string{address}, engine.KindVM)
	if err != nil {
		return err
	}
	if len(objects) > 1 {
		return args.Usagef("%d machines are meant, and a console is of one: name it, such as %s", len(objects), objects[0].Address)
	}
	o := objects[0]
	p, err := s.set.Get(ctx, o.Provider)
	if err != nil {
		return err
	}
	c, ok := providers.As[providers.Consoler](p)
	if !ok {
		return fmt.Errorf("%s has no console: provider %s makes none", o.Address, o.Provider)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.app.inTTY && s.app.outTTY {
		t, err := s.app.terminal()
		if err != nil {
			return err
		}
		fmt.Fprintf(s.app.err, "This is the console of %s; ^] ends it.\r\n", o.Address)
		restore, err := t.Raw()
		if err != nil {
			return err
		}
		defer restore()
		return c.Console(ctx, o, typed(s.app.in, cancel), s.app.out)
	}
	if !piped(s.app.in) {
		return args.Usagef("a console needs a terminal, or something piped in")
	}
	out := &silence{Writer: s.app.out, over: cancel}
	return c.Console(ctx, o, typed(s.app.in, out.await), out)
}

// piped reports whether an input ends by itself, as a pipe or a file does.
func piped(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return in != nil
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice == 0
}

// typed passes on what is typed, up to the key that ends it. Nobody can end the
// reading of a terminal, so it goes on until the process ends.
func typed(in io.Reader, end func()) <-chan []byte {
	keys := make(chan []byte)
	go func() {
		defer end()
		for {
			piece := make([]byte, 1<<10)
			n, err := in.Read(piece)
			at := bytes.IndexByte(piece[:n], escapeKey)
			if at >= 0 {
				n, err = at, io.EOF
			}
			if n > 0 {
				keys <- piece[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	return keys
}

// silence passes on what is written, and tells when nothing more comes. It is safe
// for concurrent use.
type silence struct {
	io.Writer
	over func()

	mu    sync.Mutex
	timer *time.Timer // nil until it is waited for
}

func (s *silence) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Reset(quiet)
	}
	return s.Writer.Write(p)
}

// await begins to wait.
func (s *silence) await() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(quiet, s.over)
}
