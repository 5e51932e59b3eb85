package lb

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestRoutingPrecedence(t *testing.T) {
	canary := map[string]string{"x-canary": "yes"}
	rs := compileRoutes([]Route{
		{Path: "/", Targets: []Target{{Group: "root"}}},
		{Path: "/api", Targets: []Target{{Group: "api"}}},
		{Path: "/api/", Headers: canary, Targets: []Target{{Group: "api-canary"}}},
		{Path: "/api/v2/", Targets: []Target{{Group: "v2"}}},
		{Host: "*.example.com", Targets: []Target{{Group: "suffix"}}},
		{Host: "*.eu.example.com", Targets: []Target{{Group: "longer suffix"}}},
		{Host: "www.Example.com", Targets: []Target{{Group: "exact"}}},
		{Host: "www.example.com", Path: "/api", Targets: []Target{{Group: "exact api"}}},
	})
	for _, c := range []struct {
		name, host, path string
		header           http.Header
		want             string
	}{
		{"any host", "other", "/x", nil, "root"},
		{"prefix itself", "other", "/api", nil, "api"},
		{"below prefix", "other", "/api/x", nil, "api"},
		{"not at a segment boundary", "other", "/apix", nil, "root"},
		{"longer path wins", "other", "/api/v2/x", nil, "v2"},
		{"longer path, trailing slash is not needed", "other", "/api/v2", nil, "v2"},
		{"longer path beats exact host", "www.example.com", "/api/v2/", nil, "v2"},
		{"header", "other", "/api/x", http.Header{"X-Canary": {"yes"}}, "api-canary"},
		{"header with another value", "other", "/api/x", http.Header{"X-Canary": {"no"}}, "api"},
		{"header twice", "other", "/api/x", http.Header{"X-Canary": {"yes", "no"}}, "api"},
		{"host beats header", "www.example.com", "/api/x", http.Header{"X-Canary": {"yes"}}, "exact api"},
		{"exact host, other case, port, final dot", "WWW.example.com.:8080", "/", nil, "exact"},
		{"suffix", "a.example.com", "/", nil, "suffix"},
		{"longest suffix", "a.eu.example.com", "/", nil, "longer suffix"},
		{"suffix needs a label", "example.com", "/", nil, "root"},
		{"suffix is not of letters", "badexample.com", "/", nil, "root"},
		{"IPv6 host with port", "[::1]:80", "/", nil, "root"},
		{"star target", "other", "*", nil, "root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r := rs.match(c.host, c.path, c.header); r == nil || r.groups[0] != c.want {
				t.Errorf("match(%q, %q) = %+v, want %q", c.host, c.path, r, c.want)
			}
		})
	}
	if r := compileRoutes([]Route{{Path: "/only"}}).match("h", "/", nil); r != nil {
		t.Errorf("no route matches /, got %+v", r)
	}
}

func TestStripPath(t *testing.T) {
	r := compileRoute(Route{Path: "/api", StripPrefix: true})
	for _, c := range []struct {
		path, raw, wantPath, wantRaw string
		ok                           bool
	}{
		{"/api", "", "/", "", true},
		{"/api/x", "", "/x", "", true},
		{"/api/a/b", "/api/a%2Fb", "/a/b", "/a%2Fb", true},
		{"/api/x", "/%61pi/x", "", "", false},
		{"/api/x", "/api%2Fx", "", "", false},
	} {
		path, raw, ok := r.stripPath(c.path, c.raw)
		if path != c.wantPath || raw != c.wantRaw || ok != c.ok {
			t.Errorf("stripPath(%q, %q) = %q %q %t, want %q %q %t", c.path, c.raw, path, raw, ok, c.wantPath, c.wantRaw, c.ok)
		}
	}
}

func TestWheelSpreadsByWeight(t *testing.T) {
	for _, c := range []struct {
		weights []float64
		want    string
	}{
		{[]float64{5, 1, 1}, "0 0 1 0 2 0 0"}, // as in nginx's own example
		{[]float64{1, 1, 1}, "0 1 2"},
		{[]float64{0.5, 1}, "1 0 1"},
		{[]float64{20, 20}, "0 1"},
		{[]float64{95, 5}, strings.TrimSpace(strings.Repeat("0 ", 10) + "1 " + strings.Repeat("0 ", 9))},
		{nil, ""},
	} {
		var got []string
		for _, i := range wheel(c.weights) {
			got = append(got, string(rune('0'+i)))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("wheel(%v) = %s, want %s", c.weights, s, c.want)
		}
	}
	many := make([]float64, 2000)
	for i := range many {
		many[i] = float64(1 + i%maxWeight)
	}
	if turn := len(wheel(many)); turn*len(many) > 2*wheelWork {
		t.Errorf("wheel of %d uneven weights has %d steps", len(many), turn)
	}
}

func TestValidHost(t *testing.T) {
	for host, want := range map[string]bool{
		"example.com": true, "example.com:80": true, "10.0.0.1": true, "[::1]:80": true, "a_b-c": true,
		"": false, "a b": false, "a/b": false, "a@b": false, "a\\b": false, "a,b": false, "a?b": false,
		"a:1:2": false, "a[::1]": false, "ä": false, "a#": false, "a%41": false,
	} {
		if got := validHost(host); got != want {
			t.Errorf("validHost(%q) = %t", host, got)
		}
	}
}

// FuzzRoutes compiles routes that Validate lets through, and holds matching
// against what the words of Route say.
func FuzzRoutes(f *testing.F) {
	f.Add(`[{"path":"/a"},{"host":"*.x","path":"/a/b/"},{"headers":{"A":"b"}}]`, "h.x:80", "/a/b/c", "b")
	f.Add(`[{"path":"/a","strip_prefix":true,"targets":[{"group":"g","weight":3}]}]`, "", "/a", "")
	f.Fuzz(func(t *testing.T, given, host, path, header string) {
		var rs []Route
		if json.Unmarshal([]byte(given), &rs) != nil || len(rs) > 20 {
			return
		}
		fe := Frontend{Name: "f", Listen: "h:1", Routes: rs}
		if (Snapshot{Frontends: []Frontend{fe}}).Validate() != nil {
			return
		}
		h := http.Header{"A": {header}}
		table := compileRoutes(rs)
		got := table.match(host, path, h)
		if got == nil {
			if i := slices.IndexFunc(table, func(r *route) bool { return r.matches(normalHost(host), path, h) }); i >= 0 {
				t.Fatalf("route %d matches and was not found", i)
			}
			return
		}
		if !strings.HasPrefix(path, got.path) {
			t.Fatalf("path %q is not below %q", path, got.path)
		}
		if got.host != "" && !strings.HasSuffix(normalHost(host), got.host) {
			t.Fatalf("host %q is not %q", host, got.host)
		}
		for _, r := range table {
			if r.matches(normalHost(host), path, h) && len(r.path) > len(got.path) {
				t.Fatalf("path %q is longer than %q", r.path, got.path)
			}
		}
		if p, _, ok := got.stripPath(path, ""); !ok || p == "" && path != "" {
			t.Fatalf("stripPath(%q) = %q %t", path, p, ok)
		}
	})
}
