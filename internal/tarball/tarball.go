// Package tarball packs files into tar streams and takes them out again, for
// copying into and out of replicas. What it takes out never leaves the folder that
// it is given, whatever a stream says.
package tarball

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Pack writes a file, or a folder with all that is in it, as a stream in which it
// has another name. What is neither file, folder nor symbolic link is an error.
func Pack(w io.Writer, root, name string) error {
	out := tar.NewWriter(w)
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		return pack(out, p, path.Join(name, filepath.ToSlash(rel)))
	})
	return errors.Join(err, out.Close())
}

func pack(out *tar.Writer, file, name string) error {
	info, err := os.Lstat(file)
	if err != nil {
		return err
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(file); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	h.Name, h.Uid, h.Gid, h.Uname, h.Gname = name, 0, 0, "", "" // whose it is here means nothing there
	if info.IsDir() {
		h.Name += "/"
	}
	if err := out.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(out, f)
	return err
}

// Unpack takes everything out of a stream into a folder that exists. With a name,
// the first part of every path becomes that.
func Unpack(r io.Reader, dir, name string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		to := strings.Trim(path.Clean("/"+h.Name), "/")
		if name != "" {
			_, rest, _ := strings.Cut(to, "/")
			to = path.Join(name, rest)
		}
		if to == "" {
			continue
		}
		if err := unpack(root, in, h, to); err != nil {
			return fmt.Errorf("%s: %w", to, err)
		}
	}
}

func unpack(root *os.Root, in io.Reader, h *tar.Header, to string) error {
	mode := h.FileInfo().Mode().Perm()
	switch h.Typeflag {
	case tar.TypeDir:
		if err := root.MkdirAll(to, 0o755); err != nil {
			return err
		}
		return root.Chmod(to, mode|0o700) // so that what is in it can be put there
	case tar.TypeSymlink:
		if err := root.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return root.Symlink(h.Linkname, to)
	case tar.TypeReg:
	default:
		return fmt.Errorf("a %q entry is neither file, folder nor symbolic link", h.Typeflag)
	}
	if err := root.MkdirAll(path.Dir(to), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	return errors.Join(err, f.Chmod(mode), f.Close())
}
