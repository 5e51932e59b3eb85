package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/filters"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// applyDelivery gives an engine an image that another has, under the same name.
func (d *Docker) applyDelivery(ctx context.Context, r providers.Ref, want engine.Delivery, _ *engine.Delivery) (engine.Delivery, bool, error) {
	dm, err := d.daemon(want.MachineID)
	if err != nil {
		return want, false, err
	}
	if err := d.moveIn(ctx, dm, r.Operation); err != nil {
		return want, false, err
	}
	there, err := dm.has(ctx, want.Name)
	switch {
	case there || err != nil:
	case want.Distribute == "pull":
		err = dm.pullAs(ctx, want.Ref, want.Digest, want.Platform, want.Name)
	default:
		err = d.push(ctx, dm, want)
	}
	if err != nil {
		return want, false, fmt.Errorf("bring %s to %s: %w", want.Image, want.Machine, err)
	}
	if _, machine := r.Address.Consignment(); machine.Kind == engine.KindWarm {
		d.rehearse(ctx, dm, want.Name)
	}
	want.ID = want.Name
	d.holds.keep(r.Key(), dm.place, want.ID)
	return want, true, nil
}

// Stock implements providers.Stocker. The image is streamed from where it is, so that no
// registry's password gets into what is saved of the machine. The network that the flow's
// containers share on a machine comes with it.
func (d *Docker) Stock(ctx context.Context, want engine.Delivery) error {
	dm, err := connect(want.MachineID)
	if err != nil {
		return err
	}
	defer dm.Close()
	if err := d.shareNetwork(ctx, dm, ""); err != nil {
		return err
	}
	if there, err := dm.has(ctx, want.Name); there || err != nil {
		return err
	}
	return d.push(ctx, dm, want)
}

// push streams an image from the engine that has it first.
func (d *Docker) push(ctx context.Context, to *daemon, want engine.Delivery) error {
	from, err := d.daemon(want.Source)
	if err != nil {
		return err
	}
	info, err := from.ImageInspect(ctx, want.Name)
	if errdefs.IsNotFound(err) {
		return providers.Permanent(fmt.Errorf("image %s is not on %s any more: apply again to make it", want.Name, from.place))
	}
	if err != nil {
		return from.fault("look at image "+want.Name, err)
	}
	if err := to.suits(ctx, info, want.Platform); err != nil {
		return err
	}
	body, err := from.ImageSave(ctx, []string{want.Name})
	if err != nil {
		return from.fault("save image "+want.Name, err)
	}
	defer body.Close()
	saved := &counted{ctx: ctx, from: body, of: info.Size}
	_, err = to.loadFrom(ctx, saved, want.Name)
	if saved.err != nil {
		return from.fault("save image "+want.Name, saved.err)
	}
	return err
}

// counted tells how much of an image has been read, and keeps the error that
// reading ended with.
type counted struct {
	ctx      context.Context
	from     io.Reader
	of, done int64
	progress progress
	err      error
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.from.Read(b)
	c.done += int64(n)
	c.progress.tell(c.ctx, "sent", min(c.done, c.of), c.of)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// readDelivery looks for an image on its machine's engine.
func (d *Docker) readDelivery(ctx context.Context, r providers.Ref, known engine.Delivery) (engine.Delivery, providers.Status, error) {
	gone := providers.Status{Presence: engine.Gone, Why: "its engine does not have the image"}
	dm, err := d.engineOf(known.Machine, known.MachineID)
	if err != nil {
		return known, providers.Status{}, err
	}
	if dm == nil {
		return known, gone, nil
	}
	tags, err := dm.tags(ctx, filters.NewArgs(filters.Arg("reference", d.repositoryOf(known))))
	if err != nil {
		return known, providers.Status{}, err
	}
	switch {
	case known.ID != "" && !slices.Contains(tags, known.ID):
		// What it was is known, so that it can be the same again.
		return known, providers.Status{Presence: engine.Down, Why: gone.Why}, nil
	case known.ID != "":
	case slices.Contains(tags, known.Name):
		known.ID = known.Name
	case known.Name == "" && len(tags) > 0:
		known.ID, known.Name = tags[0], tags[0] // after a crash
	default:
		return known, gone, nil
	}
	known.MachineID = dm.id
	d.holds.keep(r.Key(), dm.place, known.ID)
	return known, providers.Status{}, nil
}

// engineOf returns the engine of a host: the recorded one, or after a crash the
// noted one; nil if neither is known.
func (d *Docker) engineOf(machine, id string) (*daemon, error) {
	if id != "" {
		return d.daemon(id)
	}
	notes, err := d.notes()
	if err != nil {
		return nil, err
	}
	for _, n := range notes {
		if n.Host.String() == machine {
			return d.daemon(n.Engine)
		}
	}
	return nil, nil
}

// repositoryOf is the name, without tag, of what is delivered.
func (d *Docker) repositoryOf(v engine.Delivery) string {
	a, err := engine.ParseAddress(v.Image)
	if err != nil {
		panic("bug: delivery of no image: " + err.Error())
	}
	return d.repository(a)
}

// removeDelivery takes our name off an image, and the image away if it has no
// other. What a container still uses stays, and so does what is on a machine that was
// kept ready: that may be another by now, which was made of it to have the image.
func (d *Docker) removeDelivery(ctx context.Context, r providers.Ref, known engine.Delivery) error {
	d.holds.drop(r.Key())
	if _, machine := r.Address.Consignment(); machine.Kind == engine.KindWarm {
		return d.leave(machine, known.MachineID)
	}
	dm, err := d.engineOf(known.Machine, known.MachineID)
	if dm == nil || err != nil {
		return err
	}
	return d.untagAll(ctx, dm, d.repositoryOf(known))
}

// untagAll takes all names of a repository off an engine, but for those that
// something still needs there or a container uses.
func (d *Docker) untagAll(ctx context.Context, dm *daemon, repository string) error {
	tags, err := dm.tags(ctx, filters.NewArgs(filters.Arg("reference", repository)))
	if err != nil || len(tags) == 0 {
		return err
	}
	used, err := d.usedImages(ctx, dm)
	if err != nil {
		return err
	}
	var errs []error
	for _, tag := range tags {
		if used[tag] || d.holds.needed(dm.place, tag) {
			continue
		}
		if err := dm.untag(ctx, tag); err != nil && !errdefs.IsConflict(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// pullAs pulls an image by its digest and gives it a name. The pull leaves no name
// behind that was not there before.
func (dm *daemon) pullAs(ctx context.Context, ref, digest, platform, tag string) error {
	if there, err := dm.has(ctx, tag); there || err != nil {
		return err
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return providers.Permanent(fmt.Errorf("%q is no image: %w", ref, err))
	}
	pinned := reference.FamiliarName(named) + "@" + digest
	had, err := dm.has(ctx, pinned)
	if err != nil {
		return err
	}
	if err := dm.pull(ctx, pinned, platform); err != nil {
		return err
	}
	info, err := dm.ImageInspect(ctx, pinned)
	if err == nil {
		if err = dm.suits(ctx, info, platform); err == nil {
			err = dm.fault("tag image "+tag, dm.ImageTag(ctx, pinned, tag))
		}
	} else {
		err = dm.fault("look at image "+pinned, err)
	}
	if had {
		return err
	}
	return errors.Join(err, dm.untag(ctx, pinned))
}
