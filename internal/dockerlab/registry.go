package dockerlab

import (
	"fmt"
	"net"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// pools remembers which ranges of addresses are given away.
var pools = struct {
	sync.Mutex
	next int
}{next: 210}

// Who may use a registry that asks for a name and a password.
const (
	User      = "flow"
	Password  = "secret"
	passwords = User + ":$2b$04$97CSm0GsjMEiQDTG8gwnYe8LsWa17bHlvj5GLJWJ33hNoIPQIOOvO\n"
)

// Registry starts an image registry, which ends with the test, and returns its
// host:port. A closed one asks everybody who they are.
func Registry(t testing.TB, closed bool) string {
	t.Helper()
	if _, err := osexec.LookPath("docker-registry"); err != nil {
		t.Skip("needs docker-registry, which hack/lab installs")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	place := l.Addr().String()
	l.Close()
	dir := t.TempDir()
	config := fmt.Sprintf("version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: %s\nhttp:\n  addr: %s\n", filepath.Join(dir, "data"), place)
	if closed {
		file := filepath.Join(dir, "passwords")
		if err := os.WriteFile(file, []byte(passwords), 0o600); err != nil {
			t.Fatal(err)
		}
		config += fmt.Sprintf("auth:\n  htpasswd:\n    realm: lab\n    path: %s\n", file)
	}
	file := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := osexec.Command("docker-registry", "serve", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	await(t, "the registry", func() error {
		resp, err := http.Get("http://" + place + "/v2/")
		if err == nil {
			resp.Body.Close()
		}
		return err
	})
	return place
}
