package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroupMount is a mounted hierarchy of control groups.
type cgroupMount struct {
	path        string // where
	root        string // the group that is mounted there
	v2          bool
	controllers []string // v1
}

// parseMounts finds the cgroup file systems in /proc/self/mountinfo
// (proc_pid_mountinfo(5)).
func parseMounts(mountinfo string) []cgroupMount {
	var mounts []cgroupMount
	for line := range strings.Lines(mountinfo) {
		left, right, ok := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 {
			continue
		}
		m := cgroupMount{root: unescapeMount(l[3]), path: unescapeMount(l[4])}
		switch r[0] {
		case "cgroup2":
			m.v2 = true
		case "cgroup":
			m.controllers = strings.Split(r[2], ",")
		default:
			continue
		}
		mounts = append(mounts, m)
	}
	return mounts
}

// unescapeMount undoes the octal escapes of mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// parseMembership reads /proc/self/cgroup: the path of the process's group by
// controller, "" standing for v2 (cgroups(7)).
func parseMembership(text string) map[string]string {
	paths := map[string]string{}
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		for ctl := range strings.SplitSeq(f[1], ",") {
			paths[ctl] = f[2]
		}
	}
	return paths
}

// folder returns where the group of a hierarchy's path lies in the mount. A path
// outside of what is mounted, as in a container without a cgroup namespace,
// gives the mount itself.
func (m cgroupMount) folder(path string) string {
	if m.root != "/" {
		rest, ok := strings.CutPrefix(path, m.root)
		if !ok {
			return m.path
		}
		path = rest
	}
	if path == ".." || strings.HasPrefix(path, "/..") {
		return m.path
	}
	return filepath.Join(m.path, path)
}

// groupFinder looks for a place for a machine's group.
type groupFinder struct {
	mounts []cgroupMount
	paths  map[string]string // parseMembership
	fs     groupFS
	name   string // of the machine's group
	// record is told of the folders before they are made.
	record func([]string) error
}

func groupName(machineID string) string { return "flowctl-" + machineID }

// openMachineGroup makes the machine's group where this system lets us. If it
// does not, the group is nil and the error says why.
func openMachineGroup(id string, cpus float64, memory int64, record func([]string) error) (*machineGroup, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, errors.New("this system has no cgroups")
	}
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, errors.New("this system has no cgroups")
	}
	f := groupFinder{
		mounts: parseMounts(string(mounts)), paths: parseMembership(string(self)),
		fs: kernelFS, name: groupName(id), record: record,
	}
	return f.open(cpus, memory)
}

// open tries v1 where it has the controllers, and else v2.
func (f groupFinder) open(cpus float64, memory int64) (*machineGroup, error) {
	homes := f.homesV1()
	if homes[ctlCPU] != "" || homes[ctlMemory] != "" {
		return f.openV1(homes, cpus, memory)
	}
	i := slices.IndexFunc(f.mounts, func(m cgroupMount) bool { return m.v2 })
	if i < 0 {
		return nil, errors.New("no cgroups are mounted")
	}
	return f.openV2(f.mounts[i], cpus, memory)
}

// homesV1 returns the agent's own group by controller, of those made use of.
func (f groupFinder) homesV1() folders {
	homes := folders{}
	for _, m := range f.mounts {
		for _, ctl := range []string{ctlCPU, ctlMemory, ctlCPUAcct, ctlPids} {
			if slices.Contains(m.controllers, ctl) && homes[ctl] == "" {
				homes[ctl] = m.folder(f.paths[ctl])
			}
		}
	}
	return homes
}

// openV1 makes the machine's group in the agent's own, so that whatever limits
// the agent limits the machine. A controller that refuses is left out.
func (f groupFinder) openV1(homes folders, cpus float64, memory int64) (*machineGroup, error) {
	usable := folders{}
	var missing []string
	for _, ctl := range []string{ctlCPU, ctlMemory, ctlCPUAcct, ctlPids} {
		home, ok := homes[ctl]
		err := errors.New("is not mounted")
		if ok {
			err = errors.Join(unix.Access(home, unix.W_OK), unix.Access(filepath.Join(home, "tasks"), unix.W_OK))
		}
		switch {
		case err == nil:
			usable[ctl] = home
		case ctl == ctlCPU || ctl == ctlMemory:
			missing = append(missing, fmt.Sprintf("cgroup controller %s: %s%v", ctl, prefix(home), err))
		}
	}
	why := strings.Join(missing, "; ")
	if usable[ctlCPU] == "" && usable[ctlMemory] == "" {
		return nil, errors.New(why)
	}
	m, err := f.make(cgroupV1{usable}, usable, cpus, memory)
	if err != nil {
		return nil, err
	}
	m.missing = why
	return m, nil
}

func prefix(home string) string {
	if home == "" {
		return ""
	}
	return home + ": "
}

// openV2 makes the machine's group in the nearest group, from the agent's own
// upwards, that may hold it: one that we may write to and that hands on the
// controllers, so without processes of its own unless it is the root
// (cgroup-v2.rst, "No Internal Process Constraint" and "Delegation").
func (f groupFinder) openV2(mount cgroupMount, cpus float64, memory int64) (*machineGroup, error) {
	var why error
	for dir := mount.folder(f.paths[""]); ; dir = filepath.Dir(dir) {
		m, err := f.tryV2(dir, cpus, memory)
		if err == nil {
			return m, nil
		}
		if why == nil {
			why = err
		}
		if dir == mount.path || dir == "/" || dir == "." {
			return nil, fmt.Errorf("no cgroup that limits could be set in: %w; delegate one (systemd-run --user --scope) or run as root", why)
		}
	}
}

func (f groupFinder) tryV2(dir string, cpus float64, memory int64) (*machineGroup, error) {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return nil, err
	}
	where := folders{}
	for _, ctl := range []string{ctlCPU, ctlMemory, ctlPids} {
		if slices.Contains(strings.Fields(string(b)), ctl) {
			where[ctl] = dir
		} else if ctl != ctlPids {
			return nil, fmt.Errorf("%s has no %s controller", dir, ctl)
		}
	}
	procs := filepath.Join(dir, "cgroup.procs")
	if err := unix.Access(procs, unix.W_OK); err != nil {
		return nil, fmt.Errorf("%s: %w", procs, err)
	}
	if b, err := os.ReadFile(procs); err == nil && len(b) > 0 && exists(filepath.Join(dir, "cgroup.type")) {
		return nil, fmt.Errorf("%s has processes of its own", dir) // the root alone has no cgroup.type
	}
	if err := (cgroupV2{}).setup(where, true); err != nil {
		return nil, err
	}
	return f.make(cgroupV2{}, where, cpus, memory)
}

// make makes the machine's group in parents.
func (f groupFinder) make(c control, parents folders, cpus float64, memory int64) (*machineGroup, error) {
	m := &machineGroup{control: c, fs: f.fs, where: parents.below(f.name), children: map[string]*cgroup{}}
	if err := f.record(m.where.unique()); err != nil {
		return nil, err
	}
	err := f.fs.makeAll(m.where)
	if err == nil {
		if err = c.setup(m.where, true); err == nil {
			err = m.resize(cpus, memory)
		}
		if err != nil {
			m.remove()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cgroup for the machine: %w", err)
	}
	return m, nil
}
