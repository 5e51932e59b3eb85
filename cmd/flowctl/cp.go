package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	slashpath "path"
	"path/filepath"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/internal/tarball"
	"github.com/flowctl/flowctl/providers"
	"github.com/spf13/cobra"
)

const cpHelp = `Copies a file, or a folder with all that is in it, into replicas or out of one. One side is
ADDRESS:PATH, where PATH is the program's own: a relative one starts in its working
directory. A folder as the target takes the source under its own name; any other target
is the new name. Permissions are kept.

  flowctl cp function.web[0]:/etc/hosts .
  flowctl cp config.d function.web:/etc/app/      into every replica
  flowctl cp function.web[0]:data - | tar -t      as a tar stream
  tar -c data | flowctl cp - function.web[0]:.

What is copied into a replica is not part of the spec: it goes with the replica.`

func (a *app) cpCommand() *cobra.Command {
	var f args.Flow
	c := &cobra.Command{
		Use: "cp SOURCE TARGET", Short: "Copy files into replicas, or out of one", Long: cpHelp, Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, argv []string) error {
			from, into := args.ParsePlace(argv[0]), args.ParsePlace(argv[1])
			if (from.Address == "") == (into.Address == "") {
				return args.Usagef("one of source and target is ADDRESS:PATH, such as function.web[0]:/etc/hosts, and the other is a path here, or -")
			}
			return a.withState(cmd, f, func(s *session) error {
				side := from
				if side.Address == "" {
					side = into
				}
				objects, err := s.pick(cmd.Context(), []string{side.Address}, engine.KindFunction)
				if err != nil {
					return err
				}
				if from.Address == "" {
					return s.copyTo(cmd.Context(), from.Path, objects, into.Path)
				}
				if len(objects) > 1 {
					return args.Usagef("%s has %d replicas: name the one to copy from, such as %s", from.Address, len(objects), objects[0].Address)
				}
				return s.copyFrom(cmd.Context(), objects[0], from.Path, into.Path)
			})
		},
	}
	specFlag(c, &f.Path)
	f.Register(c.Flags(), false)
	return c
}

func (s *session) copier(ctx context.Context, o engine.Object) (providers.Copier, error) {
	p, err := s.set.Get(ctx, o.Provider)
	if err != nil {
		return nil, err
	}
	c, ok := providers.As[providers.Copier](p)
	if !ok {
		return nil, fmt.Errorf("provider %s cannot copy files into %s, or out of it", o.Provider, o.Address)
	}
	return c, nil
}

func (s *session) copyFrom(ctx context.Context, o engine.Object, from, target string) error {
	c, err := s.copier(ctx, o)
	if err != nil {
		return err
	}
	r, err := c.CopyFrom(ctx, o, from)
	if err != nil {
		return fmt.Errorf("copy from %s: %w", o.Address, err)
	}
	defer r.Close()
	switch info, err := os.Stat(target); {
	case target == "-":
		_, err = io.Copy(s.app.out, r)
		return err
	case err == nil && info.IsDir():
		return tarball.Unpack(r, target, "")
	default:
		return tarball.Unpack(r, filepath.Dir(target), filepath.Base(target))
	}
}

// copyTo copies to each replica in turn.
func (s *session) copyTo(ctx context.Context, source string, objects []engine.Object, target string) error {
	if source == "-" && len(objects) > 1 {
		return args.Usagef("a stream can go to one replica only, and %d are meant", len(objects))
	}
	var errs []error
	for _, o := range objects {
		c, err := s.copier(ctx, o)
		if err == nil {
			err = s.copyInto(ctx, c, source, o, target)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("copy to %s: %w", o.Address, err))
		}
	}
	return errors.Join(errs...)
}

func (s *session) copyInto(ctx context.Context, c providers.Copier, source string, o engine.Object, target string) error {
	if source == "-" {
		return c.CopyTo(ctx, o, target, s.app.in)
	}
	full, err := filepath.Abs(source)
	if err != nil {
		return err
	}
	if full, err = filepath.EvalSymlinks(full); err != nil {
		return err
	}
	dir, name := target, filepath.Base(full)
	switch isDir, err := c.Stat(ctx, o, target); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case err != nil || !isDir:
		dir, name = slashpath.Split(slashpath.Clean(target))
		if dir == "" {
			dir = "."
		}
	}
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := tarball.Pack(w, full, name)
		w.CloseWithError(err)
		packed <- err
	}()
	err = c.CopyTo(ctx, o, dir, r)
	r.CloseWithError(io.ErrClosedPipe)
	if perr := <-packed; perr != nil && !errors.Is(perr, io.ErrClosedPipe) {
		return perr
	}
	return err
}
