package agent

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeKernel is a folder tree that imitates the files of a cgroup file system,
// for the version that this computer does not have. It shows what is written
// where; what the kernel makes of it, it cannot show.
type fakeKernel struct {
	root  string
	files map[string]string // that each group has
}

var filesV2 = map[string]string{
	"cgroup.controllers": "cpuset cpu io memory pids\n", "cgroup.subtree_control": "", "cgroup.procs": "", "cgroup.type": "domain\n",
	"cpu.max": "max 100000\n", "cpu.stat": "usage_usec 2500000\nuser_usec 1500000\nsystem_usec 1000000\n",
	"memory.max": "max\n", "memory.swap.max": "max\n", "memory.oom.group": "0\n", "memory.current": "5000000\n",
	"memory.stat": "anon 3000000\nfile 2000000\ninactive_anon 1\ninactive_file 1500000\n", "memory.events": "low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\n",
	"pids.max": "max\n",
}

var filesV1 = map[string]string{
	"cgroup.procs": "", "tasks": "",
	"cpu.cfs_period_us": "100000\n", "cpu.cfs_quota_us": "-1\n", "cpuacct.usage": "2500000000\n",
	"memory.limit_in_bytes": "9223372036854771712\n", "memory.memsw.limit_in_bytes": "9223372036854771712\n",
	"memory.usage_in_bytes": "5000000\n", "memory.stat": "inactive_file 1\ntotal_inactive_file 1500000\n",
	"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", "memory.use_hierarchy": "0\n",
	"pids.max": "max\n",
}

func (k fakeKernel) mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for name, text := range k.files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (k fakeKernel) rmdir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return os.ErrNotExist
	}
	if slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.IsDir() }) {
		return unix.EBUSY
	}
	return os.RemoveAll(dir)
}

// groups makes groups, from the root down.
func (k fakeKernel) groups(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if err := k.mkdir(filepath.Join(k.root, p)); err != nil {
			t.Fatal(err)
		}
	}
}

func (k fakeKernel) set(t *testing.T, path, file, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(k.root, path, file), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// check compares files below the root.
func (k fakeKernel) check(t *testing.T, when string, want map[string]string) {
	t.Helper()
	for _, file := range slices.Sorted(maps.Keys(want)) {
		b, err := os.ReadFile(filepath.Join(k.root, file))
		if got := strings.TrimSpace(string(b)); err != nil || got != want[file] {
			t.Errorf("%s: %s = %q (%v), want %q", when, file, got, err, want[file])
		}
	}
}

func (k fakeKernel) finder(paths map[string]string, mounts ...cgroupMount) groupFinder {
	return groupFinder{
		mounts: mounts, paths: paths, fs: groupFS{k.mkdir, k.rmdir}, name: "flowctl-x",
		record: func([]string) error { return nil },
	}
}

// desktopV2 is a v2 tree as systemd makes it for a user's session.
func desktopV2(t *testing.T) fakeKernel {
	k := fakeKernel{filepath.Join(t.TempDir(), "cgroup"), filesV2}
	k.groups(t, "", "user.slice", "user.slice/app.slice", "user.slice/app.slice/term.scope")
	os.Remove(filepath.Join(k.root, "cgroup.type"))
	k.set(t, "user.slice/app.slice/term.scope", "cgroup.procs", "123\n")
	return k
}

func TestCgroupV2LimitsMachineAndReplicas(t *testing.T) {
	k := desktopV2(t)
	f := k.finder(map[string]string{"": "/user.slice/app.slice/term.scope"}, cgroupMount{path: k.root, root: "/", v2: true})
	m, err := f.open(2, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	const machine = "user.slice/app.slice/flowctl-x/" // the scope has processes of its own
	g, err := m.make("web-0", 0.5, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	k.check(t, "made", map[string]string{
		"user.slice/app.slice/cgroup.subtree_control": "+cpu +memory +pids",
		machine + "cgroup.subtree_control":            "+cpu +memory +pids",
		machine + "cpu.max":                           "200000 100000",
		machine + "memory.max":                        "1073741824",
		machine + "memory.oom.group":                  "0",
		machine + "r-web-0/cpu.max":                   "50000 100000",
		machine + "r-web-0/memory.max":                "67108864",
		machine + "r-web-0/memory.swap.max":           "0",
		machine + "r-web-0/memory.oom.group":          "1",
		machine + "r-web-0/cgroup.subtree_control":    "",
	})
	if err := errors.Join(g.limit(3, 0), g.seal(true)); err != nil {
		t.Fatal(err)
	}
	k.check(t, "changed", map[string]string{
		machine + "r-web-0/cpu.max":         "200000 100000", // no more than the machine has
		machine + "r-web-0/memory.max":      "max",
		machine + "r-web-0/memory.swap.max": "max",
		machine + "r-web-0/pids.max":        "0",
	})
	if err := m.resize(0, 0); err != nil {
		t.Fatal(err)
	}
	fd, leave, err := g.enter()
	if err != nil || fd < 0 {
		t.Fatalf("enter = %d, %v", fd, err)
	}
	leave()
	k.check(t, "unlimited", map[string]string{
		machine + "cpu.max": "max 100000", machine + "memory.max": "max",
		machine + "r-web-0/cpu.max": "300000 100000", machine + "r-web-0/pids.max": "max",
	})
	want := groupUse{cpu: 2500 * time.Millisecond, memory: 3_500_000, oom: 2}
	if u, err := g.use(); err != nil || u != want {
		t.Errorf("use = %+v, %v, want %+v", u, err, want)
	}
	if err := g.remove(); err != nil {
		t.Error(err)
	}
	if u, err := m.use(nil); err != nil || u.oom != 2 {
		t.Errorf("the machine has %d kills (%v), want those of the removed replica", u.oom, err)
	}
	if err := m.remove(); err != nil {
		t.Error(err)
	}
	if exists(filepath.Join(k.root, machine)) {
		t.Error("the machine's group is still there")
	}
}

func TestCgroupV2LooksForAPlace(t *testing.T) {
	scope := map[string]string{"": "/user.slice/app.slice/term.scope"}
	for name, test := range map[string]struct {
		change func(t *testing.T, k fakeKernel)
		place  string // "" for none
		why    string
	}{
		"the nearest without processes": {func(*testing.T, fakeKernel) {}, "user.slice/app.slice", ""},
		"its own when empty": {func(t *testing.T, k fakeKernel) {
			k.set(t, "user.slice/app.slice/term.scope", "cgroup.procs", "")
		}, "user.slice/app.slice/term.scope", ""},
		"further up": {func(t *testing.T, k fakeKernel) {
			k.set(t, "user.slice/app.slice", "cgroup.controllers", "pids\n")
		}, "user.slice", ""},
		"the root may have processes": {func(t *testing.T, k fakeKernel) {
			for _, p := range []string{"", "user.slice", "user.slice/app.slice"} {
				k.set(t, p, "cgroup.procs", "1\n")
			}
		}, ".", ""},
		"a container's root may not": {func(t *testing.T, k fakeKernel) {
			k.set(t, "", "cgroup.type", "domain\n")
			for _, p := range []string{"", "user.slice", "user.slice/app.slice"} {
				k.set(t, p, "cgroup.procs", "1\n")
			}
		}, "", "term.scope has processes of its own"},
		"no controllers at all": {func(t *testing.T, k fakeKernel) {
			for _, p := range []string{"", "user.slice", "user.slice/app.slice", "user.slice/app.slice/term.scope"} {
				k.set(t, p, "cgroup.controllers", "\n")
			}
		}, "", "has no cpu controller"},
	} {
		t.Run(name, func(t *testing.T) {
			k := desktopV2(t)
			test.change(t, k)
			m, err := k.finder(scope, cgroupMount{path: k.root, root: "/", v2: true}).open(1, 0)
			if test.place == "" {
				if err == nil || !strings.Contains(err.Error(), test.why) {
					t.Errorf("open = %v, want it to say %q", err, test.why)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, want := m.where[ctlCPU], filepath.Join(k.root, test.place, "flowctl-x"); got != want {
				t.Errorf("group in %s, want %s", got, want)
			}
		})
	}
}

func TestCgroupV1WritesWhatTheKernelReads(t *testing.T) {
	k := fakeKernel{filepath.Join(t.TempDir(), "cgroup"), filesV1}
	os.Mkdir(k.root, 0o755)
	k.groups(t, "cpu,cpuacct", "memory", "pids", "memory/docker", "memory/docker/abc")
	mounts := []cgroupMount{
		{path: k.root + "/cpu,cpuacct", root: "/docker/abc", controllers: []string{"rw", "cpu", "cpuacct"}},
		{path: k.root + "/memory", root: "/", controllers: []string{"rw", "memory"}},
		{path: k.root + "/pids", root: "/", controllers: []string{"rw", "pids"}},
	}
	paths := map[string]string{"cpu": "/docker/abc", "cpuacct": "/docker/abc", "memory": "/docker/abc", "pids": "/"}
	m, err := k.finder(paths, mounts...).open(1.5, 0)
	if err != nil {
		t.Fatal(err)
	}
	g, err := m.make("r", 0.001, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	k.check(t, "made", map[string]string{
		"cpu,cpuacct/flowctl-x/cpu.cfs_quota_us":                         "150000",
		"cpu,cpuacct/flowctl-x/r-r/cpu.cfs_quota_us":                     "1000", // the kernel's least
		"memory/docker/abc/flowctl-x/memory.use_hierarchy":               "1",
		"memory/docker/abc/flowctl-x/r-r/memory.limit_in_bytes":          "67108864",
		"memory/docker/abc/flowctl-x/r-r/memory.memsw.limit_in_bytes":    "67108864",
		"memory/docker/abc/flowctl-x/memory.limit_in_bytes":              "-1",
		"pids/flowctl-x/r-r/pids.max":                                    "max",
		"memory/docker/abc/flowctl-x/r-r/../../memory.use_hierarchy":     "0",
		"memory/docker/abc/flowctl-x/r-r/../memory.memsw.limit_in_bytes": "-1",
	})
	if len(g.dirs()) != 3 {
		t.Errorf("folders = %q, want cpu and cpuacct once", g.dirs())
	}
	_, leave, err := g.enter()
	if err != nil {
		t.Fatal(err)
	}
	k.check(t, "entered", map[string]string{"cpu,cpuacct/flowctl-x/r-r/tasks": "0", "pids/flowctl-x/r-r/tasks": "0", "memory/docker/abc/tasks": ""})
	leave()
	k.check(t, "left", map[string]string{"cpu,cpuacct/tasks": "0", "pids/tasks": "0", "memory/docker/abc/tasks": "0", "memory/tasks": ""})
	want := groupUse{cpu: 2500 * time.Millisecond, memory: 3_500_000, oom: 2}
	if u, err := g.use(); err != nil || u != want {
		t.Errorf("use = %+v, %v, want %+v", u, err, want)
	}
	if err := errors.Join(g.remove(), m.remove()); err != nil {
		t.Error(err)
	}
}

func TestCgroupV1WithoutAControllerSaysSo(t *testing.T) {
	k := fakeKernel{filepath.Join(t.TempDir(), "cgroup"), filesV1}
	os.Mkdir(k.root, 0o755)
	k.groups(t, "cpu")
	m, err := k.finder(nil, cgroupMount{path: k.root + "/cpu", root: "/", controllers: []string{"cpu"}}).open(1, 1<<30)
	if err != nil || m.missing != "cgroup controller memory: is not mounted" {
		t.Fatalf("open = %+v, %v", m, err)
	}
	if _, err := m.make("r", 0.5, 1<<20); err != nil {
		t.Error(err)
	}
}

func TestParseCgroupMounts(t *testing.T) {
	const mountinfo = `22 1 0:20 / /proc rw - proc proc rw
30 22 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro,relatime master:11 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /mnt/with\040space rw - cgroup cgroup rw,memory
bad line
`
	want := []cgroupMount{
		{path: "/sys/fs/cgroup/unified", root: "/", v2: true},
		{path: "/sys/fs/cgroup/cpu,cpuacct", root: "/docker/abc", controllers: []string{"rw", "cpu", "cpuacct"}},
		{path: "/mnt/with space", root: "/", controllers: []string{"rw", "memory"}},
	}
	got := parseMounts(mountinfo)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	paths := parseMembership("4:memory:/a:b\n3:cpu,cpuacct:/docker/abc/sub\n0::/user.slice\nbad\n")
	if wantPaths := map[string]string{"memory": "/a:b", "cpu": "/docker/abc/sub", "cpuacct": "/docker/abc/sub", "": "/user.slice"}; !maps.Equal(paths, wantPaths) {
		t.Errorf("paths = %q, want %q", paths, wantPaths)
	}
	for _, test := range []struct {
		mount      cgroupMount
		path, want string
	}{
		{want[1], paths["cpu"], "/sys/fs/cgroup/cpu,cpuacct/sub"},
		{want[1], "/elsewhere", "/sys/fs/cgroup/cpu,cpuacct"},
		{want[0], "/../..", "/sys/fs/cgroup/unified"},
		{want[2], "/", "/mnt/with space"},
	} {
		if got := test.mount.folder(test.path); got != test.want {
			t.Errorf("folder(%s) = %s, want %s", test.path, got, test.want)
		}
	}
}

// The v2 interface without controllers, for real: a hybrid system has it mounted.
func TestCgroupV2BirthForReal(t *testing.T) {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	i := slices.IndexFunc(parseMounts(string(mounts)), func(m cgroupMount) bool { return m.v2 })
	if i < 0 || os.Getuid() != 0 {
		t.Skip("no v2 hierarchy to write to")
	}
	dir := filepath.Join(parseMounts(string(mounts))[i].path, fmt.Sprintf("flowctl-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skip(err)
	}
	g := &cgroup{machine: &machineGroup{control: cgroupV2{}, fs: kernelFS}, where: folders{ctlCPU: dir, ctlMemory: dir}}
	defer g.remove()
	runtime.LockOSThread() // the child dies with its thread
	defer runtime.UnlockOSThread()
	fd, leave, err := g.enter()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "1000"}, &syscall.ProcAttr{Sys: procAttr(fd)})
	leave()
	if err != nil {
		t.Fatal(err)
	}
	members, err := g.members()
	if err != nil || len(members) != 1 || members[0].pid != pid || members[0].session != pid || members[0].ppid != os.Getpid() {
		t.Errorf("members = %+v, %v, want %d alone, leader of its session", members, err, pid)
	}
	dead := make(chan syscall.WaitStatus, 1)
	go func() {
		var status syscall.WaitStatus
		syscall.Wait4(pid, &status, 0, nil)
		dead <- status
	}()
	if err := g.remove(); err != nil {
		t.Error(err)
	}
	if status := <-dead; status.Signal() != syscall.SIGKILL {
		t.Errorf("the member ended with %v, want SIGKILL", status)
	}
}
