// Package archtest holds the rooms of flowctl and who may import whom, and fails
// the build on anything else. A new room, or a new arrow between two, is a
// change to the table below, and reviewed as such.
package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/flowctl/flowctl/"

// room is what a package may do.
type room struct {
	ours    []string // packages of ours that it may import; a trailing /* takes all beneath
	foreign []string // modules of others, by prefix; std is always allowed
	pure    bool     // no clock, no chance, no goroutine, no files, no network
	bans    []string // std packages that it may not import
}

var (
	cty  = []string{"github.com/zclconf/go-cty/cty"}
	io   = []string{"os", "net", "net/http", "os/exec", "database/sql"}
	unix = []string{"golang.org/x/sys/unix"}
)

// rooms is STYLE's import table. An arrow reads "imports".
var rooms = map[string]room{
	"engine":       {foreign: cty, pure: true, bans: io},
	"engine/place": {ours: []string{"engine"}, pure: true, bans: io},
	"engine/plan":  {ours: []string{"engine", "engine/place"}, foreign: cty, pure: true, bans: io},
	"engine/graph": {ours: []string{"engine"}, foreign: []string{"github.com/dominikbraun/graph"}, pure: true, bans: io},
	"engine/rule": {ours: []string{"engine"}, pure: true, bans: io,
		foreign: append([]string{"github.com/hashicorp/hcl/v2", "github.com/robfig/cron/v3"}, cty...)},
	"engine/exec": {ours: []string{"engine"}, bans: io},
	"spec": {ours: []string{"engine", "engine/rule"}, bans: []string{"net/http", "os/exec", "database/sql"},
		foreign: append([]string{"github.com/hashicorp/hcl/v2", "github.com/agext/levenshtein", "github.com/dominikbraun/graph"}, cty...)},
	"state":              {ours: []string{"engine", "internal/spread"}, foreign: append([]string{"modernc.org/sqlite", "github.com/google/uuid"}, cty...), bans: []string{"net", "net/http", "os/exec"}},
	"providers":          {ours: []string{"engine"}, foreign: cty},
	"providers/sim":      {ours: []string{"engine", "providers", "internal/spread"}, foreign: cty},
	"providers/builtin":  {ours: []string{"engine", "providers"}, foreign: cty},
	"providers/local":    {ours: []string{"engine", "providers", "internal/agent", "internal/daemon", "internal/tarball"}, foreign: cty},
	"providers/embedded": {ours: []string{"engine", "providers", "internal/lb", "internal/daemon"}, foreign: cty},
	"providers/docker": {ours: []string{"engine", "providers"}, foreign: append([]string{"github.com/docker/docker", "github.com/docker/go-connections/nat",
		"github.com/distribution/reference", "github.com/containerd/errdefs", "github.com/moby/patternmatcher"}, cty...)},
	"providers/libvirt/machine": {},
	"providers/libvirt": {ours: []string{"engine", "providers", "providers/libvirt/machine"}, foreign: append([]string{"libvirt.org/go/libvirt", "libvirt.org/go/libvirtxml",
		"github.com/google/uuid", "github.com/kdomanski/iso9660", "golang.org/x/sync/errgroup"}, cty...)},
	"providers/providertest": {ours: []string{"engine", "providers"}, foreign: cty},
	"tasks":                  {ours: []string{"engine", "providers"}, foreign: cty, bans: []string{"database/sql", "os/exec"}},
	"runtime": {ours: []string{"engine", "engine/plan", "engine/graph", "engine/exec", "providers", "tasks", "state", "internal/spread"}, foreign: cty,
		bans: []string{"net/http", "database/sql", "os/exec"}},
	"runtime/decide":   {ours: []string{"engine", "engine/rule"}, pure: true, bans: io},
	"runtime/fleet":    {ours: []string{"engine", "engine/place", "engine/rule"}, pure: true, bans: io},
	"runtime/elastic":  {pure: true, bans: io},
	"runtime/simulate": {ours: []string{"engine", "engine/place", "engine/rule", "runtime/decide", "runtime/fleet", "runtime/elastic"}, foreign: cty, pure: true, bans: io},
	"runtime/observe": {ours: []string{"engine", "engine/rule", "providers", "tasks", "runtime/decide"}, bans: []string{"database/sql"},
		foreign: []string{"github.com/prometheus/client_golang/api", "github.com/prometheus/common/model", "github.com/tidwall/gjson"}},
	"runtime/control": {ours: []string{"engine", "engine/exec", "engine/place", "engine/plan", "engine/rule", "providers", "runtime", "runtime/decide", "runtime/fleet", "runtime/observe", "state", "tasks"}, foreign: cty,
		bans: []string{"net/http", "database/sql", "os/exec"}},
	"runtime/telemetry": {ours: []string{"engine"}, foreign: []string{"go.opentelemetry.io/otel"}, bans: []string{"database/sql", "os/exec"}},
	"runtime/api":       {ours: []string{"engine", "providers", "runtime/control", "runtime/decide", "state"}, foreign: []string{"github.com/prometheus/client_golang"}, bans: []string{"database/sql", "os/exec"}},
	"cmd/flowctl":       {ours: []string{"*"}, foreign: []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/zclconf/go-cty/cty", "golang.org/x/term", "charm.land/bubbletea/v2"}},
	"cmd/flowctl/args":  {ours: []string{"engine"}, foreign: []string{"github.com/spf13/pflag"}, bans: io},
	"cmd/flowctl/view": {ours: []string{"engine", "engine/graph", "engine/plan", "providers", "state", "runtime/api", "runtime/simulate", "runtime/elastic", "internal/plot", "internal/spread"}, foreign: append([]string{"github.com/hashicorp/hcl/v2"}, cty...),
		bans: []string{"net", "net/http", "os/exec", "database/sql"}},
	"internal/daemon":       {foreign: unix},
	"internal/agent":        {ours: []string{"internal/daemon"}, foreign: unix},
	"internal/lb":           {ours: []string{"internal/daemon"}, foreign: []string{"golang.org/x/net/http/httpguts", "golang.org/x/sys/unix"}},
	"internal/load":         {foreign: []string{"github.com/HdrHistogram/hdrhistogram-go"}},
	"internal/plot":         {bans: io},
	"internal/tarball":      {},
	"internal/spread":       {bans: io},
	"internal/trial":        {ours: []string{"internal/daemon", "internal/load", "internal/plot", "runtime/api"}},
	"internal/archtest":     {},
	"internal/docs":         {ours: []string{"engine", "spec", "providers/*", "providers"}, foreign: cty},
	"examples/demo":         {foreign: []string{"github.com/prometheus/client_golang", "github.com/nats-io/nats.go"}},
	"examples/smart-energy": {foreign: []string{"github.com/nats-io/nats.go", "golang.org/x/sync/errgroup"}},
	"bench":                 {ours: []string{"*"}, foreign: append([]string{"github.com/docker/docker"}, cty...)},
	"internal/dockerlab":    {},
}

// root is the top of the repository, from this package.
const root = "../.."

// source is one parsed file.
type source struct {
	dir  string // of the package, from the root
	name string
	file *ast.File
	fset *token.FileSet
}

// sources parses every Go file that is no test. It reads files itself, so that
// the test cache notices their changes.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." && p != root || d.Name() == "testdata" || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, p, text, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(p))
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(dir), filepath.Base(p), f, fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("only %d files were found: the test looks in the wrong place", len(all))
	}
	return all
}

func (s source) imports() []string {
	var all []string
	for _, i := range s.file.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		all = append(all, p)
	}
	return all
}

func TestImportsFollowTheTable(t *testing.T) {
	for _, s := range sources(t) {
		r, ok := rooms[s.dir]
		if !ok {
			t.Errorf("%s: a new room: put it into the table, with what it may import", s.dir)
			continue
		}
		for _, p := range s.imports() {
			if !r.allows(p) {
				t.Errorf("%s/%s imports %s, which the table does not allow", s.dir, s.name, p)
			}
		}
	}
}

func (r room) allows(p string) bool {
	if ours, ok := strings.CutPrefix(p, module); ok {
		return slices.ContainsFunc(r.ours, func(a string) bool {
			dir, all := strings.CutSuffix(a, "*")
			return a == ours || all && strings.HasPrefix(ours, dir)
		})
	}
	if first, _, _ := strings.Cut(p, "/"); strings.Contains(first, ".") {
		return slices.ContainsFunc(r.foreign, func(f string) bool { return p == f || strings.HasPrefix(p, f+"/") })
	}
	return !slices.Contains(r.bans, p)
}

// What decides reads no clock, rolls no dice and starts nothing.
func TestPureRoomsArePure(t *testing.T) {
	banned := map[string][]string{
		"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"},
		"rand": {"Int", "IntN", "Float64", "Perm", "Shuffle"},
	}
	for _, s := range sources(t) {
		if !rooms[s.dir].pure {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a goroutine in a pure room", s.fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				if pkg, ok := n.X.(*ast.Ident); ok && slices.Contains(banned[pkg.Name], n.Sel.Name) {
					t.Errorf("%s: %s.%s in a pure room", s.fset.Position(n.Pos()), pkg.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}

// One goroutine owner: only the executor starts any in the engine.
func TestRegistrationIsNoSideEffect(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: init() hides what is wired; wiring is in cmd/flowctl/wire.go", s.fset.Position(f.Pos()))
			}
		}
	}
}

func TestPackagesSayWhatTheyAre(t *testing.T) {
	said := map[string]bool{}
	for _, s := range sources(t) {
		said[s.dir] = said[s.dir] || s.file.Doc != nil
	}
	for dir, ok := range said {
		if !ok {
			t.Errorf("%s has no package comment", dir)
		}
	}
	for dir := range rooms {
		if _, err := os.Stat(filepath.Join(root, dir)); err != nil && dir != "internal/docs" && dir != "bench" {
			t.Errorf("the table has a room that is not there: %s", dir)
		}
	}
}

func TestNoRoomIsADrawerForEverything(t *testing.T) {
	for _, s := range sources(t) {
		if slices.Contains([]string{"util", "utils", "common", "helpers", "types", "manager", "misc"}, path.Base(s.dir)) {
			t.Errorf("%s: a name that says nothing; name the package after what it holds", s.dir)
		}
	}
}
