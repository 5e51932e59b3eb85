package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func open(t *testing.T, dir string, keep int) *spool {
	t.Helper()
	s, err := openSpool(dir, "north", keep)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close() })
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// numbers says which readings wait.
func numbers(s *spool) string {
	var all []string
	for _, r := range s.next(1 << 20) {
		all = append(all, fmt.Sprintf("%d:%s", r.Seq, r.Meter))
	}
	return strings.Join(all, " ")
}

func TestSpoolGoesOnWhereItWas(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 100)
	must(t, s.add(reading{Meter: "a", At: noon}, reading{Meter: "b"}, reading{Meter: "c"}))
	must(t, s.delivered(1))
	s.close()

	s = open(t, dir, 100)
	if got := numbers(s); got != "2:b 3:c" {
		t.Errorf("after it was opened again, %s wait", got)
	}
	must(t, s.delivered(3))
	s.close()
	s = open(t, dir, 100) // empty, and written anew: the number must survive that
	s.close()
	s = open(t, dir, 100)
	must(t, s.add(reading{Meter: "d"}))
	if got := numbers(s); got != "4:d" {
		t.Errorf("after all were delivered, %s wait", got)
	}
}

func TestSpoolIsBounded(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 3)
	for range 5 {
		must(t, s.add(reading{Meter: "a"}))
	}
	for _, when := range []string{"at once", "opened again", "and again"} {
		if got := s.status(); got != (spoolStatus{5, 3, 2}) || numbers(s) != "3:a 4:a 5:a" {
			t.Errorf("%s: %+v, %s wait", when, got, numbers(s))
		}
		s.close()
		s = open(t, dir, 3)
	}
	s.close()
	if s = open(t, dir, 1); s.status() != (spoolStatus{5, 1, 4}) {
		t.Errorf("in a smaller one: %+v", s.status())
	}
}

// A crash may cut the file anywhere in what was written last: what was there before
// is there, and the numbers go on.
func TestSpoolCutAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 100)
	path := filepath.Join(dir, "north.spool")
	must(t, s.add(reading{Meter: "a", At: noon}))
	before, err := os.ReadFile(path)
	must(t, err)
	must(t, s.add(reading{Meter: "b", At: noon}))
	whole, err := os.ReadFile(path)
	must(t, err)
	s.close()
	for cut := len(before); cut < len(whole); cut++ {
		must(t, os.WriteFile(path, whole[:cut], 0o600))
		s := open(t, dir, 100)
		must(t, s.add(reading{Meter: "c"}))
		if got := numbers(s); got != "1:a 2:c" {
			t.Errorf("cut at byte %d, %s wait", cut, got)
		}
		s.close()
	}
}

func TestSpoolFileStaysSmall(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 100)
	for n := range uint64(spare) {
		must(t, s.add(reading{Meter: "a"}))
		must(t, s.delivered(n+1))
	}
	info, err := os.Stat(filepath.Join(dir, "north.spool"))
	must(t, err)
	if most := int64(spare+10) * 120; info.Size() > most {
		t.Errorf("the file has %d bytes, more than %d", info.Size(), most)
	}
	s.close()
	if s = open(t, dir, 100); s.status() != (spoolStatus{spare, 0, 0}) {
		t.Errorf("%+v", s.status())
	}
}

func TestSpoolIsOneCollectors(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 1)
	if _, err := openSpool(dir, "north", 1); err == nil || !strings.Contains(err.Error(), "another collector") {
		t.Errorf("a second collector got it: %v", err)
	}
	s.close()
	open(t, dir, 1)
}

func TestSpoolThatIsNone(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "north.spool"), []byte("{\"last\":3}\nhello\n"), 0o600))
	if _, err := openSpool(dir, "north", 1); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("it was opened: %v", err)
	}
	open(t, t.TempDir(), 1)
}
