package sim

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/zclconf/go-cty/cty"
)

// World is everything that exists. It is safe for concurrent use.
type World struct {
	mu        sync.Mutex
	things    map[engine.Key]thing
	broken    map[engine.Key]string // why each thing that does not work does not
	on        map[string]int        // replicas by machine id, backends by replica id
	path      string                // of the log; "" for a world in memory only
	log       *os.File              // nil until something is written
	calls     []Event
	watch     func(Event, map[engine.Key]engine.Object)
	shares    map[engine.Key]int                         // of backends that do not get requests like the others
	knows     map[engine.Key]map[string]providers.Roster // what machines know, by cluster
	followers map[chan providers.Event]bool
	counts    func(backend, replica engine.Object, share int) providers.Tally
}

// thing is one that exists: what is kept of an object, since there may be many.
type thing struct {
	value     cty.Value
	operation string // that made or last changed it
}

func (t thing) object(k engine.Key) engine.Object {
	return engine.Object{Address: k.Address, Gen: k.Gen, Value: t.value, Operation: t.operation}
}

// Event is one change of the world.
type Event struct {
	Op        string // "create", "take", "update", "delete", "suspend", "resume", "restart", "introduce", a signal or a command
	Key       engine.Key
	Operation string
	Shares    map[engine.Key]int // as they are now, of backends that do not get requests like the others
}

// NewWorld returns an empty world in memory.
func NewWorld() *World {
	return &World{things: map[engine.Key]thing{}, broken: map[engine.Key]string{}, on: map[string]int{}, shares: map[engine.Key]int{}, knows: map[engine.Key]map[string]providers.Roster{}}
}

// standsOn returns the id of what an object stands on, "" if on nothing here.
func standsOn(o engine.Object) string {
	switch o.Address.Kind {
	case engine.KindFunction, engine.KindDelivery:
		return o.Attr("machine_id")
	case engine.KindBackend:
		return o.Attr("replica_id")
	default:
		return ""
	}
}

func (w *World) keep(o engine.Object) {
	if was, ok := w.things[o.Key()]; ok {
		w.on[standsOn(was.object(o.Key()))]--
	}
	w.things[o.Key()] = thing{o.Value, o.Operation}
	w.on[standsOn(o)]++
}

func (w *World) forget(k engine.Key) {
	if was, ok := w.things[k]; ok {
		w.on[standsOn(was.object(k))]--
	}
	delete(w.things, k)
	delete(w.broken, k)
	delete(w.shares, k)
	delete(w.knows, k)
}

// there reports whether a thing with that id exists.
func (w *World) there(id string) bool {
	k, ok := keyOf(id)
	if !ok {
		return false
	}
	_, ok = w.things[k]
	return ok
}

// get returns a thing and why it does not work, if it does not.
func (w *World) get(k engine.Key) (o engine.Object, why string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t, ok := w.things[k]
	return t.object(k), w.broken[k], ok
}

// meet is get for who has a record of the thing. Where the record is true, the world
// takes its value over, so that a process does not keep two of each.
func (w *World) meet(record engine.Object) (o engine.Object, why string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := record.Key()
	t, ok := w.things[k]
	if ok && t.value.RawEquals(record.Value) {
		t.value = record.Value
		w.things[k] = t
	}
	return t.object(k), w.broken[k], ok
}

// put makes or changes a thing; it mends a broken one. A backend gets a share of
// the requests.
func (w *World) put(o engine.Object, share int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if on := standsOn(o); on != "" && !w.there(on) {
		return fmt.Errorf("%s: what it stands on, %s, is not there", o.Address, on)
	}
	op := "create"
	if _, ok := w.things[o.Key()]; ok {
		op = "update"
	}
	w.keep(o)
	delete(w.broken, o.Key())
	if delete(w.shares, o.Key()); share != 100 {
		w.shares[o.Key()] = share
	}
	return w.changed(Event{Op: op, Key: o.Key(), Operation: o.Operation})
}

// take makes a thing of a warm one.
func (w *World) take(warm engine.Key, o engine.Object) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if made, ok := w.things[o.Key()]; ok && made.operation == o.Operation {
		return nil
	}
	if _, ok := w.things[warm]; !ok || w.broken[warm] != "" {
		return fmt.Errorf("take %s: %w", warm, providers.ErrNotFound)
	}
	w.forget(warm)
	w.keep(o)
	w.happened(warm, "taken")
	return w.changedFrom(Event{Op: "take", Key: o.Key(), Operation: o.Operation}, &warm)
}

// order does something to a thing that stays what it is; why is why it does not
// work then, "" if it does.
func (w *World) order(op string, o engine.Object, why string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	t, ok := w.things[o.Key()]
	if !ok {
		return fmt.Errorf("%s %s: it is not there", op, o.Address)
	}
	if n := w.on[t.object(o.Key()).ID()]; n > 0 && o.Address.Kind == engine.KindFunction && (op == "suspend" || op == "restart") {
		return fmt.Errorf("%s %s: %d frontends still send to it", op, o.Address, n)
	}
	if delete(w.broken, o.Key()); why != "" {
		w.broken[o.Key()] = why
	}
	return w.changed(Event{Op: op, Key: o.Key(), Operation: o.Operation})
}

// introduce makes what a machine knows of a cluster what a roster says.
func (w *World) introduce(k engine.Key, cluster string, r providers.Roster) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.things[k]; !ok {
		return fmt.Errorf("introduce %s: it is not there", k.Address)
	}
	if w.knows[k] == nil {
		w.knows[k] = map[string]providers.Roster{}
	}
	if w.knows[k][cluster] = r; r.Equal(providers.Roster{}) {
		delete(w.knows[k], cluster)
	}
	return w.changed(Event{Op: "introduce", Key: k})
}

// Knows returns what a machine knows of a cluster.
func (w *World) Knows(k engine.Key, cluster string) providers.Roster {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.knows[k][cluster]
}

// remove deletes a thing that nothing stands on any more.
func (w *World) remove(k engine.Key, operation string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	t, ok := w.things[k]
	if !ok {
		return nil
	}
	if id := t.object(k).ID(); id != "" && w.on[id] > 0 {
		n := w.on[id]
		return fmt.Errorf("%s is in use by %d others", k.Address, n)
	}
	w.forget(k)
	return w.changed(Event{Op: "delete", Key: k, Operation: operation})
}

func (w *World) changed(e Event) error { return w.changedFrom(e, nil) }

func (w *World) changedFrom(e Event, from *engine.Key) error {
	w.calls = append(w.calls, e)
	w.happened(e.Key, e.Op)
	w.tell(e)
	return w.write(e.Key, from)
}

// tell shows a change to who watches.
func (w *World) tell(e Event) {
	if w.watch != nil {
		e.Shares = maps.Clone(w.shares)
		w.watch(e, w.objects())
	}
}

// Watch has f called after every change, with all that exists.
func (w *World) Watch(f func(Event, map[engine.Key]engine.Object)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watch = f
}

// Objects returns all that exists, sorted.
func (w *World) Objects() []engine.Object {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.SortedFunc(maps.Values(w.objects()), func(a, b engine.Object) int { return a.Key().Compare(b.Key()) })
}

func (w *World) objects() map[engine.Key]engine.Object {
	all := make(map[engine.Key]engine.Object, len(w.things))
	for k, t := range w.things {
		all[k] = t.object(k)
	}
	return all
}

// Events returns all changes that were asked for, in order.
func (w *World) Events() []Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls)
}

// Vanish removes every generation of a resource behind everybody's back, with
// what stands on it.
func (w *World) Vanish(a engine.Address) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, t := range w.things {
		if k.Address != a {
			continue
		}
		id := t.object(k).ID()
		w.drift(k, nil)
		for other, t := range w.things {
			x := t.object(other)
			if id != "" && standsOn(x) == id && x.Attr("machine_id") == id {
				w.drift(other, nil)
			}
		}
	}
}

// Break makes a resource stop working.
func (w *World) Break(a engine.Address, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k := range w.things {
		if k.Address == a {
			w.broken[k] = why
			w.happened(k, "broken")
			w.write(k, nil)
		}
	}
}

// Alter changes attributes of a resource behind everybody's back.
func (w *World) Alter(a engine.Address, attrs map[string]cty.Value) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, t := range w.things {
		if k.Address == a {
			o := t.object(k)
			o.Value = engine.With(o.Value, attrs)
			w.drift(k, &o)
		}
	}
}

func (w *World) drift(k engine.Key, o *engine.Object) {
	if o == nil {
		w.forget(k)
		w.happened(k, "removed")
	} else {
		w.keep(*o)
		w.happened(k, "altered")
	}
	w.write(k, nil)
}

// Close closes the log.
func (w *World) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.log == nil {
		return nil
	}
	err := w.log.Close()
	w.log = nil
	return err
}

// end removes the log and its folder, with all that there still is if asked to.
func (w *World) end(all bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.log == nil || len(w.things) > 0 && !all {
		return nil
	}
	path := w.log.Name()
	clear(w.things)
	err := errors.Join(w.log.Close(), os.Remove(path))
	w.log = nil
	os.Remove(filepath.Dir(path)) // unless somebody keeps something there
	return err
}
