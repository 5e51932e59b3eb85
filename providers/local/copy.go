package local

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/internal/tarball"
	"github.com/flowctl/flowctl/providers"
)

// path finds a program's path on this machine.
func (l *Local) path(ctx context.Context, o engine.Object, path string) (string, error) {
	if filepath.IsAbs(path) {
		return path, nil
	}
	c := l.client(o.Attr("machine_id"))
	defer c.Close()
	s, err := c.Get(ctx, providers.Name(o.Address, o.Gen))
	if err != nil {
		return "", err
	}
	return filepath.Join(s.Dir, path), nil
}

// Stat implements providers.Copier.
func (l *Local) Stat(ctx context.Context, o engine.Object, path string) (dir bool, err error) {
	if path, err = l.path(ctx, o, path); err != nil {
		return false, err
	}
	info, err := os.Stat(path)
	return err == nil && info.IsDir(), err
}

// CopyFrom implements providers.Copier.
func (l *Local) CopyFrom(ctx context.Context, o engine.Object, path string) (io.ReadCloser, error) {
	path, err := l.path(ctx, o, path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(path); err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(tarball.Pack(w, path, filepath.Base(path))) }() // ends when the reader closes
	return r, nil
}

// CopyTo implements providers.Copier.
func (l *Local) CopyTo(ctx context.Context, o engine.Object, dir string, tar io.Reader) error {
	dir, err := l.path(ctx, o, dir)
	if err != nil {
		return err
	}
	if err := tarball.Unpack(tar, dir, ""); err != nil {
		return fmt.Errorf("copy to %s: %w", dir, err)
	}
	return nil
}
