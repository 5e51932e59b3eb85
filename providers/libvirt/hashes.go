package libvirt

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// hashes remembers the hashes of files until they change, also for other processes:
// that of a disk takes as long as much of what a machine is made of.
type hashes struct {
	file string           // what is kept, for all flows; "" keeps nothing
	now  func() time.Time // nil is time.Now

	mu   sync.Mutex
	seen map[string]hashed // by path; nil until the first question
}

// hashed is what a file was when it had a hash. Whoever writes to it, or puts another
// in its place, changes one of these: nobody but the kernel sets Changed.
type hashed struct {
	Device   uint64 `json:"device"`
	Inode    uint64 `json:"inode"`
	Size     int64  `json:"size"`     // bytes
	Modified int64  `json:"modified"` // nanoseconds of Unix time, as Changed
	Changed  int64  `json:"changed"`
	SHA256   string `json:"sha256"` // hexadecimal
}

// settled is how long a file must have been as it is for its hash to be kept: what is
// written within one tick of a file system's clock leaves its times as they were. The
// coarsest counts seconds, in twos.
const settled = 3 * time.Second

// hashesFile is where hashes are kept: in the user's cache, "" if there is none.
func hashesFile() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "flowctl", "hashes.json")
}

// sum is the SHA-256 of a file, in hexadecimal. It leaves the file at its start.
func (h *hashes) sum(f *os.File) (string, error) {
	at, err := filepath.Abs(f.Name())
	if err != nil {
		return "", err
	}
	is, err := described(f)
	if err != nil {
		return "", err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.seen == nil {
		h.seen = h.read()
	}
	if was := h.seen[at]; was.same(is) {
		return was.SHA256, nil
	}
	now := time.Now
	if h.now != nil {
		now = h.now
	}
	began := now()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	then, err := described(f)
	if err != nil {
		return "", err
	}
	is.SHA256 = hex.EncodeToString(hash.Sum(nil))
	if then.same(is) && began.Sub(time.Unix(0, is.Changed)) > settled {
		h.seen[at] = is
		h.keep(at, is)
	}
	return is.SHA256, nil
}

// described is what a file is now, without its hash.
func described(f *os.File) (hashed, error) {
	info, err := f.Stat()
	if err != nil {
		return hashed{}, err
	}
	s := info.Sys().(*syscall.Stat_t)
	return hashed{Device: uint64(s.Dev), Inode: s.Ino, Size: s.Size, Modified: s.Mtim.Nano(), Changed: s.Ctim.Nano()}, nil
}

// same reports whether two describe a file that has not changed between them.
func (a hashed) same(b hashed) bool {
	a.SHA256, b.SHA256 = "", ""
	return a == b
}

// read returns what is kept: nothing, if that is not the user's own to write, or not
// whole.
func (h *hashes) read() map[string]hashed {
	kept := map[string]hashed{}
	info, err := os.Stat(h.file)
	if err != nil || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return kept
	}
	text, err := os.ReadFile(h.file)
	if err != nil || json.Unmarshal(text, &kept) != nil {
		return map[string]hashed{}
	}
	maps.DeleteFunc(kept, func(_ string, k hashed) bool { return !sha256Form.MatchString(k.SHA256) })
	return kept
}

// keep adds a hash to what is kept, without files that are gone. What another process
// adds at the same moment may be lost, and what cannot be kept is: it is found again.
func (h *hashes) keep(at string, is hashed) {
	if h.file == "" || os.MkdirAll(filepath.Dir(h.file), 0o700) != nil {
		return
	}
	all := h.read()
	maps.DeleteFunc(all, func(path string, _ hashed) bool { _, err := os.Stat(path); return err != nil })
	all[at] = is
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return
	}
	half, err := os.CreateTemp(filepath.Dir(h.file), "hashes-") // nobody else's to read or write
	if err != nil {
		return
	}
	_, err = half.Write(append(text, '\n'))
	if half.Close() != nil || err != nil || os.Rename(half.Name(), h.file) != nil {
		_ = os.Remove(half.Name())
	}
}
