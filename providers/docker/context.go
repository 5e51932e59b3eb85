package docker

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// strayDockerfile is the name in a context of a Dockerfile that lies outside.
const strayDockerfile = ".dockerfile.flowctl"

// buildContext is a folder from which an image is built. What .dockerignore names,
// or FILE.dockerignore beside a Dockerfile FILE, is no part of it.
type buildContext struct {
	dir        string
	dockerfile string // path
	inside     bool   // the Dockerfile is in dir
	state      string // the folder of states: they change with each apply, and are no part of it either
	ignored    *patternmatcher.PatternMatcher
}

func (d *Docker) openContext(b engine.ImageBuild) (*buildContext, error) {
	c := &buildContext{dir: d.path(b.Context), state: filepath.Dir(filepath.Dir(d.settings.Dir))}
	if info, err := os.Stat(c.dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("its build context %s is no folder; build.context is relative to the spec", c.dir)
	}
	name := b.Dockerfile
	if name == "" {
		name = "Dockerfile"
	}
	if c.dockerfile = name; !filepath.IsAbs(name) {
		c.dockerfile = filepath.Join(c.dir, name)
	}
	if info, err := os.Stat(c.dockerfile); err != nil || info.IsDir() {
		return nil, fmt.Errorf("there is no Dockerfile at %s; build.dockerfile is relative to the context", c.dockerfile)
	}
	rel, err := filepath.Rel(c.dir, c.dockerfile)
	c.inside = err == nil && filepath.IsLocal(rel)
	return c, c.readIgnored()
}

func (c *buildContext) readIgnored() error {
	for _, file := range []string{c.dockerfile + ".dockerignore", filepath.Join(c.dir, ".dockerignore")} {
		f, err := os.Open(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		defer f.Close()
		patterns, err := ignorefile.ReadAll(f)
		if err == nil {
			c.ignored, err = patternmatcher.New(patterns)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		return nil
	}
	return nil
}

// dockerfileName is the Dockerfile's name in what is sent.
func (c *buildContext) dockerfileName() string {
	if !c.inside {
		return strayDockerfile
	}
	rel, _ := filepath.Rel(c.dir, c.dockerfile)
	return filepath.ToSlash(rel)
}

// write packs the context. It is the same for the same files, wherever and
// whenever they were made: owners and times are left out.
func (c *buildContext) write(w io.Writer) error {
	t := tar.NewWriter(w)
	err := filepath.WalkDir(c.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(c.dir, path)
		if err != nil || rel == "." {
			return err
		}
		if e.IsDir() && path == c.state {
			return fs.SkipDir
		}
		if skip, err := c.skips(path, rel); skip || err != nil {
			if e.IsDir() && err == nil && !c.ignored.Exclusions() {
				return fs.SkipDir
			}
			return err
		}
		return pack(t, path, filepath.ToSlash(rel))
	})
	if err == nil && !c.inside {
		err = pack(t, c.dockerfile, strayDockerfile)
	}
	return errors.Join(err, t.Close())
}

func (c *buildContext) skips(path, rel string) (bool, error) {
	if c.ignored == nil || path == c.dockerfile {
		return false, nil
	}
	return c.ignored.MatchesOrParentMatches(filepath.ToSlash(rel))
}

func pack(t *tar.Writer, path, name string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	link := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	case !info.IsDir() && !info.Mode().IsRegular():
		return nil // sockets and the like are no part of an image
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Uid, h.Gid, h.Uname, h.Gname = name, 0, 0, "", ""
	h.ModTime, h.AccessTime, h.ChangeTime = time.Unix(0, 0), time.Time{}, time.Time{}
	if info.IsDir() {
		h.Name += "/"
	}
	if err := t.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(t, f)
	return err
}

// digest is the content of the context and of everything else that decides what
// is built.
func (c *buildContext) digest(want engine.Image) (string, error) {
	h := sha256.New()
	if err := c.write(h); err != nil {
		return "", fmt.Errorf("read the build context %s: %w", c.dir, err)
	}
	parts := []string{hex.EncodeToString(h.Sum(nil)), c.dockerfileName(), want.Build.Target, want.Platform}
	var args []string
	for k, v := range want.Build.Args {
		args = append(args, k+"="+v)
	}
	slices.Sort(args)
	return "sha256:" + hashOf(append(parts, args...)...), nil
}

// stream packs the context while it is read. stop ends that and waits for it.
func (c *buildContext) stream() (r io.Reader, stop func()) {
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		pw.CloseWithError(c.write(pw))
	}()
	return pr, func() {
		pr.CloseWithError(context.Canceled)
		<-done
	}
}

func fileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}
