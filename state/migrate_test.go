package state_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/state"
)

// A state of format 1, as flowctl wrote it before there were revisions, is brought
// to the newest format: nothing of it is lost, a copy stays, and of several processes
// that open it at once each finds it whole.
func TestAStateOfTheFirstFormatMigrates(t *testing.T) {
	dir := t.TempDir()
	path := old(t, dir, "testdata/format1.sql")
	if err := os.WriteFile(path+".v1", nil, 0o600); err != nil { // of one that was killed while it migrated
		t.Fatal(err)
	}
	stores := make([]*state.Store, 3)
	var wg sync.WaitGroup
	for i := range stores {
		wg.Go(func() {
			s, err := state.Open(t.Context(), dir)
			if err != nil {
				t.Error(err)
				return
			}
			stores[i] = s
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, s := range stores[1:] {
		s.Close()
	}
	s := stores[0]
	defer s.Close()
	snap, err := s.Snapshot(t.Context())
	if err != nil || len(snap.Objects) != 6 || snap.Serial != 6 || len(snap.Revisions) != 0 || len(snap.Outputs) != 1 {
		t.Fatalf("%+v, %v", snap, err)
	}
	web := engine.Addr(engine.KindFunction, "web")
	for _, o := range snap.Objects {
		if r := engine.MustDecode[engine.Replica](o.Value); !o.Kept.IsZero() || o.Address.Group() == web && r.Env["V"] != "1" {
			t.Errorf("%s: kept %s, %+v", o.Address, o.Kept, r)
		}
	}
	if runs, err := s.Runs(t.Context(), 0); err != nil || len(runs) != 1 {
		t.Errorf("runs: %v, %v", runs, err)
	}
	if info, err := os.Stat(path + ".v1"); err != nil || info.Size() == 0 {
		t.Errorf("no copy of the old file: %v", err)
	}
	revisions(t, s, web)
}

// old makes the state that a dump is of, and returns its path.
func old(t *testing.T, dir, dump string) string {
	t.Helper()
	text, err := os.ReadFile(dump)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, state.File)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(string(text)); err != nil {
		t.Fatal(err)
	}
	return path
}

// A state of format 3, from before samples were kept, is brought to the newest: what
// was decided stays, and samples find room.
func TestAStateFromBeforeThereWereSamplesMigrates(t *testing.T) {
	dir := t.TempDir()
	path := old(t, dir, "testdata/format3.sql")
	s, err := state.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	decisions, err := s.Decisions(t.Context(), "web", time.Time{}, 10)
	if err != nil || len(decisions) != 1 {
		t.Errorf("decisions: %v, %v", decisions, err)
	}
	if memory, err := s.Memory(t.Context()); err != nil || len(memory["web"]) == 0 {
		t.Errorf("memory: %v, %v", memory, err)
	}
	if snap, err := s.Snapshot(t.Context()); err != nil || len(snap.Objects) != 5 {
		t.Errorf("objects: %v, %v", snap.Objects, err)
	}
	if got, err := s.Samples(t.Context(), state.Span{Step: state.Second}); err != nil || len(got) != 0 {
		t.Errorf("samples: %v, %v", got, err)
	}
	if err := s.Sample(t.Context(), nil, []state.Reading{{Series: rps, At: noon, Value: 7}}, noon); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Samples(t.Context(), state.Span{Step: state.Second}); err != nil || len(got) != 1 || got[0].Last != 7 {
		t.Errorf("samples: %v, %v", got, err)
	}
	if info, err := os.Stat(path + ".v3"); err != nil || info.Size() == 0 {
		t.Errorf("no copy of the old file: %v", err)
	}
}

// revisions checks that what is remembered of functions, and until when an object is
// kept, comes back as it was.
func revisions(t *testing.T, s *state.Store, web engine.Address) {
	t.Helper()
	lease, err := s.Acquire(t.Context(), state.ApplyLock, state.Holder{}, func(state.Holder) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	snap, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o := snap.Objects[len(snap.Objects)-3]
	o.Kept = time.Now().Truncate(time.Microsecond).UTC()
	want := engine.Revision{
		Function: web, Number: 1, Digest: "d", Value: engine.Declared(engine.Encode(engine.Replica{Image: "x"})), Sensitive: []string{"env.TOKEN"},
		Since: o.Kept, Run: 7, Verdict: engine.Bad, Why: "it failed", Current: true,
	}
	if err := s.Put(t.Context(), lease, o); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Revise(t.Context(), lease, []engine.Revision{want}); err != nil {
			t.Fatal(err)
		}
	}
	if snap, err = s.Snapshot(t.Context()); err != nil || len(snap.Revisions) != 1 || !snap.Objects[len(snap.Objects)-3].Kept.Equal(o.Kept) {
		t.Fatalf("%+v, %v", snap, err)
	}
	got := snap.Revisions[0]
	if same := got.Value.RawEquals(want.Value); !same {
		t.Errorf("value\n%#v\nwant\n%#v", got.Value, want.Value)
	}
	if got.Value = want.Value; got.Number != 1 || got.Why != want.Why || !got.Since.Equal(want.Since) || got.Verdict != want.Verdict || !got.Current || got.Run != 7 || got.Sensitive[0] != "env.TOKEN" {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}
