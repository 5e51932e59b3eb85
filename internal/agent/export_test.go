package agent

import (
	"os"

	"golang.org/x/sys/unix"
)

// PortLocked says whether an agent holds a file of the port folder.
func PortLocked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}
