package agent

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// clockTick is the unit of times in /proc: USER_HZ is 100 on every Linux port
// that Go knows (proc_pid_stat(5), sysconf(_SC_CLK_TCK)).
const clockTick = time.Second / 100

var pageSize = int64(os.Getpagesize())

// listProcs appends all processes of the computer.
func listProcs(procs []procInfo) ([]procInfo, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var buf [1024]byte
	for _, name := range names {
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		n := readSmall("/proc/"+name+"/stat", buf[:])
		if p, ok := parseStat(buf[:n]); ok {
			procs = append(procs, p)
		}
	}
	return procs, nil
}

// readSmall reads a small file of /proc into b without the ceremony of os.File,
// which a scan of hundreds a second would feel. It returns 0 on any error.
func readSmall(path string, b []byte) int {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, b)
	if err != nil {
		return 0
	}
	return n
}

// readProc reads one process.
func readProc(pid int) (procInfo, bool) {
	var buf [1024]byte
	n := readSmall("/proc/"+strconv.Itoa(pid)+"/stat", buf[:])
	return parseStat(buf[:n])
}

// parseStat reads a line of /proc/PID/stat, proc_pid_stat(5). The name of the
// program, in parentheses, may hold anything.
func parseStat(b []byte) (p procInfo, ok bool) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 2 || end < open || end+2 > len(b) {
		return p, false
	}
	pid, err := strconv.Atoi(string(b[:open-1]))
	if err != nil {
		return p, false
	}
	p.pid = pid
	rest := b[end+2:] // field 3, the state, and on
	zombie, threads := false, int64(0)
	for field := 3; field <= 24; field++ {
		var word []byte
		word, rest, _ = bytes.Cut(rest, []byte{' '})
		if len(word) == 0 {
			return p, false
		}
		switch field {
		case 3:
			zombie = word[0] == 'Z' || word[0] == 'X'
		case 4:
			p.ppid = int(number(word))
		case 5:
			p.pgrp = int(number(word))
		case 6:
			p.session = int(number(word))
		case 14, 15, 16, 17: // utime, stime, cutime, cstime
			p.cpu += time.Duration(number(word)) * clockTick
		case 20:
			threads = number(word)
		case 22:
			p.start = uint64(number(word))
		case 24:
			p.rss = number(word) * pageSize
		}
	}
	p.dead = zombie && threads <= 1 // the first thread may end before the others
	return p, true
}

// number reads a decimal number without allocating; 0 if it is none.
func number(b []byte) (n int64) {
	negative := false
	for i, c := range b {
		switch {
		case i == 0 && c == '-':
			negative = true
		case c < '0' || c > '9':
			return 0
		default:
			n = n*10 + int64(c-'0')
		}
	}
	if negative {
		return -n
	}
	return n
}

// readMark returns what the environment of a process says of its machine and
// replica. It is empty for a process of another user, and for one that wrote
// its title over its environment.
func readMark(pid int) (machine, replica string) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return "", ""
	}
	for v := range strings.SplitSeq(string(b), "\x00") {
		if id, ok := strings.CutPrefix(v, markMachine+"="); ok {
			machine = id
		}
		if name, ok := strings.CutPrefix(v, markReplica+"="); ok {
			replica = name
		}
	}
	return machine, replica
}

// commandOf returns the program and arguments of a process.
func commandOf(pid int) string {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return string(bytes.ReplaceAll(bytes.TrimRight(b, "\x00"), []byte{0}, []byte{' '}))
}

// kill signals one process and never another that has got its pid since.
func kill(p procKey, sig syscall.Signal) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil { // gone, or a kernel before 5.3
		if now, ok := readProc(p.pid); ok && now.key() == p {
			syscall.Kill(p.pid, sig)
		}
		return
	}
	defer unix.Close(fd)
	if now, ok := readProc(p.pid); ok && now.key() == p {
		unix.PidfdSendSignal(fd, sig, nil, 0)
	}
}

// bootID names this boot of the computer.
func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}
