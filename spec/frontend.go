package spec

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// front is a frontend, for checking it against the others.
type front struct {
	inst     *instance
	provider string
	listen   string   // "" if it is not known yet
	protocol string   // "" if it is not known yet
	targets  []target // the functions that it balances to
}

func (l *loader) declareFrontend(inst *instance, decl *engine.Decl, value cty.Value) {
	var f engine.Frontend
	mustDecode(value, &f)
	targets := targetsOf(inst.block, f)
	seen := map[engine.Address]bool{}
	for _, t := range targets {
		if !seen[t.to] {
			seen[t.to] = true
			decl.Needs = append(decl.Needs, engine.Need{Target: t.to, Kind: engine.Member, Source: rangeOf(t.rng)})
		}
	}
	slices.SortStableFunc(decl.Needs, func(a, b engine.Need) int { return a.Target.Compare(b.Target) })
	l.fronts = append(l.fronts, front{inst, decl.Provider, f.Listen, f.Protocol, targets})
	l.checkFrontend(inst, f, value)
}

// targetsOf lists the functions that a frontend names, in the order of the source.
func targetsOf(b *block, f engine.Frontend) []target {
	var all []target
	add := func(body *hclsyntax.Body, to engine.Address) {
		if a := body.Attributes["to"]; a != nil && !to.IsZero() {
			all = append(all, target{to, a.Expr.Range()})
		}
	}
	add(b.body, f.To)
	routes := engine.SchemaOf[engine.Frontend]().Attribute("route")
	for i, blk := range nestedBlocks(b.body, routes) {
		add(blk.Body, f.Routes[i].To)
		for j, s := range nestedBlocks(blk.Body, routes.Block.Attribute("split")) {
			add(s.Body, f.Routes[i].Split[j].To)
		}
	}
	return all
}

// checkFrontend looks at what one frontend says about itself.
func (l *loader) checkFrontend(inst *instance, f engine.Frontend, value cty.Value) {
	b := inst.block
	if !isGiven(value, "to") && len(f.Routes) == 0 && !l.misspelt(b, "to", "route") {
		l.faultOf(inst, b.def, "Frontend without a function", fmt.Sprintf("%s balances to nothing. Write to = function.NAME, or a block route \"/\" { to = function.NAME }.", inst.addr))
	}
	if isGiven(value, "to") && len(f.Routes) > 0 {
		l.faultOf(inst, b.attribute("to"), "Two ways to route", "to is short for one route \"/\". Keep either to or the route blocks.")
	}
	if isGiven(value, "hash_key") != (f.Balance == "hash") && value.GetAttr("balance").IsKnown() {
		l.faultOf(inst, b.oneOf("hash_key", "balance"), "Hash without a key", "balance = \"hash\" and hash_key belong together: write hash_key = \"source\", \"path\", \"header:NAME\" or \"cookie:NAME\".")
	} else if f.HashKey != "" && !validHashKey(f.HashKey) {
		l.faultOf(inst, b.attribute("hash_key"), "Invalid value", fmt.Sprintf("\"hash_key\": %q is not one of \"source\", \"path\", \"header:NAME\" and \"cookie:NAME\".", f.HashKey))
	}
	if h, _ := value.GetAttr("health").Unmark(); h.IsKnown() && !h.IsNull() {
		l.checkPath(inst, h)
	}
	if f.Protocol == "tcp" {
		l.checkTCP(inst, f)
	}
	l.checkListen(inst, f)
	l.checkRoutes(inst, f)
}

// misspelt reports whether one of some attributes is written under another name,
// which is reported.
func (l *loader) misspelt(b *block, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return l.meant[named{b.body, name}] })
}

// oneOf returns the place of the first attribute that is written.
func (b *block) oneOf(names ...string) hcl.Range {
	for _, name := range names {
		if b.body.Attributes[name] != nil {
			return b.attribute(name)
		}
	}
	return b.def
}

func validHashKey(s string) bool {
	kind, name, _ := strings.Cut(s, ":")
	switch kind {
	case "source", "path":
		return s == kind
	case "header", "cookie":
		return name != ""
	default:
		return false
	}
}

// checkTCP finds settings that need HTTP.
func (l *loader) checkTCP(inst *instance, f engine.Frontend) {
	b := inst.block
	if len(f.Routes) > 0 {
		l.faultOf(inst, b.nested("route"), "Routes of a TCP frontend", "TCP connections have no path or host to route by. Write to = function.NAME instead of route blocks, or protocol = \"http\".")
	}
	if f.HashKey != "" && f.HashKey != "source" {
		l.faultOf(inst, b.attribute("hash_key"), "Hash of a TCP frontend", "TCP connections have no path, headers or cookies. Write hash_key = \"source\".")
	}
	if rng := b.nested("sticky"); rng != b.def {
		l.warnOf(inst, rng, "Setting without effect", fmt.Sprintf("sticky is about HTTP requests, and %s balances TCP connections. Remove the block.", inst.addr))
	}
	for _, name := range []string{"max_header_bytes", "max_body_bytes"} {
		if b.body.Attributes[name] != nil {
			l.warnOf(inst, b.attribute(name), "Setting without effect", fmt.Sprintf("%s is about HTTP requests, and %s balances TCP connections. Remove the line.", name, inst.addr))
		}
	}
}

func (l *loader) checkRoutes(inst *instance, f engine.Frontend) {
	first := map[string]hcl.Range{}
	routes := engine.SchemaOf[engine.Frontend]().Attribute("route")
	for i, blk := range nestedBlocks(inst.block.body, routes) {
		r, where := f.Routes[i], blk.DefRange()
		if !strings.HasPrefix(r.Path, "/") {
			l.faultOf(inst, blk.LabelRanges[0], "Invalid route", fmt.Sprintf("The path %q does not start with a slash. Write route \"/%s\".", r.Path, strings.TrimLeft(r.Path, "*/ ")))
		}
		hasTo := blk.Body.Attributes["to"] != nil
		splits := nestedBlocks(blk.Body, routes.Block.Attribute("split"))
		if hasTo == (len(splits) > 0) {
			l.faultOf(inst, where, "Route without one target", "A route needs either to = function.NAME or split blocks.")
		}
		if len(splits) > 0 {
			l.checkSplits(inst, where, r, splits)
		}
		if dynamic(l, blk.Body.Attributes["host"]) || dynamic(l, blk.Body.Attributes["headers"]) {
			continue // what it matches is not known yet
		}
		key := fmt.Sprintf("%q %q", r.Path, r.Host)
		for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
			key += fmt.Sprintf(" %q=%q", strings.ToLower(name), r.Headers[name])
		}
		if was, again := first[key]; again {
			l.faultOf(inst, where, "Duplicate route", fmt.Sprintf("%s has two routes for the same path, host and headers (the first at %s), so the second would never be used. Remove one, or use split blocks to share the requests.", inst.addr, place(was)))
			continue
		}
		first[key] = where
	}
}

func dynamic(l *loader, a *hclsyntax.Attribute) bool {
	return a != nil && l.exprs[a.Expr] != nil && l.exprs[a.Expr].dynamic()
}

func (l *loader) checkSplits(inst *instance, where hcl.Range, r engine.Route, splits []*hclsyntax.Block) {
	total := 0
	seen := map[engine.Address]bool{}
	for i, s := range r.Split {
		total += s.Weight
		if dynamic(l, splits[i].Body.Attributes["weight"]) {
			total = 1 // not known yet
		}
		if seen[s.To] && !s.To.IsZero() {
			l.faultOf(inst, splits[i].DefRange(), "Duplicate split", fmt.Sprintf("The route has two splits to %s. Add their weights up in one.", s.To))
		}
		seen[s.To] = true
	}
	if total == 0 {
		l.faultOf(inst, where, "Splits without weight", "All splits of the route have weight 0, so no function would get any request. Give one of them a weight of 1 or more.")
	}
}

func (l *loader) checkListen(inst *instance, f engine.Frontend) {
	if _, _, ok := splitListen(f.Listen); !ok && f.Listen != "" {
		l.faultOf(inst, inst.block.attribute("listen"), "Invalid listen address", fmt.Sprintf("%q is no address to listen on. Write \"127.0.0.1:8080\", \":8080\" for all addresses, or port 0 for one that is free.", f.Listen))
	}
}

func splitListen(listen string) (host string, port int, ok bool) {
	host, text, err := net.SplitHostPort(listen)
	port, perr := strconv.Atoi(text)
	ok = err == nil && perr == nil && port >= 0 && port <= 65535 && !strings.ContainsAny(host, " /")
	switch host {
	case "", "0.0.0.0", "::":
		host = everywhere
	case "localhost":
		host = "127.0.0.1"
	}
	return host, port, ok
}

const everywhere = "*"

// checkListeners finds frontends that would listen in the same place.
func (l *loader) checkListeners() {
	type port struct {
		provider string
		number   int
	}
	byPort := map[port]map[string]*instance{}
	for _, f := range l.fronts {
		host, number, ok := splitListen(f.listen)
		if !ok || number == 0 {
			continue
		}
		p := port{f.provider, number}
		hosts := byPort[p]
		if hosts == nil {
			hosts = map[string]*instance{}
			byPort[p] = hosts
		}
		if other := clash(hosts, host); other != nil {
			l.faultOf(f.inst, f.inst.block.attribute("listen"), "Two frontends on one port", fmt.Sprintf("%s and %s (%s) both listen on port %d. Give each a port or an address of its own.", f.inst.addr, other.addr, place(other.block.def), number))
			continue
		}
		hosts[host] = f.inst
	}
}

// checkProtocols finds frontends that speak another protocol than their
// functions.
func (l *loader) checkProtocols() {
	for _, f := range l.fronts {
		for _, t := range f.targets {
			if f.protocol == "http" && l.protocols[t.to] == "tcp" {
				l.faultOf(f.inst, t.rng, "Protocols that do not fit", fmt.Sprintf("%s balances HTTP requests, but %s says protocol = \"tcp\", which is neither HTTP nor gRPC. Write protocol = \"tcp\" in the frontend, too, or correct that of the function.", f.inst.addr, t.to))
			}
		}
	}
}

// clash returns who listens on a host, or everywhere, already.
func clash(hosts map[string]*instance, host string) *instance {
	if host != everywhere {
		if other := hosts[host]; other != nil {
			return other
		}
		return hosts[everywhere]
	}
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		return hosts[name]
	}
	return nil
}
