package engine_test

import (
	"runtime"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// Values that are read share the type of their kind: a type for each would be as large
// as what it is the type of.
func TestValuesShareTheirType(t *testing.T) {
	text := []byte(`{"exec":["x"],"cpu":1,"machine":"vm.node[0]","id":"a","address":"10.0.0.1:80"}`)
	size := func(read func() cty.Value) uint64 {
		kept := make([]cty.Value, 2000)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range kept {
			kept[i] = read()
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(kept)
		return (after.HeapAlloc - before.HeapAlloc) / uint64(len(kept))
	}
	read := func() cty.Value {
		v, err := engine.UnmarshalValue(engine.KindFunction, text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if v := read(); !v.Type().Equals(engine.ValueSchema(engine.KindFunction).Type()) {
		t.Errorf("a value that is read has the type %#v", v.Type())
	}
	shared, apart := size(read), size(func() cty.Value { return cty.ObjectVal(read().AsValueMap()) })
	if shared*4 > apart*3 {
		t.Errorf("a value takes %d bytes, and one with a type of its own %d", shared, apart)
	}
}
