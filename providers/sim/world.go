package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/internal/spread"
	"github.com/flowctl/flowctl/providers"
	"github.com/zclconf/go-cty/cty"
)

// World is everything that exists. It is safe for concurrent use.
type World struct {
	mu        sync.Mutex
	things    map[engine.Key]engine.Object
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

// Event is one change of the world.
type Event struct {
	Op        string // "create", "take", "update", "delete", "suspend", "resume", "restart", "introduce", a signal or a command
	Key       engine.Key
	Operation string
	Shares    map[engine.Key]int // as they are now, of backends that do not get requests like the others
}

// NewWorld returns an empty world in memory.
func NewWorld() *World {
	return &World{things: map[engine.Key]engine.Object{}, broken: map[engine.Key]string{}, on: map[string]int{}, shares: map[engine.Key]int{}, knows: map[engine.Key]map[string]providers.Roster{}}
}

// record is one line of a world's log.
type record struct {
	Address   engine.Address              `json:"address"`
	Gen       int                         `json:"gen"`
	Operation string                      `json:"operation,omitempty"`
	Value     json.RawMessage             `json:"value,omitempty"`  // what it is now; missing if it is gone
	Broken    string                      `json:"broken,omitempty"` // why it does not work
	Share     *int                        `json:"share,omitempty"`  // of a backend that does not get requests like the others
	Knows     map[string]providers.Roster `json:"knows,omitempty"`  // of a machine: its clusters
	From      *engine.Key                 `json:"from,omitempty"`   // of a machine that was warm: what it was
}

// OpenWorld returns the world that a log in dir tells of, and goes on writing
// it. A line that a crash cut short is dropped. Nothing is made before the first
// change.
func OpenWorld(dir string) (*World, error) {
	w := NewWorld()
	w.path = filepath.Join(dir, "world.log")
	f, err := os.OpenFile(w.path, os.O_RDWR|os.O_APPEND, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return w, nil
	}
	if err != nil {
		return nil, err
	}
	good, err := w.replay(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	if err := f.Truncate(good); err != nil {
		f.Close()
		return nil, err
	}
	w.log = f
	return w, nil
}

// begin makes the log.
func (w *World) begin() error {
	if err := os.MkdirAll(filepath.Dir(w.path), 0o700); err != nil {
		return err
	}
	var err error
	w.log, err = os.OpenFile(w.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	return err
}

// replay reads a log and returns the length of its whole lines.
func (w *World) replay(r io.Reader) (good int64, err error) {
	log, err := io.ReadAll(r)
	if err != nil {
		return 0, err
	}
	log = log[:bytes.LastIndexByte(log, '\n')+1]
	lines := bytes.SplitAfter(log, []byte{'\n'})
	lines = lines[:len(lines)-1] // what is after the last line's end
	all := make([]told, len(lines))
	if err := spread.Try(len(lines), func(i int) error {
		if err := all[i].read(lines[i]); err != nil {
			return fmt.Errorf("line %d: %w", i+1, err)
		}
		return nil
	}); err != nil {
		return 0, err
	}
	for _, t := range all {
		w.learn(t)
	}
	return int64(len(log)), nil
}

// told is what a line of a log says.
type told struct {
	record
	value cty.Value
}

func (t *told) read(line []byte) (err error) {
	if err = json.Unmarshal(line, &t.record); err == nil && t.Value != nil {
		t.value, err = engine.UnmarshalValue(t.Address.Kind, t.Value)
	}
	return err
}

// learn takes over what a line of a log says.
func (w *World) learn(t told) {
	k := engine.Key{Address: t.Address, Gen: t.Gen}
	if t.From != nil {
		w.forget(*t.From)
	}
	if t.Value == nil {
		w.forget(k)
		return
	}
	w.keep(engine.Object{Address: t.Address, Gen: t.Gen, Value: t.value, Operation: t.Operation})
	if delete(w.broken, k); t.Broken != "" {
		w.broken[k] = t.Broken
	}
	if delete(w.shares, k); t.Share != nil {
		w.shares[k] = *t.Share
	}
	if delete(w.knows, k); t.Knows != nil {
		w.knows[k] = t.Knows
	}
}

// write appends what became of k to the log, and what it was before, if that is
// something else. It is not synced: it is to outlive the process, not the machine.
func (w *World) write(k engine.Key, from *engine.Key) error {
	if w.path == "" {
		return nil
	}
	if w.log == nil {
		if err := w.begin(); err != nil {
			return err
		}
	}
	rec := record{Address: k.Address, Gen: k.Gen, Broken: w.broken[k], Knows: w.knows[k], From: from}
	if share, ok := w.shares[k]; ok {
		rec.Share = &share
	}
	if o, ok := w.things[k]; ok {
		b, err := engine.MarshalValue(o.Value)
		if err != nil {
			return err
		}
		rec.Value, rec.Operation = b, o.Operation
	}
	line, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	_, err = w.log.Write(append(line, '\n'))
	return err
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
		w.on[standsOn(was)]--
	}
	w.things[o.Key()] = o
	w.on[standsOn(o)]++
}

func (w *World) forget(k engine.Key) {
	if was, ok := w.things[k]; ok {
		w.on[standsOn(was)]--
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
	o, ok = w.things[k]
	return o, w.broken[k], ok
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
	if made, ok := w.things[o.Key()]; ok && made.Operation == o.Operation {
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
	thing, ok := w.things[o.Key()]
	if !ok {
		return fmt.Errorf("%s %s: it is not there", op, o.Address)
	}
	if n := w.on[thing.ID()]; n > 0 && o.Address.Kind == engine.KindFunction && (op == "suspend" || op == "restart") {
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
	o, ok := w.things[k]
	if !ok {
		return nil
	}
	if n := w.on[o.ID()]; n > 0 && o.ID() != "" {
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
		w.watch(e, w.things)
	}
}

// Watch has f called after every change, with all that exists; f must neither
// keep nor change it.
func (w *World) Watch(f func(Event, map[engine.Key]engine.Object)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watch = f
}

// Objects returns all that exists, sorted.
func (w *World) Objects() []engine.Object {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.SortedFunc(maps.Values(w.things), func(a, b engine.Object) int { return a.Key().Compare(b.Key()) })
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
	for k, o := range w.things {
		if k.Address != a {
			continue
		}
		id := o.ID()
		w.drift(k, nil)
		for other, x := range w.things {
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
	for k, o := range w.things {
		if k.Address == a {
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
