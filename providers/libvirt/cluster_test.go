package libvirt

import (
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A machine is told of its cluster, of others, and of nothing: what else is in its
// files stays, and so do their modes.
func TestAcquaintance(t *testing.T) {
	root := t.TempDir()
	put := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	get := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
	me, err := osexec.Command("id", "-un").Output()
	if err != nil {
		t.Fatal(err)
	}
	user := strings.TrimSpace(string(me))
	act := func(input, what, cluster string) string {
		t.Helper()
		cmd := osexec.Command("/bin/sh", "-c", acquaintance, "sh", what, cluster, user, "no", root)
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", what, err, out)
		}
		return string(out)
	}
	put("etc/passwd", user+":x:1000:1000::/home/me:/bin/sh\n", 0o644)
	put("etc/hosts", "127.0.0.1 localhost\n", 0o644)
	put("home/me/.ssh/authorized_keys", "ssh-rsa AAAA admin\n", 0o600)
	put("home/me/.ssh/id_ed25519.pub", "ssh-ed25519 KEY me@here\n", 0o644)
	put("etc/ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 HOST root@here\n", 0o644)
	put("run/x", "", 0o600)

	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := act("", "greet", "f.hpc"), "hostname "+host+"\nkey ssh-ed25519 KEY\nhost ssh-ed25519 HOST\n"; got != want {
		t.Errorf("it greets with %q, want %q", got, want)
	}
	lines := "member head head-0 10.0.0.1\nmember worker worker-0 10.0.0.2\nhosts 10.0.0.1 head-0\nhosts 10.0.0.2 worker-0\n" +
		"authorized ssh-ed25519 KEY root@head-0\nknown head-0,10.0.0.1 ssh-ed25519 HOST\n"
	act(lines, "introduce", "f.hpc")
	act("hosts 10.9.9.9 other-0\n", "introduce", "f.other")
	sorted := func(text string) string {
		var all []string
		for line := range strings.Lines(text) {
			if word, _, _ := strings.Cut(line, " "); word != "hostname" && word != "key" && word != "host" {
				all = append(all, line)
			}
		}
		return strings.Join(all, "")
	}
	want := "hosts 10.0.0.1 head-0\nhosts 10.0.0.2 worker-0\nauthorized ssh-ed25519 KEY root@head-0\nknown head-0,10.0.0.1 ssh-ed25519 HOST\n" +
		"member head head-0 10.0.0.1\nmember worker worker-0 10.0.0.2\n"
	if diff := cmp.Diff(want, sorted(act("", "greet", "f.hpc"))); diff != "" {
		t.Errorf("what it knows (-want +got):\n%s", diff)
	}
	act("hosts 10.0.0.1 head-0\nauthorized ssh-ed25519 KEY2 root@head-0\n", "introduce", "f.hpc")
	if got := get("home/me/.ssh/authorized_keys"); !strings.HasPrefix(got, "ssh-rsa AAAA admin\n") || strings.Contains(got, "KEY ") || !strings.Contains(got, "KEY2") {
		t.Errorf("authorized_keys:\n%s", got)
	}
	if got := get("etc/hosts"); strings.Contains(got, "worker-0") || !strings.Contains(got, "other-0") || !strings.Contains(got, "localhost") {
		t.Errorf("hosts:\n%s", got)
	}
	act("", "introduce", "f.hpc")
	act("", "introduce", "f.other")
	if got := get("etc/hosts") + get("home/me/.ssh/authorized_keys"); got != "127.0.0.1 localhost\nssh-rsa AAAA admin\n" {
		t.Errorf("it leaves %q", got)
	}
	if got := get("etc/flowctl/clusters/f.hpc"); !strings.Contains(got, "no such file") {
		t.Errorf("it leaves a list of members: %s", got)
	}
	info, err := os.Stat(filepath.Join(root, "home/me/.ssh/authorized_keys"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("authorized_keys has %v (%v)", info.Mode(), err)
	}
}
