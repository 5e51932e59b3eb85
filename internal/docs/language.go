package docs

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/providers/builtin"
	"github.com/flowctl/flowctl/providers/docker"
	"github.com/flowctl/flowctl/providers/embedded"
	"github.com/flowctl/flowctl/providers/libvirt"
	"github.com/flowctl/flowctl/providers/local"
	"github.com/flowctl/flowctl/providers/sim"
	"github.com/flowctl/flowctl/spec"
)

// Factories is the list of providers as cmd/flowctl has it.
var Factories = map[string]providers.Factory{
	"local":       local.Factory,
	docker.Name:   docker.Factory,
	libvirt.Name:  libvirt.Factory,
	"sim":         sim.Factory,
	embedded.Name: embedded.Factory,
	builtin.Name:  builtin.Factory,
}

//go:embed language.md.tmpl
var languageText string

// Language returns the page docs/language.md.
func Language() (string, error) {
	t, err := template.New("language.md.tmpl").Funcs(template.FuncMap{
		"attributes": blockAttributes, "reference": blockReference, "providers": providerSections, "functions": functionTables,
	}).Parse(languageText)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if err := t.Execute(&b, nil); err != nil {
		return "", err
	}
	return b.String(), nil
}

// schemas are the blocks that the template may ask for, by name.
func schemas() map[string]*engine.Schema {
	all := map[string]*engine.Schema{
		"flow": engine.SchemaOf[flowBlock](), "variable": engine.SchemaOf[variableBlock](),
		"validation": engine.SchemaOf[validationBlock](), "output": engine.SchemaOf[outputBlock](),
		"common": engine.SchemaOf[spec.Common](), "timeouts": engine.SchemaOf[engine.Timeouts](),
	}
	for _, k := range engine.BlockKinds {
		all[string(k)] = engine.BlockSchema(k)
	}
	return all
}

func schemaNamed(name string) (*engine.Schema, error) {
	s := schemas()[name]
	if s == nil {
		return nil, fmt.Errorf("there is no block %q", name)
	}
	return s, nil
}

func blockAttributes(name string) (string, error) {
	s, err := schemaNamed(name)
	if err != nil {
		return "", err
	}
	return attributes(s, nil), nil
}

func blockReference(name string) (string, error) {
	s, err := schemaNamed(name)
	if err != nil {
		return "", err
	}
	return reference(name, s), nil
}

// providerSections tells of each provider what it makes and how it is set up.
func providerSections() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(Factories)) {
		f := Factories[name]
		var makes []string
		for _, k := range f.Kinds {
			if engine.BlockSchema(k) != nil {
				makes = append(makes, link(string(k)))
			}
		}
		if slices.Contains(f.Kinds, engine.KindWarm) {
			makes = append(makes, "[warm](scaling.md#machines-kept-ready) machines")
		}
		fmt.Fprintf(&b, "### provider %s\n\n%s\n\nMakes: %s.\n\n", name, f.Doc, strings.Join(makes, ", "))
		if f.Config == nil {
			b.WriteString("It has no settings.\n\n")
			continue
		}
		b.WriteString(settings(f.Config) + "\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Options are what spec.Load takes, as cmd/flowctl has them.
func Options() spec.Options {
	return spec.Options{
		Providers: providers.Schemas(Factories), Runners: providers.Runners(Factories), Warmers: providers.Warmers(Factories),
		DefaultProvider: "local", Builtin: builtin.Name, Balancer: embedded.Name,
	}
}

// settings is the table of a provider's settings, which are no resource's.
func settings(s *engine.Schema) string {
	return attributes(s, &engine.Attribute{Meta: true})
}
