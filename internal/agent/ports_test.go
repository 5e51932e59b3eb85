package agent

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPortRangeKeepsClearOfTheKernels(t *testing.T) {
	for name, test := range map[string]struct{ low, high, first, last int }{
		"the default":              {32768, 60999, 20000, 32767},
		"a low one":                {15000, 60999, 61000, 65535},
		"just room below":          {21000, 65535, 20000, 20999},
		"everything":               {1024, 65535, 20000, 32767},
		"below, and room on top":   {10000, 19999, 20000, 65535},
		"hardly any room anywhere": {20500, 65000, 20000, 32767},
	} {
		if first, last := portRange(test.low, test.high); first != test.first || last != test.last {
			t.Errorf("%s (%d-%d): %d-%d, want %d-%d", name, test.low, test.high, first, last, test.first, test.last)
		}
	}
	if low, high := readPortRange(); low <= 0 || high <= low {
		t.Errorf("this computer's range is %d-%d", low, high)
	}
}

// narrow makes an allocator of few ports.
func narrow(t *testing.T, dir string, first, last int) *ports {
	t.Helper()
	p := newPorts(dir, "seed")
	p.first, p.last, p.next = first, last, first
	return p
}

func TestPortsAreTakenOnceAndFreed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ports")
	const first, last = 31700, 31719
	var mu sync.Mutex
	taken := map[int]*takenPort{}
	var all sync.WaitGroup
	for range 4 { // agents
		p := narrow(t, dir, first, last)
		for range 4 {
			all.Go(func() {
				port, err := p.take("127.0.0.1", 0)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				} else if taken[port.number] != nil {
					t.Errorf("port %d is taken twice", port.number)
				} else {
					taken[port.number] = port
				}
			})
		}
	}
	all.Wait()
	p := narrow(t, dir, first, last)
	rest := 0
	for {
		port, err := p.take("127.0.0.1", 0)
		if err != nil {
			break
		}
		rest++
		defer port.release()
	}
	if len(taken)+rest > last-first+1 {
		t.Errorf("%d ports of %d", len(taken)+rest, last-first+1)
	}
	for n, port := range taken {
		port.release()
		again, err := p.take("127.0.0.1", n)
		if err != nil || again.number != n {
			t.Fatalf("freed port %d is not had again: %v", n, err)
		}
		again.release()
		break
	}
}

func TestAFreedPortRestsAndAPortInUseIsSkipped(t *testing.T) {
	p := narrow(t, filepath.Join(t.TempDir(), "ports"), 31720, 31729)
	a, err := p.take("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	a.release()
	b, err := p.take("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.release()
	if b.number == a.number {
		t.Errorf("port %d is handed out again at once", a.number)
	}
	for _, addr := range []string{"127.0.0.1", "0.0.0.0", "127.77.0.1"} {
		next := strconv.Itoa(p.next)
		l, err := net.Listen("tcp", net.JoinHostPort(addr, next))
		if err != nil {
			t.Skip(err)
		}
		c, err := p.take("127.0.0.1", p.next)
		if err != nil || strconv.Itoa(c.number) == next {
			t.Errorf("port %s is taken though %s listens on it: %v", next, addr, err)
		}
		c.release()
		l.Close()
	}
}

func TestLocksOfDeadAgentsAreSwept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ports")
	p := narrow(t, dir, 31730, 31739)
	live, err := p.take("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"31738", "31739", "not-a-port"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.sweep()
	left, _ := os.ReadDir(dir)
	if len(left) != 2 || left[0].Name() != strconv.Itoa(live.number) || left[1].Name() != "not-a-port" {
		t.Errorf("left after the sweep: %v", left)
	}
	os.Remove(filepath.Join(dir, "not-a-port"))
	live.release()
	if exists(dir) {
		t.Error("the last port leaves the folder")
	}
	p.sweep() // of nothing
}

func TestAForeignPortFolderIsRefused(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to give a folder away")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 54321, 54321); err != nil {
		t.Fatal(err)
	}
	if _, err := narrow(t, dir, 31740, 31749).take("127.0.0.1", 0); err == nil {
		t.Error("a port is locked in a folder of another user")
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/tmp", link); err != nil {
		t.Fatal(err)
	}
	if _, err := narrow(t, link, 31740, 31749).take("127.0.0.1", 0); err == nil {
		t.Error("a port is locked behind a link")
	}
	if fd, err := unix.Open(dir, unix.O_RDONLY, 0); err == nil {
		unix.Close(fd)
	}
}
