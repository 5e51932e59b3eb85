package docker

import (
	"context"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
)

// engineClient is the engine's client, safe for concurrent use from the first
// call on. The library's (v28.5.2) agrees with the engine on a version of the API
// when it is first asked something, but these four methods look at the version
// before that, and so race with whoever agrees just then.
type engineClient struct {
	*client.Client
	turn   chan struct{} // held while agreeing; a channel, so that waiting ends with ctx
	agreed chan struct{} // closed when there is nothing left to agree on

	version types.Version // the engine's, once agreed
}

func newEngineClient(c *client.Client) *engineClient {
	return &engineClient{Client: c, turn: make(chan struct{}, 1), agreed: make(chan struct{})}
}

// agree settles the version of the API, once.
func (c *engineClient) agree(ctx context.Context) error {
	select {
	case <-c.agreed:
		return nil
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-c.turn }()
	select {
	case <-c.agreed:
		return nil
	default:
	}
	var err error
	if c.version, err = c.Client.ServerVersion(ctx); err != nil {
		return err
	}
	close(c.agreed)
	return nil
}

// ContainerList is the library's.
func (c *engineClient) ContainerList(ctx context.Context, o container.ListOptions) ([]container.Summary, error) {
	if err := c.agree(ctx); err != nil {
		return nil, err
	}
	return c.Client.ContainerList(ctx, o)
}

// NetworkList is the library's.
func (c *engineClient) NetworkList(ctx context.Context, o network.ListOptions) ([]network.Summary, error) {
	if err := c.agree(ctx); err != nil {
		return nil, err
	}
	return c.Client.NetworkList(ctx, o)
}

// VolumeList is the library's.
func (c *engineClient) VolumeList(ctx context.Context, o volume.ListOptions) (volume.ListResponse, error) {
	if err := c.agree(ctx); err != nil {
		return volume.ListResponse{}, err
	}
	return c.Client.VolumeList(ctx, o)
}

// Events is the library's.
func (c *engineClient) Events(ctx context.Context, o events.ListOptions) (<-chan events.Message, <-chan error) {
	if err := c.agree(ctx); err != nil {
		failed := make(chan error, 1)
		failed <- err
		return make(chan events.Message), failed
	}
	return c.Client.Events(ctx, o)
}
