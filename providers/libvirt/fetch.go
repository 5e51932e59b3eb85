package libvirt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	small "github.com/flowctl/flowctl/providers/libvirt/machine"
)

// sha256Form is how a checksum is written.
var sha256Form = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)

// remote reports whether an image is named by where it is to be fetched.
func remote(image string) bool {
	u, err := url.Parse(image)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https")
}

// fetchedAt is where an image with a checksum is kept once it was fetched: in the user's
// cache, for all flows.
func fetchedAt(sum string) (string, error) {
	dir, err := small.Dir()
	return filepath.Join(filepath.Dir(dir), "disks", sum), err
}

// fetch makes sure that the image of a machine is here, and is the one that was meant.
func (l *Libvirt) fetch(ctx context.Context, h hypervisor, want engine.VM) error {
	if h.Simulated() {
		return nil
	}
	src, err := l.sourceOf(want)
	if err != nil {
		return providers.Permanent(err)
	}
	switch {
	case src.sum == "":
		return nil
	case src.url == "":
		return l.compare(src)
	}
	l.fetching.Lock()
	defer l.fetching.Unlock()
	if _, err := os.Stat(src.image); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(src.image), 0o755); err != nil {
		return err
	}
	part, err := alone(ctx, src.image+".part")
	if err != nil {
		return err
	}
	defer part.Close()
	if _, err := os.Stat(src.image); err == nil { // somebody else has fetched it in the meantime
		return nil
	}
	return download(ctx, src, part)
}

// compare checks a file that is here against its checksum.
func (l *Libvirt) compare(src source) error {
	f, err := os.Open(src.image)
	if err != nil {
		return providers.Permanent(err)
	}
	defer f.Close()
	got, err := l.hashes.sum(f)
	if err == nil && got != src.sum {
		err = differs(src.image, got, src.sum)
	}
	return err
}

// differs is the error for an image that is not the one that was meant.
func differs(what, got, want string) error {
	return providers.Permanent(fmt.Errorf("image %s has the SHA-256 %s, but %s was expected: if it was replaced on purpose, correct sha256; if not, do not trust it", what, got, want))
}

// alone opens a file that one process at a time fills, when nobody else does. What is
// in it stays.
func alone(ctx context.Context, file string) (*os.File, error) {
	for p := (pause{50 * time.Millisecond, time.Second}); ; {
		f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		locked := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		is, err := f.Stat()
		named, nerr := os.Stat(file)
		if locked == nil && err == nil && nerr == nil && os.SameFile(is, named) { // else it has been put in place just now
			return f, nil
		}
		f.Close()
		if locked != nil && !errors.Is(locked, syscall.EWOULDBLOCK) {
			return nil, locked
		}
		if !p.wait(ctx) {
			return nil, fmt.Errorf("somebody else fetches %s: %w", file, context.Cause(ctx))
		}
	}
}

// download completes part with what is at a URL, and puts it in place if it is what was
// meant. What has come stays when it breaks off, for the next attempt to go on with.
func download(ctx context.Context, src source, part *os.File) error {
	have, err := part.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	resumed, err := pull(ctx, src.url, part, have)
	if err != nil {
		return err
	}
	if _, err := part.Seek(0, io.SeekStart); err != nil {
		return err
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, part); err != nil {
		return err
	}
	got := hex.EncodeToString(hash.Sum(nil))
	switch {
	case got == src.sum:
		return os.Rename(part.Name(), src.image)
	case resumed: // it may have changed since the first part of it was fetched
		err = providers.Passing(fmt.Errorf("image %s: two parts of it do not make the whole, and it is fetched again", src.url))
	default:
		err = differs(src.url, got, src.sum)
	}
	return errors.Join(err, os.Remove(part.Name()))
}

// pull appends to part what is at a URL from an offset on; all of it, if the server
// knows of no offsets. It reports whether it went on from the offset.
func pull(ctx context.Context, from string, part *os.File, offset int64) (resumed bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return false, providers.Permanent(err)
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, providers.Passing(fmt.Errorf("fetch image %s: %w", from, err))
	}
	defer resp.Body.Close()
	switch s := resp.StatusCode; {
	case s == http.StatusPartialContent && strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)):
		resumed = true
	case s == http.StatusRequestedRangeNotSatisfiable: // all of it is there, or more
		return true, nil
	case s == http.StatusOK:
		offset = 0
		if err := part.Truncate(0); err != nil {
			return false, err
		}
	case s >= 500 || s == http.StatusTooManyRequests:
		return false, providers.Passing(fmt.Errorf("fetch image %s: the server answers %s", from, resp.Status))
	default:
		return false, providers.Permanent(fmt.Errorf("fetch image %s: the server answers %s: correct image", from, resp.Status))
	}
	if _, err := part.Seek(offset, io.SeekStart); err != nil {
		return resumed, err
	}
	counted := &fetchNote{ctx: ctx, done: offset, of: offset + resp.ContentLength}
	if _, err := io.Copy(part, io.TeeReader(resp.Body, counted)); err != nil {
		err = fmt.Errorf("fetch image %s, of which %d bytes are here: %w", from, counted.done, err)
		if errors.Is(err, syscall.ENOSPC) {
			return resumed, providers.Permanent(fmt.Errorf("%w: make room where %s is", err, part.Name()))
		}
		return resumed, providers.Passing(err)
	}
	return resumed, nil
}

// fetchNote tells how far a download has come, each time that it is a twentieth further.
type fetchNote struct {
	ctx      context.Context
	done, of int64 // bytes
}

func (n *fetchNote) Write(p []byte) (int, error) {
	before := n.done
	n.done += int64(len(p))
	if n.of > before && n.done*20/n.of > before*20/n.of {
		engine.Note(n.ctx, fmt.Sprintf("fetched %d of %d MiB", n.done>>20, n.of>>20))
	}
	return len(p), nil
}
