//go:build libvirt_dlopen && cgo

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// needMachines skips a test where there is no libvirtd that it may use, and tells
// the folder with the small Docker machine. hack/lab -machines sets the variables.
// Emulated machines take whole processors, so such tests run one at a time.
func needMachines(t *testing.T) string {
	t.Helper()
	if os.Getenv("FLOWCTL_TEST_LIBVIRT") == "" {
		t.Skip("needs a libvirtd: run it with hack/lab -machines")
	}
	withLibvirt()
	return os.Getenv("FLOWCTL_TEST_MACHINE")
}

// withLibvirt builds flowctl for tests anew, as one that can talk to libvirt.
var withLibvirt = sync.OnceFunc(func() {
	cmd := osexec.Command("go", "test", "-c", "-tags", "libvirt_dlopen", "-o", filepath.Join(plainDir, "flowctl"), ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v: %v\n%s", cmd, err, out))
	}
})

// TestLibvirtScripts runs testdata/libvirt: the command line with real machines.
func TestLibvirtScripts(t *testing.T) {
	machine := needMachines(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/libvirt",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", demoDir+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("EXAMPLES", must(filepath.Abs("../../examples")))
			env.Setenv("DEMO", demoDir)
			env.Setenv("DOCKER_HOST", os.Getenv("FLOWCTL_TEST_DOCKER_HOST")) // where images are made
			env.Setenv("MACHINE", machine)
			env.Defer(func() { killLeftovers(t, env.WorkDir) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"http": httpCommand, "until": untilCommand, "sed": sedCommand, "jsonpath": jsonCommand, "nolibvirt": nolibvirtCommand, "publish": publishCommand,
		},
	})
}

// publish DIR: serves the files of a folder at $URL.
func publishCommand(ts *testscript.TestScript, _ bool, args []string) {
	s := httptest.NewServer(http.FileServer(http.Dir(args[0])))
	ts.Defer(s.Close)
	ts.Setenv("URL", s.URL)
}

// nolibvirt FLOW: libvirt has nothing of a flow, nor any disk.
func nolibvirtCommand(ts *testscript.TestScript, neg bool, args []string) {
	if left := inLibvirt(args[0]); (len(left) > 0) != neg {
		ts.Fatalf("in libvirt are %v", left)
	}
}

// inLibvirt lists what libvirt has of a flow, and the disks that machines share: kinds
// and names.
func inLibvirt(flow string) []string {
	var all []string
	for kind, args := range map[string][]string{"domain": {"list", "--all", "--name"}, "network": {"net-list", "--all", "--name"}, "volume": {"vol-list", "default"}} {
		if kind == "volume" {
			osexec.Command("virsh", "-c", "qemu:///system", "pool-refresh", "default").Run()
		}
		out, err := osexec.Command("virsh", append([]string{"-q", "-c", "qemu:///system"}, args...)...).CombinedOutput()
		if err != nil {
			all = append(all, fmt.Sprintf("virsh %v: %v: %s", args, err, out))
		}
		for line := range strings.Lines(string(out)) {
			if name, _, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasPrefix(name, flow+".") || strings.HasPrefix(name, "flowctl-") {
				all = append(all, kind+" "+name)
			}
		}
	}
	slices.Sort(all)
	return all
}
