package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// ownImages begins the names that flowctl gives to images. An image that an image
// block makes is known under a name of its own, whose tag is its content: what
// was pulled, the build's context, or the archive. So a name stands for one
// content for ever, wherever it is, and changes with it.
const ownImages = "flowctl/"

// repository is an image's own name, without the tag. Registries and engines know
// lower-case names only.
func (d *Docker) repository(a engine.Address) string {
	name := d.settings.Flow + "/" + providers.Name(a, 1)
	lower := strings.ToLower(name)
	if lower != name {
		lower += "-" + hashOf(name)[:8] // two names may differ in their case alone
	}
	return ownImages + lower
}

// tagOf is the image's name for a content. One digest may stand for images for
// several platforms.
func (d *Docker) tagOf(r providers.Ref, want engine.Image, digest string) string {
	if want.Ref != "" && want.Platform != "" {
		digest = hashOf(digest, want.Platform)
	}
	return d.repository(r.Address) + ":" + short(strings.TrimPrefix(digest, "sha256:"))
}

func (d *Docker) checkImage(_ context.Context, a engine.Address, want engine.Image, _ *engine.Image) engine.Diagnostics {
	if _, err := d.sourceDigest(want); err != nil {
		return engine.Diagnostics{{Summary: "Image source not usable", Address: a, Detail: fmt.Sprintf("%s cannot be made: %s.", a, err)}}
	}
	return nil
}

// sourceDigest is the content of what an image is made from on our side: the build
// context or the archive. It is "" for an image that is pulled.
func (d *Docker) sourceDigest(want engine.Image) (string, error) {
	switch {
	case want.Build != nil:
		c, err := d.openContext(*want.Build)
		if err != nil {
			return "", err
		}
		return c.digest(want)
	case want.Archive != "":
		return fileDigest(d.path(want.Archive))
	default:
		return "", nil
	}
}

func (d *Docker) applyImage(ctx context.Context, r providers.Ref, want engine.Image, prior *engine.Image) (engine.Image, bool, error) {
	dm, err := d.daemon(want.Host.ID)
	if err != nil {
		return want, false, err
	}
	if err := d.moveIn(ctx, dm, r.Operation); err != nil {
		return want, false, err
	}
	digest, err := d.sourceDigest(want)
	if err != nil {
		return want, false, providers.Permanent(fmt.Errorf("make %s: %w", r.Address, err))
	}
	switch {
	case want.Build != nil:
		err = d.build(ctx, dm, r, want, digest)
	case want.Archive != "":
		err = d.load(ctx, dm, r, want, digest)
	default:
		digest, err = d.pinned(ctx, dm, r, want, prior)
	}
	if err != nil {
		return want, false, err
	}
	want.ID, want.Digest = d.tagOf(r, want, digest), digest
	d.holds.keep(r.Key(), dm.place, want.ID)
	return want, true, nil
}

// has reports whether an engine has an image.
func (dm *daemon) has(ctx context.Context, ref string) (bool, error) {
	_, err := dm.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, dm.fault("look for image "+ref, err)
}

// build builds an image, unless the engine has one of the same content.
func (d *Docker) build(ctx context.Context, dm *daemon, r providers.Ref, want engine.Image, digest string) error {
	tag := d.tagOf(r, want, digest)
	if there, err := dm.has(ctx, tag); there || err != nil {
		return err
	}
	config, err := readClientConfig()
	if err != nil {
		return providers.Permanent(err)
	}
	args := map[string]*string{}
	for k, v := range want.Build.Args {
		args[k] = &v
	}
	how := build.ImageBuildOptions{
		Tags: []string{tag}, BuildArgs: args, Target: want.Build.Target, Platform: want.Platform,
		Labels: d.labels(r, dm.machine), Remove: true, ForceRemove: true, Version: build.BuilderV1, AuthConfigs: config.all(),
	}
	err = d.buildAs(ctx, dm, r, *want.Build, how)
	if err != nil && lostStep.MatchString(err.Error()) {
		how.NoCache = true
		err = d.buildAs(ctx, dm, r, *want.Build, how)
	}
	return err
}

// lostStep is what an engine says when it took a step of a build from its cache that
// somebody removed before the next step: it keeps none for the builds that use them.
var lostStep = regexp.MustCompile(`failed to get digest sha256:|No such image: sha256:|layer does not exist|unknown parent image`)

func (d *Docker) buildAs(ctx context.Context, dm *daemon, r providers.Ref, b engine.ImageBuild, how build.ImageBuildOptions) error {
	c, err := d.openContext(b)
	if err != nil {
		return providers.Permanent(err)
	}
	how.Dockerfile = c.dockerfileName()
	body, stop := c.stream()
	defer stop()
	resp, err := dm.ImageBuild(ctx, body, how)
	if err != nil {
		return dm.fault("build "+r.Address.String(), err)
	}
	text, err := follow(ctx, resp.Body)
	if err != nil {
		return providers.Permanent(fmt.Errorf("%w; the build ends with:\n%s", dm.fault("build "+r.Address.String(), err), lastLines(text, 10)))
	}
	return nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range lines {
		lines[i] = "    " + strings.TrimSpace(lines[i])
	}
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// pinned pulls an image by its digest and returns that: the recorded one, if there
// is one.
func (d *Docker) pinned(ctx context.Context, dm *daemon, r providers.Ref, want engine.Image, prior *engine.Image) (string, error) {
	named, err := reference.ParseNormalizedNamed(want.Ref)
	if err != nil {
		return "", providers.Permanent(fmt.Errorf("%s has ref = %q, which is no image: %w", r.Address, want.Ref, err))
	}
	digest := ""
	if prior != nil && prior.Ref == want.Ref {
		digest = prior.Digest
	}
	if digest == "" {
		if digest, err = dm.resolve(ctx, named); err != nil {
			return "", err
		}
	}
	return digest, dm.pullAs(ctx, want.Ref, digest, want.Platform, d.tagOf(r, want, digest))
}

// resolve asks a registry, from where the engine is, for the digest of an image.
func (dm *daemon) resolve(ctx context.Context, named reference.Named) (string, error) {
	if d, ok := named.(reference.Digested); ok {
		return d.Digest().String(), nil
	}
	ref := reference.FamiliarString(reference.TagNameOnly(named))
	auth, err := registryAuth(ref)
	if err != nil {
		return "", providers.Permanent(fmt.Errorf("look up image %s on %s: %w", ref, dm.place, err))
	}
	found, err := dm.DistributionInspect(ctx, ref, auth)
	if err != nil {
		return "", dm.registryFault("look up image "+ref, err)
	}
	return found.Descriptor.Digest.String(), nil
}

// load loads a saved image, unless the engine has it. Names that the archive gives
// to it are taken off again if they are new: they are nobody's.
func (d *Docker) load(ctx context.Context, dm *daemon, r providers.Ref, want engine.Image, digest string) error {
	tag := d.tagOf(r, want, digest)
	if there, err := dm.has(ctx, tag); there || err != nil {
		return err
	}
	before, err := dm.tags(ctx, filters.NewArgs())
	if err != nil {
		return err
	}
	f, err := os.Open(d.path(want.Archive))
	if err != nil {
		return providers.Permanent(err)
	}
	defer f.Close()
	loaded, err := dm.loadFrom(ctx, f, want.Archive)
	if err != nil {
		return err
	}
	info, err := dm.ImageInspect(ctx, loaded)
	if err != nil {
		return dm.fault("look at image "+loaded, err)
	}
	if err = dm.suits(ctx, info, want.Platform); err == nil {
		err = dm.fault("tag image "+tag, dm.ImageTag(ctx, loaded, tag))
	}
	if !slices.Contains(before, loaded) && (err != nil || !strings.HasPrefix(loaded, "sha256:")) {
		err = errors.Join(err, dm.untag(ctx, loaded))
	}
	return err
}

// suits reports that an image is for another kind of machine, unless a platform
// was asked for: then the engine has been told.
func (dm *daemon) suits(ctx context.Context, info image.InspectResponse, platform string) error {
	if platform != "" {
		return nil
	}
	if err := dm.agree(ctx); err != nil {
		return dm.fault("ask for its version", err)
	}
	has, runs := info.Os+"/"+info.Architecture, dm.version.Os+"/"+dm.version.Arch
	if info.Architecture == "" || dm.version.Arch == "" || has == runs {
		return nil
	}
	return providers.Permanent(fmt.Errorf("the image is for %s, but the engine at %s runs %s. Name one for that, set platform in the image, or keep the functions that use it off this host", has, dm.place, runs))
}

// loadFrom streams a saved image into an engine and returns what it is called.
func (dm *daemon) loadFrom(ctx context.Context, tar io.Reader, what string) (string, error) {
	resp, err := dm.ImageLoad(ctx, tar, client.ImageLoadWithQuiet(true))
	if err != nil {
		return "", dm.fault("load image "+what, err)
	}
	text, err := follow(ctx, resp.Body)
	if err != nil {
		return "", dm.fault("load image "+what, err)
	}
	for line := range strings.Lines(text) {
		for _, said := range []string{"Loaded image: ", "Loaded image ID: "} {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), said); ok {
				return name, nil
			}
		}
	}
	return "", providers.Permanent(fmt.Errorf("load image %s on %s: there is no image in it: write one with 'docker save -o FILE IMAGE'", what, dm.place))
}

// tags lists the names of images.
func (dm *daemon) tags(ctx context.Context, pick filters.Args) ([]string, error) {
	list, err := dm.ImageList(ctx, image.ListOptions{Filters: pick})
	if err != nil {
		return nil, dm.fault("list images", err)
	}
	var all []string
	for _, i := range list {
		all = append(all, i.RepoTags...)
	}
	return all, nil
}

// readImage looks for an image and at what it was made from: a context that has
// changed makes another image, known by its name beforehand.
func (d *Docker) readImage(ctx context.Context, r providers.Ref, known engine.Image) (engine.Image, providers.Status, error) {
	all, err := d.candidates(known.Host.ID)
	if err != nil {
		return known, providers.Status{}, err
	}
	repo := d.repository(r.Address)
	for _, dm := range all {
		tags, err := dm.tags(ctx, filters.NewArgs(filters.Arg("reference", repo)))
		if err != nil {
			return known, providers.Status{}, err
		}
		if len(tags) == 0 || known.ID != "" && !slices.Contains(tags, known.ID) {
			continue
		}
		if known.Host.ID == "" {
			known.Host.ID = dm.id
		}
		if known.ID == "" {
			known.ID = tags[0] // after a crash
		}
		d.holds.keep(r.Key(), dm.place, known.ID)
		return d.compareSource(r, known)
	}
	status := providers.Status{Presence: engine.Gone, Why: "its engine does not have it"}
	if known.ID != "" {
		status.Presence = engine.Down // what it was is known, so that it can be the same again
	}
	return known, status, nil
}

func (d *Docker) compareSource(r providers.Ref, known engine.Image) (engine.Image, providers.Status, error) {
	digest, err := d.sourceDigest(known)
	if err != nil || digest == "" {
		return known, providers.Status{}, nil // what was made of it is there all the same
	}
	tag := d.tagOf(r, known, digest)
	if tag == known.ID {
		known.Digest = digest
		return known, providers.Status{}, nil
	}
	known.ID, known.Digest = tag, digest
	return known, providers.Status{Presence: engine.Down, Why: "what it is made from has changed"}, nil
}

// removeImage takes our name off an image, and the image away if it has no other.
func (d *Docker) removeImage(ctx context.Context, r providers.Ref, known engine.Image) error {
	all, err := d.candidates(known.Host.ID)
	if err != nil {
		return err
	}
	d.holds.drop(r.Key())
	for _, dm := range all {
		if known.ID != "" && !d.holds.needed(dm.place, known.ID) {
			if err := dm.untagPatiently(ctx, known.ID); err != nil {
				return err
			}
		}
		// An earlier content that something still uses goes with the next sweep.
		if err := d.untagAll(ctx, dm, d.repository(r.Address)); err != nil {
			return err
		}
	}
	return nil
}

// untag takes a name off an image. One that a container uses stays until that is
// gone.
func (dm *daemon) untag(ctx context.Context, tag string) error {
	_, err := dm.ImageRemove(ctx, tag, image.RemoveOptions{PruneChildren: true})
	if err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	return dm.fault("remove image "+tag, err)
}

// buildStep is how long a build may be at an image.
const buildStep = 10 * time.Second

// untagPatiently is untag of an image that a build may be at: one that takes a step from
// the engine's cache has a container of that image for a moment.
func (dm *daemon) untagPatiently(ctx context.Context, tag string) error {
	end := time.NewTimer(buildStep)
	defer end.Stop()
	again := time.NewTicker(askAgain)
	defer again.Stop()
	for {
		err := dm.untag(ctx, tag)
		if !errdefs.IsConflict(err) {
			return err
		}
		select {
		case <-again.C:
		case <-end.C:
			return err
		case <-ctx.Done():
			return err
		}
	}
}

// usedImages are the images that containers of the flow are made of, by name. The
// engine refuses to take off the last name of an image in use, but would take ours
// where another flow has the same image, and then refuse that flow.
func (d *Docker) usedImages(ctx context.Context, dm *daemon) (map[string]bool, error) {
	containers, err := dm.ContainerList(ctx, container.ListOptions{All: true, Filters: d.labelled()})
	used := map[string]bool{}
	for _, c := range containers {
		used[c.Image] = true
	}
	return used, dm.fault("list containers", err)
}

// sweepImages removes the former contents of images that were made or seen, as far
// as no container uses them any more: all but the latest, so that a function can go
// back to its last revision.
func (d *Docker) sweepImages(ctx context.Context, dm *daemon) error {
	var errs []error
	for _, repo := range d.holds.repositories() {
		tags, err := dm.tags(ctx, filters.NewArgs(filters.Arg("reference", repo)))
		errs = append(errs, err)
		tags = slices.DeleteFunc(tags, func(tag string) bool { return d.holds.needed("", tag) })
		former, err := dm.byAge(ctx, tags)
		errs = append(errs, err)
		if len(former) < 2 {
			continue
		}
		used, err := d.usedImages(ctx, dm)
		errs = append(errs, err)
		for _, tag := range former[1:] {
			if used[tag] || err != nil {
				continue
			}
			if err := dm.untag(ctx, tag); err != nil && !errdefs.IsConflict(err) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// byAge sorts names of images, the one that was given last first.
func (dm *daemon) byAge(ctx context.Context, tags []string) ([]string, error) {
	if len(tags) < 2 {
		return tags, nil
	}
	given := map[string]time.Time{}
	for _, tag := range tags {
		info, err := dm.ImageInspect(ctx, tag)
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, dm.fault("look at image "+tag, err)
		}
		given[tag] = info.Metadata.LastTagTime
	}
	slices.SortStableFunc(tags, func(a, b string) int { return given[b].Compare(given[a]) })
	return tags, nil
}

// sweepElsewhere is sweepImages for machines that are no hosts: those of another
// provider, to which images were brought.
func (d *Docker) sweepElsewhere(ctx context.Context, hosts []note, still []string) error {
	var others []*daemon
	d.mu.Lock()
	for id, dm := range d.daemons {
		if d.holds.at(dm.place) && !slices.Contains(still, id) && !slices.ContainsFunc(hosts, func(n note) bool { return n.Engine == id }) {
			others = append(others, dm)
		}
	}
	d.mu.Unlock()
	var errs []error
	for _, dm := range others {
		in, cancel := d.patiently(ctx, dm)
		if err := d.sweepImages(in, dm); !dm.lost(err) {
			errs = append(errs, err)
		}
		cancel()
	}
	return errors.Join(errs...)
}
