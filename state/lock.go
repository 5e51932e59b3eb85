package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// ApplyLock is the name of the lock that whoever changes a flow holds.
const ApplyLock = "apply"

// NextLock is the name of the lock of whoever waits for the controller to give up
// ApplyLock: while somebody holds it, the controller begins nothing more.
const NextLock = "next"

// ErrLocked is wrapped when somebody else holds a lock.
var ErrLocked = errors.New("the flow is locked")

// ErrFenced is wrapped when a writer has lost its lock to another.
var ErrFenced = errors.New("the lock was lost")

// Holder says who holds a lock.
type Holder struct {
	User    string    `json:"user"`
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Process string    `json:"process"` // tells the process from another with its pid: boot id and start time
	Command string    `json:"command"`
	Since   time.Time `json:"since"`
}

// LockedError says who holds the lock since when.
type LockedError struct {
	Holder Holder
}

func (e *LockedError) Error() string {
	h := e.Holder
	return fmt.Sprintf("%s: %s by process %d of %s on %s since %s", ErrLocked, h.Command, h.PID, h.User, h.Host, h.Since.Local().Format("2006-01-02 15:04:05"))
}

// Unwrap returns ErrLocked.
func (e *LockedError) Unwrap() error { return ErrLocked }

// Lease is a lock that is held.
type Lease struct {
	store    *Store
	name     string
	epoch    int64
	released atomic.Bool
	began    atomic.Bool // a run, under this lease
	Stale    *Holder     // the dead process that the lock was taken from, if it was
}

// Acquire takes a lock for a holder. alive tells whether a recorded holder still
// lives; the lock of a dead one is taken over. Otherwise the error is a
// *LockedError.
func (s *Store) Acquire(ctx context.Context, name string, h Holder, alive func(Holder) bool) (*Lease, error) {
	l := &Lease{store: s, name: name}
	err := s.submit(ctx, nil, func(ctx context.Context, t *transaction) error {
		held, epoch, err := readLock(ctx, t, name)
		if err != nil {
			return err
		}
		if held != nil {
			if alive(*held) {
				return &LockedError{*held}
			}
			l.Stale = held
		}
		text, err := json.Marshal(h)
		if err != nil {
			return err
		}
		l.epoch = epoch + 1
		_, err = t.tx.ExecContext(ctx, "INSERT OR REPLACE INTO lock VALUES (?, ?, ?, ?)", name, l.epoch, string(text), micros(h.Since))
		return err
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// readLock returns who holds a lock (nil for nobody) and its last epoch.
func readLock(ctx context.Context, t *transaction, name string) (*Holder, int64, error) {
	var epoch int64
	var text string
	err := t.tx.StmtContext(ctx, t.stmts.epoch).QueryRowContext(ctx, name).Scan(&epoch, &text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, 0, nil
	}
	if err != nil || text == "" {
		return nil, epoch, err
	}
	var h Holder
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		return nil, 0, fmt.Errorf("%w: lock %s: %v", ErrDamaged, name, err)
	}
	return &h, epoch, nil
}

// check fails when the lease is not the newest any more. A nil lease needs none.
func (l *Lease) check(ctx context.Context, t *transaction) error {
	if l == nil {
		return nil
	}
	h, epoch, err := readLock(ctx, t, l.name)
	if err != nil {
		return err
	}
	if epoch != l.epoch || h == nil {
		return fmt.Errorf("%w: another process has taken over, so nothing more is written", ErrFenced)
	}
	return nil
}

// Release gives the lock back. Giving back one that was lost, or was given back
// before, is no error.
func (l *Lease) Release(ctx context.Context) error {
	if l.released.Swap(true) {
		return nil
	}
	err := l.store.submit(ctx, l, func(ctx context.Context, t *transaction) error {
		_, err := t.tx.ExecContext(ctx, "UPDATE lock SET holder = '' WHERE name = ? AND epoch = ?", l.name, l.epoch)
		return err
	})
	if errors.Is(err, ErrFenced) {
		return nil
	}
	return err
}

// Holder returns who holds a lock, or nil.
func (s *Store) Holder(ctx context.Context, name string) (*Holder, error) {
	var text string
	err := s.askOne(ctx, "SELECT holder FROM lock WHERE name = ?", []any{name}, &text)
	if errors.Is(err, sql.ErrNoRows) || err == nil && text == "" {
		return nil, nil
	}
	if err != nil {
		return nil, s.wrap("read the lock", err)
	}
	var h Holder
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		return nil, fmt.Errorf("%w: lock %s: %v", ErrDamaged, name, err)
	}
	return &h, nil
}

// Break frees a lock whoever holds it; its holder is fenced from then on.
func (s *Store) Break(ctx context.Context, name string) error {
	return s.submit(ctx, nil, func(ctx context.Context, t *transaction) error {
		_, err := t.tx.ExecContext(ctx, "UPDATE lock SET holder = '', epoch = epoch + 1 WHERE name = ?", name)
		return err
	})
}
