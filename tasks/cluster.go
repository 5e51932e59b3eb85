package tasks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// clusters makes clusters: it lets the providers of their machines tell these of
// each other. Nothing of a cluster exists but in its machines.
type clusters struct {
	source  Source
	machine func(engine.Address) (engine.Object, bool)
	leaves  func(engine.Address) bool // whether a machine goes away for good
}

// provide returns who makes a resource: its provider, or for clusters those of the
// machines.
func provide(ctx context.Context, source Source, a engine.Address, name string, c clusters) (providers.Provider, error) {
	if a.Kind != engine.KindCluster {
		return source.Get(ctx, name)
	}
	c.source = source
	return &providers.Native{Name: name, Kinds: map[engine.Kind]providers.Resource{
		engine.KindCluster: providers.Of[engine.Cluster]{ReadFn: c.read, ApplyFn: c.apply, DeleteFn: c.remove, CheckFn: c.check},
	}}, nil
}

// among returns the machines that are among some objects.
func among(objects []engine.Object) func(engine.Address) (engine.Object, bool) {
	by := map[engine.Address][]engine.Object{}
	for _, o := range objects {
		if o.Address.Kind == engine.KindVM {
			by[o.Address] = append(by[o.Address], o)
		}
	}
	return func(a engine.Address) (engine.Object, bool) {
		cur, _ := engine.Current(by[a])
		if cur == nil {
			return engine.Object{}, false
		}
		return *cur, true
	}
}

// planned returns the machines as a plan has them.
func planned(p engine.Plan) func(engine.Address) (engine.Object, bool) {
	return func(a engine.Address) (engine.Object, bool) {
		c := p.Find(a)
		if c == nil {
			return engine.Object{}, false
		}
		return engine.Object{Address: a, Gen: c.Gen, Provider: c.Provider, Value: c.Planned}, true
	}
}

// member is a machine of a cluster with what it says.
type member struct {
	engine.ClusterMember
	object     engine.Object
	introducer providers.Introducer
	greeting   providers.Greeting
	err        error
}

// gather finds the machines of a cluster and greets them, all at once. Those that
// do not answer have an error.
func (c clusters) gather(ctx context.Context, cluster string, v engine.Cluster, mint bool) []member {
	all := make([]member, len(v.Members))
	for i := range all {
		all[i].ClusterMember = v.Members[i]
	}
	_ = together(all, func(m *member) error { // each keeps its own
		m.err = c.greet(ctx, cluster, v, m, mint && v.SSHMesh)
		return nil
	})
	return all
}

// there reports whether the machine exists.
func (m member) there() bool { return m.object.ID() != "" && m.object.ID() == m.ID }

// names are the machine's name in the cluster, and what it calls itself, which has
// more in it: the number of its generation.
func (m member) names() []string {
	if own := m.greeting.Hostname; own != "" && own != m.Name {
		return []string{m.Name, own}
	}
	return []string{m.Name}
}

// mark is a cluster's name in its machines.
func mark(cluster engine.Address) string { return providers.Name(cluster, 1) }

func (c clusters) greet(ctx context.Context, cluster string, v engine.Cluster, m *member, mint bool) error {
	a, err := engine.ParseAddress(m.Machine)
	if err != nil {
		return err
	}
	var ok bool
	if m.object, ok = c.machine(a); !ok || !m.there() {
		return fmt.Errorf("%s is not there", a)
	}
	if m.introducer, err = c.introducer(ctx, m.object.Provider); err != nil {
		return fmt.Errorf("%s: %w", a, err)
	}
	if m.greeting, err = m.introducer.Greet(ctx, m.object, cluster, v.User, mint); err != nil {
		return fmt.Errorf("%s does not answer: %w", a, err)
	}
	return nil
}

func (c clusters) introducer(ctx context.Context, provider string) (providers.Introducer, error) {
	p, err := c.source.Get(ctx, provider)
	if err != nil {
		return nil, err
	}
	i, ok := providers.As[providers.Introducer](p)
	if !ok {
		return nil, providers.Permanent(fmt.Errorf("its provider %s cannot tell machines of each other", provider))
	}
	return i, nil
}

// roster is what each machine is to know.
func roster(v engine.Cluster, all []member) providers.Roster {
	var r providers.Roster
	for _, m := range all {
		r.Members = append(r.Members, fmt.Sprintf("%s %s %s", m.Role, m.Name, m.Address))
		if v.HostsFile {
			r.Hosts = append(r.Hosts, m.Address+" "+strings.Join(m.names(), " "))
		}
		if !v.SSHMesh {
			continue
		}
		r.Authorized = append(r.Authorized, fmt.Sprintf("%s %s@%s", m.greeting.Key, v.User, m.Name))
		for _, key := range m.greeting.HostKeys {
			r.Known = append(r.Known, fmt.Sprintf("%s,%s %s", strings.Join(m.names(), ","), m.Address, key))
		}
	}
	return r
}

// readTimeout is how long the machines of a cluster may take to say what they know.
const readTimeout = 20 * time.Second

// read finds out whether all machines know just what they should. After a crash it
// may not be known yet which machines these are: then they are those that there are.
func (c clusters) read(ctx context.Context, r providers.Ref, known engine.Cluster) (engine.Cluster, providers.Status, error) {
	ctx, stop := context.WithTimeoutCause(ctx, readTimeout, fmt.Errorf("it has not answered for %s", readTimeout))
	defer stop()
	known.Members = slices.Clone(known.Members)
	for i := range known.Members {
		m := &known.Members[i]
		if a, err := engine.ParseAddress(m.Machine); err == nil && m.ID == "" {
			o, _ := c.machine(a)
			m.ID, m.Address = o.ID(), o.Attr("address")
		}
	}
	all := c.gather(ctx, mark(r.Address), known, false)
	anybody := len(all) == 0
	for _, m := range all {
		anybody = anybody || m.err != nil && m.there() || !m.greeting.Knows.Equal(providers.Roster{})
	}
	if !anybody {
		return known, providers.Status{Presence: engine.Gone, Why: "none of its machines knows the others"}, nil
	}
	for _, m := range all {
		if m.err != nil {
			return known, providers.Status{Presence: engine.Down, Why: m.err.Error()}, nil
		}
	}
	want := roster(known, all)
	for _, m := range all {
		if !m.greeting.Knows.Equal(want) {
			return known, providers.Status{Presence: engine.Down, Why: m.Machine + " does not know the others as they are"}, nil
		}
	}
	return known, providers.Status{}, nil
}

// apply tells all machines of each other, and those that have left, but stay, of
// nobody. Who leaves is told first, so that no machine lets in what is not one of
// its cluster any more, whatever happens to the rest.
func (c clusters) apply(ctx context.Context, r providers.Ref, want engine.Cluster, prior *engine.Cluster) (engine.Cluster, bool, error) {
	made := prior != nil
	all := c.gather(ctx, mark(r.Address), want, true)
	var errs []error
	for _, m := range all {
		if m.err == nil && want.SSHMesh && (m.greeting.Key == "" || len(m.greeting.HostKeys) == 0) {
			m.err = fmt.Errorf("%s has no keys, although it was asked to make them", m.Machine)
		}
		errs = append(errs, m.err)
	}
	if err := errors.Join(errs...); err != nil {
		return want, made, err
	}
	if prior != nil {
		if err := c.dismiss(ctx, mark(r.Address), *prior, want.Members); err != nil {
			return want, true, err
		}
	}
	to := roster(want, all)
	return want, true, together(all, func(m *member) error {
		if m.greeting.Knows.Equal(to) {
			return nil
		}
		if err := m.introducer.Introduce(ctx, m.object, mark(r.Address), want.User, to); err != nil {
			return fmt.Errorf("tell %s of the others: %w", m.Machine, err)
		}
		return nil
	})
}

// remove lets the machines that stay forget the cluster.
func (c clusters) remove(ctx context.Context, r providers.Ref, known engine.Cluster) error {
	return c.dismiss(ctx, mark(r.Address), known, nil)
}

// dismiss lets machines of a cluster forget it: all but some, and those that go away.
// One that does not answer could not be talked to by the others either.
func (c clusters) dismiss(ctx context.Context, cluster string, was engine.Cluster, but []engine.ClusterMember) error {
	stays := map[string]bool{}
	for _, m := range but {
		stays[m.ID] = true
	}
	left := was
	left.Members = nil
	for _, m := range was.Members {
		a, err := engine.ParseAddress(m.Machine)
		if err != nil {
			return err
		}
		if o, ok := c.machine(a); ok && o.ID() == m.ID && !stays[m.ID] && !c.leaves(a) {
			left.Members = append(left.Members, m)
		}
	}
	return together(c.gather(ctx, cluster, left, false), func(m *member) error {
		if m.err != nil {
			return m.err
		}
		if m.greeting.Knows.Equal(providers.Roster{}) {
			return nil
		}
		if err := m.introducer.Introduce(ctx, m.object, cluster, was.User, providers.Roster{}); err != nil {
			return fmt.Errorf("let %s forget the others: %w", m.Machine, err)
		}
		return nil
	})
}

// together calls f for all members, some at once, and joins what went wrong.
func together(all []member, f func(*member) error) error {
	errs := make([]error, len(all))
	free := make(chan struct{}, greetings)
	var wg sync.WaitGroup
	for i := range all {
		free <- struct{}{}
		wg.Go(func() {
			errs[i] = f(&all[i])
			<-free
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// greetings is how many machines of a cluster are talked to at once.
const greetings = 16

// check finds machines whose provider cannot tell them of others.
func (c clusters) check(ctx context.Context, a engine.Address, want engine.Cluster, _ *engine.Cluster) engine.Diagnostics {
	var unable []engine.Address
	var why []string
	for _, m := range want.Members {
		vm, err := engine.ParseAddress(m.Machine)
		if err != nil {
			continue
		}
		o, ok := c.machine(vm)
		if !ok {
			continue
		}
		if _, err := c.introducer(ctx, o.Provider); err != nil {
			unable, why = append(unable, vm), append(why, err.Error())
		}
	}
	if len(unable) == 0 {
		return nil
	}
	return engine.Diagnostics{{
		Summary: "Machines that cannot be joined", Address: a,
		Detail: fmt.Sprintf("%s has %s, which cannot know the others: %s. Machines of the libvirt provider can.", a, engine.List(unable), strings.TrimSuffix(why[0], ".")),
	}}
}
