package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/internal/spread"
	"github.com/flowctl/flowctl/providers"
	"github.com/zclconf/go-cty/cty"
)

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
	if t, ok := w.things[k]; ok {
		b, err := engine.MarshalValue(t.value)
		if err != nil {
			return err
		}
		rec.Value, rec.Operation = b, t.operation
	}
	line, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	_, err = w.log.Write(append(line, '\n'))
	return err
}
