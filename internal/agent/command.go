package agent

import (
	osexec "os/exec"
	"path/filepath"
	"strings"
)

// Command returns a command that runs argv beside a replica: with its
// environment, in its directory and, where it has cgroups that this user may
// write to, inside its limits; it then dies with the replica. The caller sets
// the streams, and adds TERM to Env for a terminal.
func Command(s Status, argv []string) *osexec.Cmd {
	if len(s.Cgroups) > 0 {
		argv = append([]string{"/bin/sh", "-c", joinScript(s.Cgroups), "sh"}, argv...)
	}
	cmd := osexec.Command(argv[0], argv[1:]...)
	cmd.Env = s.Env
	cmd.Dir = s.Dir
	return cmd
}

// joinScript makes a shell join groups, if it may, and become its arguments. It
// is the one way that works for both versions of cgroups: clone3(2) knows v2
// alone.
func joinScript(folders []string) string {
	var script strings.Builder
	for _, f := range folders {
		script.WriteString("{ echo $$ > " + quote(filepath.Join(f, "cgroup.procs")) + "; } 2>/dev/null\n")
	}
	script.WriteString(`exec "$@"`)
	return script.String()
}

// quote quotes for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
