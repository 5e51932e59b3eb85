package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/client"
	"github.com/flowctl/flowctl/providers"
)

// fault says what was tried, on which engine, and what to do where that is known,
// and whether another attempt makes sense.
func (dm *daemon) fault(act string, err error) error {
	if err == nil {
		return nil
	}
	said := fmt.Errorf("%s on %s: %w", act, dm.place, err)
	text := strings.ToLower(err.Error())
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	advise := func(advice string) error { return fmt.Errorf("%w. %s", said, advice) }
	var op *net.OpError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return said
	case errors.Is(err, fs.ErrPermission) || has("permission denied while trying to connect"):
		return providers.Permanent(advise("Run flowctl as a user that may use the engine: root, or a member of the group that owns its socket"))
	case errors.As(err, &op) && refused(dm.place, op) != nil:
		return providers.Permanent(refused(dm.place, op))
	case client.IsErrConnectionFailed(err), errors.As(err, &op), has("ssh:"):
		// What it was to be asked does not matter, and many may be told of this at once.
		return providers.Passing(fmt.Errorf("the container engine at %s does not answer%s. Start the container engine there, or correct engine in the host block", dm.place, cause(err)))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errdefs.IsUnavailable(err):
		return providers.Passing(said) // it is being restarted
	case has("no space left on device"):
		return providers.Permanent(advise("Make room on the host: 'docker system df' shows what takes it"))
	case has("removal of container", "is already in progress", "is restarting, wait until"):
		return providers.Passing(said)
	case has("failed to remove root filesystem", "unable to remove filesystem"):
		return providers.Passing(advise("The engine was ended while it removed the container, or something still uses its files: if it does not go away, restart the engine"))
	case has("has active endpoints"): // a busy engine is late to let those go whose containers it has removed
		return providers.Passing(advise("Remove what is on the network, or disconnect it: 'docker network inspect' shows that"))
	case has("pool overlaps", "could not find an available", "non-overlapping"):
		return providers.Permanent(advise("Give the network another cidr, or remove networks that nobody uses: 'docker network ls'"))
	case has("exec format error", "does not match the specified platform"):
		return providers.Permanent(advise("The image is for another kind of processor. Build or pull it for this host's, with platform"))
	case has("executable file not found", "no such file or directory: unknown", "permission denied: unknown"):
		return providers.Permanent(advise("The image does not have that program. Correct exec, or leave it out to run what the image says"))
	case !errdefs.IsInvalidArgument(err) && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) && dm.ending():
		return providers.Passing(advise("The engine is being ended"))
	default:
		return providers.Permanent(said)
	}
}

// cause is why there is no answer, without what the library says around it.
func cause(err error) string {
	var u *url.Error
	switch {
	case errors.As(err, &u):
		return fmt.Sprintf(" (%s)", u.Err)
	case strings.Contains(err.Error(), "Cannot connect to the Docker daemon"):
		return "" // which is all that it says
	default:
		return fmt.Sprintf(" (%s)", err)
	}
}

// ending reports whether an engine takes no calls any more. While it ends, those
// that it has taken fail in all sorts of ways.
func (dm *daemon) ending() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := dm.Ping(ctx)
	return err != nil
}

// portTaken tells the failure to start a container whose port somebody has.
func portTaken(err error) bool {
	if err == nil {
		return false
	}
	return strings.Contains(err.Error(), "port is already allocated") || strings.Contains(err.Error(), "address already in use")
}
