package spec

import (
	"slices"
	"strconv"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// resources builds the objects vm, function, … of a scope, with just what the
// sites use: a spec may have many more, which cost nothing then.
func resources(own, shared []site, v engine.Values) map[string]cty.Value {
	var all gathered
	for _, s := range own {
		all.add(s)
	}
	for _, s := range shared {
		all.add(s)
	}
	kinds := map[string]map[string]cty.Value{}
	for _, u := range all.list {
		kind := string(u.block.kind)
		if kinds[kind] == nil {
			kinds[kind] = map[string]cty.Value{}
		}
		kinds[kind][u.block.name] = u.value(v)
	}
	vars := make(map[string]cty.Value, len(kinds)+2)
	for kind, blocks := range kinds {
		vars[kind] = cty.ObjectVal(blocks)
	}
	return vars
}

// used is what is used of one block.
type used struct {
	block *block
	lost  bool // a use of it has a fault
	all   bool // every key and instance
	keys  []usedKey
}

// usedKey is what is used of the group under one key.
type usedKey struct {
	key     string
	all     bool // every instance
	indexes []int
}

// gathered is what is used of several blocks.
type gathered struct {
	list []*used
	by   map[*block]*used // of list, once searching it would be slow
}

// few is how many are searched one by one.
const few = 8

func (g *gathered) of(b *block) *used {
	if len(g.list) <= few {
		for _, u := range g.list {
			if u.block == b {
				return u
			}
		}
	} else if u := g.by[b]; u != nil {
		return u
	}
	u := &used{block: b}
	g.list = append(g.list, u)
	switch {
	case len(g.list) == few+1:
		g.by = map[*block]*used{}
		for _, u := range g.list {
			g.by[u.block] = u
		}
	case len(g.list) > few+1:
		g.by[b] = u
	}
	return u
}

func (g *gathered) add(s site) {
	u := g.of(s.use.block)
	u.lost = u.lost || s.lost
	u.all = u.all || u.block.forEach != nil && s.key == ""
	if u.all {
		return
	}
	for i := range u.keys {
		if u.keys[i].key == s.key {
			u.keys[i].add(s.index)
			return
		}
	}
	if u.keys = append(u.keys, usedKey{key: s.key}); len(u.keys) > manyKeys {
		u.all = true
		return
	}
	u.keys[len(u.keys)-1].add(s.index)
}

// manyKeys is how many keys may be named one by one before it is cheaper to
// give all.
const manyKeys = 64

func (k *usedKey) add(index int) {
	k.all = k.all || index < 0
	k.indexes = append(k.indexes, index)
}

func (u *used) value(v engine.Values) cty.Value {
	b := u.block
	if u.lost || b.forEach != nil && b.keys == nil { // for_each has a fault
		return cty.DynamicVal
	}
	if b.forEach == nil {
		return u.keys[0].value(b.addr(), v)
	}
	byKey := map[string]cty.Value{}
	if u.all {
		for _, inst := range b.instances {
			byKey[inst.addr.Key] = v.Value(inst.addr)
		}
		return cty.ObjectVal(byKey)
	}
	for _, k := range u.keys {
		byKey[k.key] = k.value(b.addr().For(k.key), v)
	}
	return cty.ObjectVal(byKey)
}

// value returns the group, or just the instances that are used: a tuple, or an
// object in which an index finds the far ones as it would in a list.
func (k *usedKey) value(group engine.Address, v engine.Values) cty.Value {
	if k.all {
		return v.Value(group)
	}
	if last := slices.Max(k.indexes); last < few {
		vals := make([]cty.Value, last+1)
		for i := range vals {
			vals[i] = cty.DynamicVal
		}
		for _, i := range k.indexes {
			vals[i] = v.Value(group.At(i))
		}
		return cty.TupleVal(vals)
	}
	byIndex := make(map[string]cty.Value, len(k.indexes))
	for _, i := range k.indexes {
		byIndex[strconv.Itoa(i)] = v.Value(group.At(i))
	}
	return cty.ObjectVal(byIndex)
}
