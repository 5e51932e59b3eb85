package daemon

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// maxSocketPath is the longest path that fits sockaddr_un (108 bytes on Linux,
// 104 elsewhere, with the final zero).
const maxSocketPath = 103

// Listen opens the control socket of dir, private to this user. A socket file
// left by a dead process is replaced; call it only while dir is claimed.
func Listen(dir string) (net.Listener, error) {
	path := filepath.Join(dir, Socket)
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	short, done, err := shortPath(path)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.Listen("unix", short)
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // the short path is gone by then
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Dial connects to the control socket of dir.
func Dial(ctx context.Context, dir string) (net.Conn, error) {
	short, done, err := shortPath(filepath.Join(dir, Socket))
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	return d.DialContext(ctx, "unix", short)
}

// HTTPClient returns a client whose every request goes to the control socket
// of dir, whatever host its URL names. Close idle connections when done.
func HTTPClient(dir string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return Dial(ctx, dir) },
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     30 * time.Second,
	}}
}

// shortPath returns a path to the same socket that fits a socket address: a
// deep folder is reached through its open file descriptor. Linux only; on other
// systems a long path fails in the kernel with "invalid argument".
func shortPath(path string) (string, func(), error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	short := filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), filepath.Base(path))
	return short, func() { dir.Close() }, nil
}
