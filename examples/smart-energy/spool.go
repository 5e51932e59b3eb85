package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// spool keeps readings, in a file, until they are delivered. It numbers them, and
// goes on with the numbers when it is opened again. One process at a time has it.
// It is safe for concurrent use.
type spool struct {
	path string
	keep int      // the most readings that wait
	lock *os.File // the folder
	more chan struct{}

	mu      sync.Mutex
	file    *os.File
	lines   int // of the file
	waiting []reading
	last    uint64 // the newest reading's number
	lost    uint64 // readings dropped because too many waited
}

// entry is a line of the file: a reading, or how far deliveries have come.
type entry struct {
	Reading   *reading `json:"reading,omitempty"`
	Delivered uint64   `json:"delivered,omitempty"` // up to this number
	Last      uint64   `json:"last,omitempty"`
	Lost      uint64   `json:"lost,omitempty"`
}

// spare is how many lines of the past a file may have before it is written anew.
const spare = 1000

// openSpool opens a site's spool in a folder, or begins one.
func openSpool(folder, site string, keep int) (*spool, error) {
	lock, err := os.Open(folder)
	if err != nil {
		return nil, fmt.Errorf("open the spool: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("lock the spool %s, which another collector may have: %w", folder, err)
	}
	s := &spool{path: filepath.Join(folder, site+".spool"), keep: keep, lock: lock, more: make(chan struct{}, 1)}
	if err = s.load(); err == nil {
		err = s.rewrite()
	}
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("open the spool: %w", err)
	}
	s.signal()
	return s, nil
}

func (s *spool) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.file.Close(), s.lock.Close())
}

// load reads the file up to its last whole line: what a crash cut off was not
// promised to anybody.
func (s *spool) load() error {
	data, err := os.ReadFile(s.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	lines := bufio.NewReader(bytes.NewReader(data))
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("%s line %d: %w", s.path, n, err)
		}
		s.replay(e)
	}
}

func (s *spool) replay(e entry) {
	s.last, s.lost = max(s.last, e.Last), s.lost+e.Lost
	if e.Reading != nil {
		s.last = e.Reading.Seq
		s.push(*e.Reading)
	}
	s.pop(e.Delivered)
}

func (s *spool) push(r reading) {
	s.waiting = append(s.waiting, r)
	if over := len(s.waiting) - s.keep; over > 0 {
		s.waiting = s.waiting[over:]
		s.lost += uint64(over)
	}
}

func (s *spool) pop(delivered uint64) {
	for len(s.waiting) > 0 && s.waiting[0].Seq <= delivered {
		s.waiting = s.waiting[1:]
	}
}

// add numbers readings and keeps them. When it returns, they are on the disk.
func (s *spool) add(rs ...reading) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var entries []entry
	for i, r := range rs {
		r.Seq = s.last + uint64(i) + 1
		entries = append(entries, entry{Reading: &r})
	}
	if err := s.append(entries); err != nil {
		return fmt.Errorf("keep readings: %w", err)
	}
	for _, e := range entries {
		s.replay(e)
	}
	s.signal()
	return nil
}

// next returns the oldest readings that wait.
func (s *spool) next(most int) []reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]reading(nil), s.waiting[:min(most, len(s.waiting))]...)
}

// delivered lets go of all readings up to a number.
func (s *spool) delivered(seq uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pop(seq)
	err := s.append([]entry{{Delivered: seq}})
	if err == nil && s.lines > 2*len(s.waiting)+spare {
		err = s.rewrite()
	}
	if err != nil {
		return fmt.Errorf("let go of readings: %w", err)
	}
	return nil
}

// append writes lines to the file, whole or not at all.
func (s *spool) append(entries []entry) error {
	size, err := s.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	_, err = s.file.Write(encode(entries))
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		return errors.Join(err, s.file.Truncate(size))
	}
	s.lines += len(entries)
	return nil
}

// rewrite makes a file of what counts, and puts it in the old one's place.
func (s *spool) rewrite() error {
	entries := []entry{{Last: s.last, Lost: s.lost}}
	for i := range s.waiting {
		entries = append(entries, entry{Reading: &s.waiting[i]})
	}
	f, err := os.Create(s.path + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(encode(entries))
	if err == nil {
		err = errors.Join(f.Sync(), os.Rename(f.Name(), s.path), s.lock.Sync())
	}
	if err != nil {
		f.Close()
		return err
	}
	if s.file != nil {
		s.file.Close()
	}
	s.file, s.lines = f, len(entries)
	return nil
}

func encode(entries []entry) []byte {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	for _, e := range entries {
		if err := out.Encode(e); err != nil {
			panic("bug: " + err.Error())
		}
	}
	return b.Bytes()
}

func (s *spool) signal() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// spoolStatus is what /status says of a spool.
type spoolStatus struct {
	Last    uint64 `json:"last"`    // the newest reading's number
	Waiting int    `json:"waiting"` // for the broker
	Lost    uint64 `json:"lost"`    // dropped, because too many waited
}

func (s *spool) status() spoolStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return spoolStatus{s.last, len(s.waiting), s.lost}
}
