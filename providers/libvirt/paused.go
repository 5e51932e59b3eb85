package libvirt

// Why a domain is paused, as far as it matters here. What else libvirt pauses one for,
// such as a snapshot, it lets go on by itself.
const (
	pausedByUser = "by somebody's order" // virsh suspend
	pausedByDisk = "since its disk cannot be written to, as when the pool is full,"
)

// startsOn looks at a domain that is waited for while it starts, and says what it is if
// there is nothing to wait for. One that somebody has paused is resumed: a machine that is
// applied is to run, and the next apply would resume it as well.
func startsOn(h hypervisor, name string) (over string, err error) {
	d, err := h.Domain(name)
	switch {
	case err != nil || d.State == "running":
		return "", err
	case d.State == "paused" && d.Why == pausedByUser:
		return "", h.Resume(name)
	case d.State == "paused" && d.Why == "":
		return "", nil
	case d.State == "paused":
		return d.State + " " + d.Why, nil
	default:
		return d.State, nil
	}
}
