// Package dockerlab starts further container engines and registries for tests, in
// the surroundings that hack/lab has made. Where there are none, tests skip.
package dockerlab

import (
	"context"
	"fmt"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// commandVar names the variable with the command of the lab's own engine.
const commandVar = "FLOWCTL_LAB_ENGINE"

// Engine is a container engine of a test, which the test may end.
type Engine struct {
	Host string // where it answers, as DOCKER_HOST has it
	Dir  string // its files

	t    testing.TB
	argv []string
	cmd  *osexec.Cmd
	over chan error // what the process ended with
}

// Start starts an engine beside the lab's own; it ends with the test. dataRoot is
// where it keeps its data; "" means a folder of its own.
func Start(t testing.TB, dataRoot string) *Engine {
	t.Helper()
	own := strings.Fields(os.Getenv(commandVar))
	if len(own) == 0 {
		t.Skipf("needs a lab, which starts container engines: run it with hack/lab")
	}
	dir, err := os.MkdirTemp(os.Getenv("FLOWCTL_LAB"), "e") // short: the path of a socket has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	if dataRoot == "" {
		dataRoot = filepath.Join(dir, "data")
	}
	e := &Engine{t: t, Dir: dir, Host: "unix://" + filepath.Join(dir, "s")}
	pool, err := freePool()
	if err != nil {
		t.Fatal(err)
	}
	// Its containers are reached through its proxies: rules for packets would be
	// those of the lab's engine, too.
	e.argv = append(e.argv, own[0], "--host", e.Host, "--data-root", dataRoot, "--exec-root", filepath.Join(dir, "x"),
		"--pidfile", filepath.Join(dir, "pid"), "--bridge", "none", "--iptables=false", "--ip-masq=false", "--default-address-pool", "base="+pool+",size=24")
	for i, arg := range own {
		if arg == "--storage-driver" || arg == "--cgroup-parent" {
			e.argv = append(e.argv, arg, own[i+1])
		}
	}
	t.Cleanup(func() {
		e.Stop()
		os.RemoveAll(dir)
	})
	e.Up()
	return e
}

// freePool picks a range for an engine's networks that no interface is in.
func freePool() (string, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	pools.Lock()
	defer pools.Unlock()
	for n := pools.next; n < 250; n++ {
		_, pool, _ := net.ParseCIDR(fmt.Sprintf("10.%d.0.0/16", n))
		used := false
		for _, a := range addrs {
			if ip, _, err := net.ParseCIDR(a.String()); err == nil && pool.Contains(ip) {
				used = true
			}
		}
		if !used {
			pools.next = n + 1
			return pool.String(), nil
		}
	}
	return "", fmt.Errorf("no range of addresses is free")
}

// Up starts the engine and waits until it answers.
func (e *Engine) Up() {
	e.t.Helper()
	log, err := os.OpenFile(filepath.Join(e.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		e.t.Fatal(err)
	}
	defer log.Close()
	os.Remove(filepath.Join(e.Dir, "pid")) // of one that was killed
	e.cmd = osexec.Command(e.argv[0], e.argv[1:]...)
	e.cmd.Stdout, e.cmd.Stderr = log, log
	if err := e.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.over = make(chan error, 1)
	go func(cmd *osexec.Cmd, over chan<- error) { over <- cmd.Wait() }(e.cmd, e.over)
	await(e.t, "the engine", func() error {
		select {
		case err := <-e.over:
			text, _ := os.ReadFile(log.Name())
			e.t.Fatalf("the engine ended: %v\n%s", err, text[max(0, len(text)-2000):])
		default:
		}
		return e.Command("version").Run()
	})
}

// Stop ends the engine in the proper way, with its containers.
func (e *Engine) Stop() { e.end(syscall.SIGTERM) }

// Kill ends the engine at once; its containers go on until the next one sees to
// them.
func (e *Engine) Kill() { e.end(syscall.SIGKILL) }

// Signal begins its end without waiting for it.
func (e *Engine) Signal() {
	e.t.Helper()
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		e.t.Error(err)
	}
}

func (e *Engine) end(sig syscall.Signal) {
	if e.cmd == nil {
		return
	}
	e.cmd.Process.Signal(sig)
	<-e.over
	e.cmd = nil
}

// Await waits until an engine has ended that was asked to with Signal.
func (e *Engine) Await() {
	<-e.over
	e.cmd = nil
}

// Command prepares a call of the docker command line against the engine.
func (e *Engine) Command(args ...string) *osexec.Cmd {
	cmd := osexec.Command("docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+e.Host, "DOCKER_BUILDKIT=0")
	return cmd
}

// Docker runs the docker command line against the engine and returns what it
// prints.
func (e *Engine) Docker(args ...string) string {
	e.t.Helper()
	out, err := e.Command(args...).CombinedOutput()
	if err != nil {
		e.t.Fatalf("docker %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// await asks again until there is no error, for as long as anybody would wait.
func await(t testing.TB, what string, ask func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s does not answer: %v", what, err)
		}
	}
}
