package docker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// Name is the name under which specs and state know this provider.
const Name = "docker"

// Factory makes the provider.
var Factory = providers.Factory{
	Doc:   "Runs functions as containers on Docker engines: a host names an engine, here or elsewhere.",
	Kinds: []engine.Kind{engine.KindHost, engine.KindNetwork, engine.KindImage, engine.KindDelivery, engine.KindFunction},
	New: func(_ context.Context, s providers.Settings) (providers.Provider, error) {
		return New(s), nil
	},
}

// Docker is the provider.
type Docker struct {
	*providers.Native
	settings providers.Settings

	mu      sync.Mutex
	daemons map[string]*daemon // by host id
	pulls   map[string]*pull   // under way

	patience time.Duration // with engines of others' machines while clearing away

	holds holds
	meter meter
}

var (
	_ providers.Provider = (*Docker)(nil)
	_ providers.Checker  = (*Docker)(nil)
	_ providers.Refiner  = (*Docker)(nil)
	_ providers.Lister   = (*Docker)(nil)
	_ providers.Importer = (*Docker)(nil)
	_ providers.Logger   = (*Docker)(nil)
	_ providers.Execer   = (*Docker)(nil)
	_ providers.Prober   = (*Docker)(nil)
	_ providers.Stayer   = (*Docker)(nil)
	_ providers.Sizer    = (*Docker)(nil)
	_ providers.Stocker  = (*Docker)(nil)

	_ providers.Suspender = (*Docker)(nil)
	_ providers.Restarter = (*Docker)(nil)
	_ providers.Signaler  = (*Docker)(nil)
	_ providers.Copier    = (*Docker)(nil)

	_ providers.Meter   = (*Docker)(nil)
	_ providers.Watcher = (*Docker)(nil)
	_ providers.Cleaner = (*Docker)(nil)
	_ providers.Closer  = (*Docker)(nil)
)

// New returns the provider. No engine is asked anything before the first call.
func New(s providers.Settings) *Docker {
	d := &Docker{settings: s, daemons: map[string]*daemon{}, pulls: map[string]*pull{}, patience: guestPatience}
	d.Native = &providers.Native{Name: s.Name, Kinds: map[engine.Kind]providers.Resource{
		engine.KindHost: providers.Of[engine.Host]{
			ReadFn: d.readHost, ApplyFn: d.applyHost, DeleteFn: d.removeHost, CheckFn: d.checkHost,
		},
		engine.KindNetwork: providers.Of[engine.Network]{
			ReadFn: d.readNetwork, ApplyFn: d.applyNetwork, DeleteFn: d.removeNetwork, CheckFn: d.checkNetwork,
		},
		engine.KindImage: providers.Of[engine.Image]{
			ReadFn: d.readImage, ApplyFn: d.applyImage, DeleteFn: d.removeImage, CheckFn: d.checkImage,
		},
		engine.KindDelivery: providers.Of[engine.Delivery]{
			ReadFn: d.readDelivery, ApplyFn: d.applyDelivery, DeleteFn: d.removeDelivery,
		},
		engine.KindFunction: providers.Of[engine.Replica]{
			ReadFn: d.readReplica, ApplyFn: d.applyReplica, DeleteFn: d.removeReplica,
			CheckFn: d.checkReplica, RefineFn: refineReplica,
		},
	}}
	return d
}

// Apply implements providers.Provider.
func (d *Docker) Apply(ctx context.Context, c providers.Call) (engine.Object, error) {
	return d.Native.Apply(patient(ctx), c)
}

// Delete implements providers.Provider.
func (d *Docker) Delete(ctx context.Context, o engine.Object, operation string) error {
	return d.Native.Delete(patient(ctx), o, operation)
}

// Close ends the streams and connections that are open.
func (d *Docker) Close() error {
	d.meter.stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, dm := range d.daemons {
		errs = append(errs, dm.Close())
	}
	return errors.Join(errs...)
}

// The labels of everything that is made. They are spelled with a prefix, since
// labels of many tools meet on an engine.
const (
	labelFlow       = "flowctl.flow"
	labelAddress    = "flowctl.address"
	labelGeneration = "flowctl.generation"
	labelOperation  = "flowctl.operation"
	labelMachine    = "flowctl.machine" // the host's address
	labelState      = "flowctl.state"   // whose state tells of it
)

func (d *Docker) labels(r providers.Ref, machine string) map[string]string {
	return map[string]string{
		labelFlow: d.settings.Flow, labelAddress: r.Address.String(), labelGeneration: fmt.Sprint(r.Gen),
		labelOperation: r.Operation, labelMachine: machine, labelState: d.state(),
	}
}

// state tells the states of flows apart that have the same name.
func (d *Docker) state() string { return short(d.settings.Mark()) }

// labelled picks what carries the flow's label and others.
func (d *Docker) labelled(more ...string) filters.Args {
	f := filters.NewArgs(filters.Arg("label", labelFlow+"="+d.settings.Flow))
	for i := 0; i+1 < len(more); i += 2 {
		f.Add("label", more[i]+"="+more[i+1])
	}
	return f
}

// ownership says whose something is that has the name we want to give.
type ownership int

const (
	foreign ownership = iota // the state does not know it, so perhaps another flow's does
	same                     // what the same operation made before
	stray                    // what an operation of ours made that had been given up
)

// whose reads it off labels. An engine goes on with what it was asked for when
// flowctl is killed, so that something may appear after the next run has looked.
func (d *Docker) whose(labels map[string]string, r providers.Ref) ownership {
	switch {
	case labels[labelFlow] != d.settings.Flow || labels[labelAddress] != r.Address.String() || labels[labelGeneration] != strconv.Itoa(r.Gen):
		return foreign
	case labels[labelOperation] == r.Operation:
		return same
	case labels[labelState] == d.state():
		return stray
	default:
		return foreign
	}
}

// taken is the error for a name that something foreign has.
func taken(what, name string, labels map[string]string) error {
	whose := "nobody's that flowctl knows of"
	if f := labels[labelFlow]; f != "" {
		whose = fmt.Sprintf("of %s in a flow %q whose state is elsewhere", labels[labelAddress], f)
	}
	return providers.Permanent(fmt.Errorf("there is a %s named %s already, %s: "+
		"remove it, put it under this flow with 'flowctl state import', or give one of two flows of this name another", what, name, whose))
}

// name is the outside name of an object: no flow's name has a dot.
func (d *Docker) name(a engine.Address, gen int) string {
	return d.settings.Flow + "." + providers.Name(a, gen)
}
