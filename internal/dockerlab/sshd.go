package dockerlab

import (
	"fmt"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"testing"
)

// Box is a machine that is reached by ssh alone: this one, by an sshd of the test's.
type Box struct {
	Addr string // host:port
	User string // who may come in

	t    testing.TB
	dir  string
	sshd string // the program
	cmd  *osexec.Cmd
}

// boxConfig is sshd's; %[1]s is the address, %[2]s the folder with its keys.
const boxConfig = `ListenAddress %[1]s
HostKey %[2]s/host
AuthorizedKeysFile %[2]s/authorized
PidFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
MaxStartups 100
`

// clientConfig is what a user has in ~/.ssh/config; %[1]s is the folder.
const clientConfig = `IdentityFile %[1]s/user
IdentitiesOnly yes
UserKnownHostsFile %[1]s/known
GlobalKnownHostsFile none
StrictHostKeyChecking yes
`

// SSH starts an sshd in the lab; it ends with the test. The test's own ssh, which is
// first on its PATH, knows the box and is let in.
func SSH(t testing.TB) *Box {
	t.Helper()
	lab := os.Getenv("FLOWCTL_LAB")
	sshd, err := osexec.LookPath("sshd")
	if lab == "" || err != nil {
		t.Skip("needs a lab and sshd: run it with hack/lab, and install openssh-server")
	}
	ssh, err := osexec.LookPath("ssh")
	if err != nil {
		t.Skip("needs ssh")
	}
	b := &Box{t: t, dir: t.TempDir(), sshd: sshd, User: "root"} // which is who is in labs
	b.Addr = b.freeAddr()
	b.Key("host")
	b.Key("user")
	b.must(os.Mkdir(filepath.Join(b.dir, "bin"), 0o755))
	b.write("config", fmt.Sprintf(clientConfig, b.dir))
	b.write("bin/ssh", fmt.Sprintf("#!/bin/sh\nexec %s -F %s/config \"$@\"\n", ssh, b.dir)) // ssh does not go by $HOME
	b.must(os.Chmod(filepath.Join(b.dir, "bin/ssh"), 0o755))
	b.must(os.MkdirAll("/run/sshd", 0o755)) // the lab's own /run
	b.Authorize("user")
	b.Know("host")
	t.Setenv("PATH", filepath.Join(b.dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Cleanup(b.Down)
	b.Up()
	return b
}

// Up starts sshd, with further lines of its configuration, and waits until it listens.
func (b *Box) Up(lines ...string) {
	b.t.Helper()
	config := fmt.Sprintf(boxConfig, b.Addr, b.dir)
	for _, l := range lines {
		config += l + "\n"
	}
	b.write("sshd_config", config)
	log := filepath.Join(b.dir, "sshd.log")
	b.cmd = osexec.Command(b.sshd, "-D", "-f", filepath.Join(b.dir, "sshd_config"), "-E", log)
	b.must(b.cmd.Start())
	await(b.t, "sshd", func() error {
		c, err := net.Dial("tcp", b.Addr)
		if err != nil {
			text, _ := os.ReadFile(log)
			return fmt.Errorf("%w: %s", err, text)
		}
		return c.Close()
	})
}

// Down ends it; connections that there are go on.
func (b *Box) Down() {
	if b.cmd != nil {
		b.cmd.Process.Kill()
		b.cmd.Wait()
		b.cmd = nil
	}
}

// Again starts it again with further lines of its configuration.
func (b *Box) Again(lines ...string) {
	b.t.Helper()
	b.Down()
	b.Up(lines...)
}

// Key makes a pair of keys of a name.
func (b *Box) Key(name string) {
	b.t.Helper()
	if out, err := osexec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", filepath.Join(b.dir, name)).CombinedOutput(); err != nil {
		b.t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
}

// Authorize lets those come in who have one of some keys, and nobody else.
func (b *Box) Authorize(keys ...string) {
	b.t.Helper()
	var all []byte
	for _, k := range keys {
		all = append(all, b.public(k)...)
	}
	b.write("authorized", string(all))
}

// Know lets the test's user take the box for one with some key; "" is for none.
func (b *Box) Know(key string) {
	b.t.Helper()
	if key == "" {
		b.write("known", "")
		return
	}
	host, port, _ := net.SplitHostPort(b.Addr)
	b.write("known", fmt.Sprintf("[%s]:%s %s", host, port, b.public(key)))
}

func (b *Box) public(key string) []byte {
	text, err := os.ReadFile(filepath.Join(b.dir, key+".pub"))
	b.must(err)
	return text
}

func (b *Box) write(name, text string) {
	b.t.Helper()
	b.must(os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600))
}

func (b *Box) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// freeAddr is an address where nobody listens.
func (b *Box) freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	b.must(err)
	defer l.Close()
	return l.Addr().String()
}
