package lb

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// holderOf names the process that listens at addr's port: "process 123 (nginx)";
// "" if that cannot be seen, as with processes of other users. Linux only.
func holderOf(addr string) string {
	_, p, err := net.SplitHostPort(addr)
	port, errPort := strconv.ParseUint(p, 10, 16)
	if err != nil || errPort != nil {
		return ""
	}
	sockets := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		listeners(table, uint16(port), sockets)
	}
	if len(sockets) == 0 {
		return ""
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && sockets[to] {
			pid := strings.Split(fd, "/")[2]
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			if pid == strconv.Itoa(os.Getpid()) {
				return "another frontend of this data plane"
			}
			return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
		}
	}
	return ""
}

// listeners adds the sockets of table that listen at port, as "socket:[inode]".
func listeners(table string, port uint16, into map[string]bool) {
	f, err := os.Open(table)
	if err != nil {
		return
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		col := strings.Fields(sc.Text()) // sl local rem st … inode is the tenth
		if len(col) < 10 || col[3] != "0A" || !strings.HasSuffix(col[1], fmt.Sprintf(":%04X", port)) {
			continue
		}
		into["socket:["+col[9]+"]"] = true
	}
}
