package engine_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"pgregory.net/rapid"
)

func TestAddressFormsRoundTrip(t *testing.T) {
	for _, s := range []string{
		"frontend.www", "vm.node[0]", `function.web["eu west"][12]`, `image.x["a]\"[b"]`,
		"backend.www/web[3]", "delivery.app/host.box", `delivery.app["eu"]/vm.node["a/b"][2]`, `backend.www["eu"]/web["a/b"][3]`,
	} {
		a, err := engine.ParseAddress(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		if a.String() != s {
			t.Errorf("%s came back as %s", s, a)
		}
	}
}

func TestAddressesThatAreNone(t *testing.T) {
	for _, s := range []string{"", "vm", "vm.", ".x", "vm.node[", "vm.node[-1]", "vm.node[01]", "vm.node[x]", `vm.node[""]`, "vm.node[0][1]"} {
		if a, err := engine.ParseAddress(s); err == nil {
			t.Errorf("%q was read as %#v", s, a)
		}
	}
}

func TestAddressProperties(t *testing.T) {
	gen := rapid.Custom(func(t *rapid.T) engine.Address {
		a := engine.Addr(rapid.SampledFrom(engine.BlockKinds).Draw(t, "kind"), rapid.StringMatching(`[a-z_][a-z0-9_-]{0,6}`).Draw(t, "name"))
		if rapid.Bool().Draw(t, "keyed") {
			a = a.For(rapid.StringN(1, 8, -1).Draw(t, "key"))
		}
		if rapid.Bool().Draw(t, "indexed") {
			a = a.At(rapid.IntRange(0, 20).Draw(t, "n"))
		}
		return a
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := gen.Draw(t, "a"), gen.Draw(t, "b")
		back, err := engine.ParseAddress(a.String())
		if err != nil || back != a {
			t.Fatalf("%s came back as %s (%v)", a, back, err)
		}
		if (a.Compare(b) == 0) != (a == b) || a.Compare(b) != -b.Compare(a) {
			t.Fatalf("order of %s and %s is not one", a, b)
		}
		replica := engine.Address{Kind: engine.KindFunction, Name: a.Name, Key: a.Key}.At(3)
		frontend := engine.Addr(engine.KindFrontend, b.Name)
		if b.Key != "" {
			frontend = frontend.For(b.Key)
		}
		member := engine.BackendOf(frontend, replica)
		if f, r := member.Membership(); f != frontend || r != replica {
			t.Fatalf("%s stands for %s behind %s, want %s behind %s", member, r, f, replica, frontend)
		}
		if back, err := engine.ParseAddress(member.String()); err != nil || back != member {
			t.Fatalf("%s came back as %s (%v)", member, back, err)
		}
		image, machine := frontend, a
		image.Kind = engine.KindImage
		delivery := engine.DeliveryOf(image, machine)
		if i, m := delivery.Consignment(); i != image || m != machine {
			t.Fatalf("%s brings %s to %s, want %s to %s", delivery, i, m, image, machine)
		}
		if back, err := engine.ParseAddress(delivery.String()); err != nil || back != delivery {
			t.Fatalf("%s came back as %s (%v)", delivery, back, err)
		}
	})
}

func TestSizesAndDurationsAreCanonical(t *testing.T) {
	for in, want := range map[string]string{"1024MiB": "1GiB", "1.5 GiB": "1536MiB", "1000kB": "1MB", "0B": "0B", "1GiB": "1GiB"} {
		if s, err := engine.ParseSize(in); err != nil || s.String() != want {
			t.Errorf("size %s = %s (%v), want %s", in, s, err, want)
		}
	}
	for _, in := range []string{"", "5", "-1MiB", "x MiB", "99999999999TiB", "1 mib"} {
		if s, err := engine.ParseSize(in); err == nil {
			t.Errorf("size %q was read as %s", in, s)
		}
	}
	for in, want := range map[string]string{"60s": "1m", "90s": "1m30s", "3600s": "1h", "1d": "24h", "0s": "0s", "250ms": "250ms"} {
		if d, err := engine.ParseDuration(in); err != nil || d.String() != want {
			t.Errorf("duration %s = %s (%v), want %s", in, d, err, want)
		}
	}
	for _, in := range []string{"", "5", "-1s", "abc", "1y"} {
		if d, err := engine.ParseDuration(in); err == nil {
			t.Errorf("duration %q was read as %s", in, d)
		}
	}
}

func TestEncodeIsTheInverseOfDecode(t *testing.T) {
	f := engine.Frontend{
		Listen: "127.0.0.1:80", Protocol: "http", Balance: "p2c", MaxHeaderBytes: 64 * engine.KiB,
		Routes: []engine.Route{{Path: "/", To: engine.Addr(engine.KindFunction, "web"), Headers: map[string]string{"X": "1"}}},
		Sticky: &engine.Sticky{Cookie: "c", TTL: engine.Duration(60e9)},
		Port:   80,
	}
	v := engine.Encode(f)
	if !v.Type().Equals(engine.SchemaOf[engine.Frontend]().Type()) {
		t.Fatalf("encoded type differs from the schema's")
	}
	back := engine.MustDecode[engine.Frontend](v)
	if again := engine.Encode(back); !again.RawEquals(v) {
		t.Errorf("decoded and encoded again:\n%#v\nwant\n%#v", again, v)
	}
	if back.Routes[0].To != f.Routes[0].To || back.Sticky.TTL != f.Sticky.TTL {
		t.Errorf("decoded %+v, want %+v", back, f)
	}
}

func TestDecodeTakesUnknownAndNullAsZero(t *testing.T) {
	v := engine.With(engine.Encode(engine.VM{CPUs: 2, Memory: engine.GiB}), map[string]cty.Value{
		"id": cty.UnknownVal(cty.String), "cpus": cty.NumberIntVal(3).Mark(engine.Sensitive),
	})
	vm := engine.MustDecode[engine.VM](v)
	if vm.ID != "" || vm.CPUs != 3 || vm.Memory != engine.GiB {
		t.Errorf("decoded %+v", vm)
	}
}

// Every kind's schema is what the language reference and the spec are made of:
// it must be complete and free of slips.
func TestSchemasAreDocumented(t *testing.T) {
	var check func(where string, s *engine.Schema)
	check = func(where string, s *engine.Schema) {
		for _, a := range s.Attributes {
			if a.Doc == "" || !strings.HasSuffix(a.Doc, ".") {
				t.Errorf("%s.%s: its doc is no sentence: %q", where, a.Name, a.Doc)
			}
			if a.Required && a.Default != cty.NilVal {
				t.Errorf("%s.%s is required and has a default", where, a.Name)
			}
			if a.Default != cty.NilVal && a.Default.Type() == cty.String {
				if v, err := a.Normalise(a.Default); err != nil || !v.RawEquals(a.Default) {
					t.Errorf("%s.%s: default %#v is not canonical: %#v, %v", where, a.Name, a.Default, v, err)
				}
			}
			if a.Block != nil {
				check(where+"."+a.Name, a.Block)
			}
		}
	}
	for _, k := range engine.BlockKinds {
		check(string(k), engine.BlockSchema(k))
	}
	check("backend", engine.ValueSchema(engine.KindBackend))
	check("delivery", engine.ValueSchema(engine.KindDelivery))
}

func TestNormaliseChecksBoundsAndChoices(t *testing.T) {
	vm := engine.BlockSchema(engine.KindVM)
	front := engine.BlockSchema(engine.KindFrontend)
	for _, c := range []struct {
		attr *engine.Attribute
		v    cty.Value
		want string // in the error; "" for none
	}{
		{vm.Attribute("cpus"), cty.NumberIntVal(2), ""},
		{vm.Attribute("cpus"), cty.NumberIntVal(0), "the least is 0.1"},
		{vm.Attribute("count"), cty.NumberFloatVal(1.5), "whole number"},
		{vm.Attribute("memory"), cty.StringVal("1kB"), "the least is 1MiB"},
		{vm.Attribute("memory"), cty.StringVal("much"), "not a size"},
		{front.Attribute("balance"), cty.StringVal("fair"), `"p2c", "round_robin"`},
		{front.Attribute("slow_start"), cty.StringVal("soon"), "not a duration"},
	} {
		_, err := c.attr.Normalise(c.v)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s = %#v: err = %v, want %q", c.attr.Name, c.v, err, c.want)
		}
	}
}

func TestCurrentPrefersTheNewestThatIsNotTainted(t *testing.T) {
	obj := func(gen int, l engine.Lifecycle) engine.Object { return engine.Object{Gen: gen, Lifecycle: l} }
	for _, c := range []struct {
		in        []engine.Object
		want      int
		leftovers []int
	}{
		{nil, 0, nil},
		{[]engine.Object{obj(1, engine.Ready)}, 1, nil},
		{[]engine.Object{obj(1, engine.Ready), obj(2, engine.Tainted)}, 1, []int{2}},
		{[]engine.Object{obj(1, engine.Ready), obj(2, engine.Unverified)}, 2, []int{1}},
		{[]engine.Object{obj(1, engine.Tainted), obj(2, engine.Tainted)}, 2, []int{1}},
	} {
		cur, left := engine.Current(c.in)
		var gens []int
		for _, o := range left {
			gens = append(gens, o.Gen)
		}
		if (cur == nil) != (c.want == 0) || cur != nil && cur.Gen != c.want || !slices.Equal(gens, c.leftovers) {
			t.Errorf("Current(%v) = %v, %v", c.in, cur, gens)
		}
	}
}

func TestIndexes(t *testing.T) {
	auto := engine.Bounds{Min: 2, Max: 4, Autoscaled: true}
	for _, c := range []struct {
		b    engine.Bounds
		have []int
		want []int
	}{
		{engine.Bounds{Min: 3, Max: 3}, []int{0, 5}, []int{0, 1, 2}},
		{engine.Bounds{}, []int{0, 1}, nil},
		{auto, nil, []int{0, 1}},
		{auto, []int{2}, []int{0, 2}},
		{auto, []int{0, 2, 5}, []int{0, 2, 5}},
		{auto, []int{7, 1, 3, 5, 9}, []int{1, 3, 5, 7}},
	} {
		if got := c.b.Indexes(c.have); !slices.Equal(got, c.want) {
			t.Errorf("%+v of %v = %v, want %v", c.b, c.have, got, c.want)
		}
	}
	if got := engine.Grow([]int{1, 4}, 3); !slices.Equal(got, []int{0, 1, 2, 3, 4}) {
		t.Errorf("Grow = %v", got)
	}
}

// The codec of values agrees with cty's own.
func TestValuesAreCtyJSON(t *testing.T) {
	gen := rapid.Custom(func(t *rapid.T) engine.Replica {
		text := rapid.String()
		r := engine.Replica{
			Exec: rapid.SliceOfN(text, 0, 3).Draw(t, "exec"), Env: rapid.MapOfN(text, text, 0, 3).Draw(t, "env"),
			Port: rapid.IntRange(0, 70000).Draw(t, "port"), CPU: rapid.Float64Range(0, 100).Draw(t, "cpu"),
			Memory: engine.Size(rapid.Int64Range(0, 1<<40).Draw(t, "memory")), Protocol: "http", Drain: engine.Duration(rapid.Int64Range(0, 1e12).Draw(t, "drain")),
		}
		if rapid.Bool().Draw(t, "health") {
			r.Health = &engine.Health{HTTP: text.Draw(t, "path"), TCP: rapid.Bool().Draw(t, "tcp")}
		}
		return r
	})
	rapid.Check(t, func(t *rapid.T) {
		v := engine.Encode(gen.Draw(t, "replica"))
		ours, err := engine.MarshalValue(v)
		if err != nil {
			t.Fatal(err)
		}
		back, err := engine.UnmarshalValue(engine.KindFunction, ours)
		if err != nil || !back.RawEquals(v) {
			t.Fatalf("%s came back as %#v (%v)", ours, back, err)
		}
		theirs, err := ctyjson.Unmarshal(ours, v.Type())
		if err != nil || !theirs.RawEquals(v) {
			t.Fatalf("cty reads %s as %#v (%v)", ours, theirs, err)
		}
	})
}

func TestValuesSurviveASchemaThatChanged(t *testing.T) {
	v, err := engine.UnmarshalValue(engine.KindVM, []byte(`{"cpus":2,"memory":"1GiB","forgotten":{"a":[1]}}`))
	if err != nil || engine.MustDecode[engine.VM](v).CPUs != 2 {
		t.Errorf("%#v, %v", v, err)
	}
	if !v.GetAttr("labels").IsNull() {
		t.Error("an attribute that is missing is not null")
	}
	for _, bad := range []string{"", "[]", `{"cpus":"two"}`, `{"labels":{"a":1}}`, `{"cpus":{}}`} {
		if v, err := engine.UnmarshalValue(engine.KindVM, []byte(bad)); err == nil {
			t.Errorf("%s was read as %#v", bad, v)
		}
	}
}

func BenchmarkValueJSON(b *testing.B) {
	v := engine.Encode(engine.VM{CPUs: 2, Memory: engine.GiB, Slots: 4, ID: "x-1", Address: "127.0.0.1", Labels: map[string]string{"a": "b"}})
	text, err := engine.MarshalValue(v)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("marshal", func(b *testing.B) {
		for b.Loop() {
			engine.MarshalValue(v)
		}
	})
	b.Run("unmarshal", func(b *testing.B) {
		for b.Loop() {
			engine.UnmarshalValue(engine.KindVM, text)
		}
	})
}
