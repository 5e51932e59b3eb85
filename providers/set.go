package providers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// Settings is what a provider is made from.
type Settings struct {
	Name    string    // "local", or "libvirt.east" with an alias
	Flow    string    // labels everything that is made
	Dir     string    // a folder of the provider's own, for this flow; not made yet
	Host    string    // the computer on which the flow's state was made; this one, if Home is ""
	Home    string    // the flow's folder then; "" if it is where it was
	SpecDir string    // where relative paths of the spec start
	Config  cty.Value // of the factory's schema
	Exe     string    // the flowctl program, for providers that start parts of it
	Log     *slog.Logger
}

// Mark tells the things of a flow apart from those of another of this name, whose
// state is elsewhere: by where the state was made.
func (s Settings) Mark() string {
	host, dir := s.Host, Dir(s.Home, s.Name)
	if s.Home == "" {
		host, _ = os.Hostname()
		dir = s.Dir
	}
	h := sha256.New()
	for _, p := range []string{host, dir} {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Factory makes a provider.
type Factory struct {
	Doc    string
	Config *engine.Schema // of the provider block; nil if it has no settings
	Kinds  []engine.Kind  // that it makes
	Runner string         // the provider that runs functions on its machines; "" for itself
	New    func(ctx context.Context, s Settings) (Provider, error)
}

// Set holds the providers of one flow. Each is made when it is first asked for.
// It is safe for concurrent use.
type Set struct {
	factories map[string]Factory
	base      Settings
	configs   map[string]cty.Value
	wrap      func(name string, p Provider) Provider

	mu   sync.Mutex
	made map[string]Provider
}

// NewSet returns the providers of a flow. base holds what all have in common;
// wrap, if not nil, decorates each.
func NewSet(factories map[string]Factory, base Settings, configs []engine.Setting, wrap func(string, Provider) Provider) *Set {
	s := &Set{factories: factories, base: base, configs: map[string]cty.Value{}, wrap: wrap, made: map[string]Provider{}}
	for _, c := range configs {
		s.configs[c.Name] = c.Config
	}
	return s
}

// Get returns a provider by its name.
func (s *Set) Get(ctx context.Context, name string) (Provider, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.made[name]; ok {
		return p, nil
	}
	base, _, _ := strings.Cut(name, ".")
	f, ok := s.factories[base]
	if !ok {
		return nil, Permanent(fmt.Errorf("there is no provider %q in this flowctl", base))
	}
	settings := s.base
	settings.Name = name
	settings.Dir = Dir(s.base.Dir, name)
	settings.Config, ok = s.configs[name]
	if !ok && f.Config != nil {
		settings.Config = defaults(f.Config)
	}
	p, err := f.New(ctx, settings)
	if err != nil {
		return nil, fmt.Errorf("set up provider %s: %w", name, err)
	}
	if s.wrap != nil {
		p = s.wrap(name, p)
	}
	s.made[name] = p
	return p, nil
}

// Dir is the folder of a provider beneath that of its flow.
func Dir(flow, provider string) string {
	return filepath.Join(flow, strings.ReplaceAll(provider, ".", "-"))
}

// defaults is the value of a provider block that says nothing.
func defaults(schema *engine.Schema) cty.Value {
	attrs := map[string]cty.Value{}
	for _, a := range schema.Attributes {
		attrs[a.Name] = cty.NullVal(a.Type)
		if a.Default != cty.NilVal {
			attrs[a.Name] = a.Default
		}
	}
	return cty.ObjectVal(attrs)
}

// Made returns the providers made so far, sorted by name.
func (s *Set) Made() []Provider {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Provider
	for _, name := range slices.Sorted(maps.Keys(s.made)) {
		list = append(list, s.made[name])
	}
	return list
}

// Close ends what the providers hold open.
func (s *Set) Close() error {
	var errs []error
	for _, p := range s.Made() {
		if c, ok := p.(Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// Runners returns which provider runs the functions on the machines of each that
// does not do so itself.
func Runners(factories map[string]Factory) map[string]string {
	all := map[string]string{}
	for name, f := range factories {
		if f.Runner != "" {
			all[name] = f.Runner
		}
	}
	return all
}

// Warmers returns the providers that keep machines ready.
func Warmers(factories map[string]Factory) map[string]bool {
	all := map[string]bool{}
	for name, f := range factories {
		all[name] = slices.Contains(f.Kinds, engine.KindWarm)
	}
	return all
}

// Schemas returns the schema of every provider's settings, for spec.Load.
func Schemas(factories map[string]Factory) map[string]*engine.Schema {
	all := map[string]*engine.Schema{}
	for name, f := range factories {
		all[name] = f.Config
		if f.Config == nil {
			all[name] = engine.SchemaOf[struct{}]()
		}
	}
	return all
}
