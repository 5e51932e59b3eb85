package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/flowctl/flowctl/providers"
)

// missingImage tells the failure to make a container whose image is not there.
func missingImage(err error) bool {
	return err != nil && strings.Contains(strings.ToLower(err.Error()), "no such image")
}

// pull is a pull that is under way, for all who wait for it.
type pull struct {
	done chan struct{}
	err  error
}

// fetch gets an image that a function names directly: each engine pulls it once,
// however many replicas wait for it.
func (d *Docker) fetch(ctx context.Context, dm *daemon, ref string) error {
	if strings.HasPrefix(ref, ownImages) {
		return providers.Permanent(fmt.Errorf("image %s is not on %s. It is one that flowctl makes: apply again to make it. Of what an image block made earlier, the last is kept, so there is no way back to what was before that: change the block instead", ref, dm.place))
	}
	key := dm.id + " " + ref
	d.mu.Lock()
	p, waiting := d.pulls[key]
	if !waiting {
		p = &pull{done: make(chan struct{})}
		d.pulls[key] = p
	}
	d.mu.Unlock()
	if waiting {
		select {
		case <-p.done:
			return p.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	p.err = dm.pull(ctx, ref, "")
	d.mu.Lock()
	delete(d.pulls, key)
	d.mu.Unlock()
	close(p.done)
	return p.err
}

// pull pulls an image from its registry.
func (dm *daemon) pull(ctx context.Context, ref, platform string) error {
	auth, err := registryAuth(ref)
	if err != nil {
		return providers.Permanent(fmt.Errorf("pull image %s on %s: %w", ref, dm.place, err))
	}
	body, err := dm.ImagePull(ctx, ref, image.PullOptions{RegistryAuth: auth, Platform: platform})
	if err == nil {
		_, err = follow(ctx, body)
	}
	return dm.registryFault("pull image "+ref, err)
}

// registryFault is fault for what an engine asked a registry.
func (dm *daemon) registryFault(act string, err error) error {
	if err == nil {
		return nil
	}
	said := fmt.Errorf("%s on %s: %w", act, dm.place, err)
	text := strings.ToLower(err.Error())
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(text, p) })
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), client.IsErrConnectionFailed(err):
		return dm.fault(act, err)
	case has("no matching manifest", "does not match the specified platform"):
		return providers.Permanent(fmt.Errorf("%w. The image is not there for this kind of processor: name another, or set platform", said))
	case has("denied", "unauthorized", "authentication required", "no basic auth credentials"):
		return providers.Permanent(fmt.Errorf("%w. It does not exist, or may not be pulled: correct the name, or log in with 'docker login' as the user who runs flowctl", said))
	case has("manifest unknown", "not found"), errdefs.IsNotFound(err):
		return providers.Permanent(fmt.Errorf("%w. Correct the name or the tag, or push the image", said))
	case has("connection refused", "no such host", "timeout", "deadline exceeded", "temporary failure", "network is unreachable", "toomanyrequests"):
		return providers.Passing(fmt.Errorf("%w. Check that the engine's machine reaches the registry", said))
	default:
		return dm.fault(act, err)
	}
}

// message is one line of what an engine says while it pulls, builds or loads.
type message struct {
	Stream   string `json:"stream"`
	Error    string `json:"error"`
	ID       string `json:"id"` // of a layer
	Status   string `json:"status"`
	Progress *struct {
		Current int64 `json:"current"`
		Total   int64 `json:"total"`
	} `json:"progressDetail"`
}

// follow reads what an engine says to its end, and tells how far it has come. It
// returns the text, and the error that it ends with.
func follow(ctx context.Context, body io.ReadCloser) (string, error) {
	defer body.Close()
	var text bytes.Buffer
	var pulled layers
	for dec := json.NewDecoder(body); ; {
		var m message
		err := dec.Decode(&m)
		switch {
		case errors.Is(err, io.EOF):
			return text.String(), nil
		case err != nil:
			return text.String(), err
		case m.Error != "":
			return text.String(), errors.New(m.Error)
		}
		text.WriteString(m.Stream)
		pulled.take(ctx, m)
	}
}
