package libvirt

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"sync"
)

// hashes remembers the hashes of files, which take as long as a machine that is made
// of a golden one's state, until the files change.
type hashes struct {
	mu   sync.Mutex
	seen map[string]string
}

// sum is the SHA-256 of a file, in hexadecimal. It leaves the file at its start.
func (h *hashes) sum(f *os.File) (string, error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	is := fmt.Sprint(f.Name(), info.Size(), info.ModTime().UnixNano())
	if sum, ok := h.seen[is]; ok {
		return sum, nil
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	if h.seen == nil {
		h.seen = map[string]string{}
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	h.seen[is] = sum
	return sum, nil
}
