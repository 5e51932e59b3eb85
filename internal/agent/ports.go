package agent

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Ports are handed out from portsFrom up to where the kernel's own choice
// (ip_local_port_range) begins, so that no outgoing connection takes one.
const (
	portsFrom = 20000
	portsTo   = 32767 // where the kernel's range begins by default, less one
	portsMin  = 1000  // a range smaller than this is not worth using
)

// portRange returns the first and last port to hand out, given the kernel's
// range. Where the kernel's range leaves no room below or above it, ports are
// taken from the default range all the same.
func portRange(low, high int) (first, last int) {
	switch {
	case low-portsFrom >= portsMin:
		return portsFrom, low - 1
	case 65535-high >= portsMin:
		return high + 1, 65535
	}
	return portsFrom, portsTo
}

// readPortRange reads the kernel's range; any failure gives its default.
func readPortRange() (low, high int) {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		_, err = fmt.Sscan(string(b), &low, &high)
	}
	if err != nil || low <= 0 || high < low {
		return 32768, 60999
	}
	return low, high
}

// ports hands out ports that no other agent of this user has handed out: each
// is a file in a folder that all of them share, locked for as long as the port
// is taken, so that a dead agent frees its ports. Safe for concurrent use.
type ports struct {
	dir         string
	first, last int

	mu   sync.Mutex
	next int // where the search goes on, so that a freed port rests for a while
}

// newPorts makes the allocator. Different seeds begin at different ports.
func newPorts(dir, seed string) *ports {
	first, last := portRange(readPortRange())
	h := fnv.New32a()
	h.Write([]byte(seed))
	return &ports{dir: dir, first: first, last: last, next: first + int(h.Sum32()%uint32(last-first+1))}
}

// defaultPortDir is the folder that all agents of this user share.
func defaultPortDir() string {
	return filepath.Join(os.TempDir(), "flowctl-ports-"+strconv.Itoa(os.Getuid()))
}

// takenPort is a port that is ours.
type takenPort struct {
	number int
	lock   *os.File
}

// take returns a port that is free on host and on every address. hint, if not
// 0, is tried first.
func (p *ports) take(host string, hint int) (*takenPort, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.ensureDir(); err != nil {
		return nil, err
	}
	if hint != 0 {
		if t, err := p.try(host, hint); t != nil || err != nil {
			return t, err
		}
	}
	for range p.last - p.first + 1 {
		number := p.next
		if p.next++; p.next > p.last {
			p.next = p.first
		}
		if t, err := p.try(host, number); t != nil || err != nil {
			return t, err
		}
	}
	return nil, fmt.Errorf("no free port on %s between %d and %d; stop something that listens there", host, p.first, p.last)
}

// ensureDir makes the folder; one that another user has put there is refused.
func (p *ports) ensureDir() error {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return fmt.Errorf("make folder for port locks: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(p.dir, &st); err != nil {
		return fmt.Errorf("look at folder for port locks %s: %w", p.dir, err)
	}
	if int(st.Uid) != os.Getuid() || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("folder for port locks %s belongs to user %d; remove it or set TMPDIR", p.dir, st.Uid)
	}
	return nil
}

// try takes one port, or returns nil if it is taken.
func (p *ports) try(host string, number int) (*takenPort, error) {
	lock, err := p.lock(strconv.Itoa(number))
	if lock == nil || err != nil {
		return nil, err
	}
	t := &takenPort{number, lock}
	if !canListen(host, number) {
		t.release()
		return nil, nil
	}
	return t, nil
}

// lock locks a file of the folder, or returns nil if somebody else has. A file
// that its owner removed meanwhile is not the one that others will look at.
func (p *ports) lock(name string) (*os.File, error) {
	path := filepath.Join(p.dir, name)
	for range 100 {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if errors.Is(err, os.ErrNotExist) { // another agent was the last to leave
			if err := p.ensureDir(); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("lock port: %w", err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isAt(f, path) {
			return f, nil
		}
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("lock port: %w", err)
		}
	}
	return nil, nil
}

func isAt(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(mine, there)
}

// release frees the port and leaves no file.
func (t *takenPort) release() {
	os.Remove(t.lock.Name())
	t.lock.Close()
	os.Remove(filepath.Dir(t.lock.Name())) // succeeds for the last port alone
}

// sweep removes the lock files that dead agents have left.
func (p *ports) sweep() {
	files, err := os.ReadDir(p.dir)
	if err != nil {
		return
	}
	for _, file := range files {
		if strings.Trim(file.Name(), "0123456789") != "" {
			continue
		}
		if f, err := p.lock(file.Name()); err == nil && f != nil {
			(&takenPort{lock: f}).release()
		}
	}
}

// hasAddress says whether servers on this computer can listen on an address.
func hasAddress(host string) error {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return invalidf("machine host %s cannot be listened on: %v; use an address of this computer such as 127.0.0.1", host, err)
	}
	return l.Close()
}

// canListen says whether a server could listen on the port of host, while
// nobody listens on it at any address. It listens for a moment to know.
func canListen(host string, port int) bool {
	all := "0.0.0.0"
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		all = "::"
	}
	for _, h := range []string{host, all} {
		l, err := net.Listen("tcp", net.JoinHostPort(h, strconv.Itoa(port)))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}
