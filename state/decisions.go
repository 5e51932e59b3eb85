package state

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// ControllerLock is the name of the lock that the process which decides about a
// flow's sizes holds.
const ControllerLock = "controller"

// Decision is one evaluation of a scaling block as it is kept: for the reader, the
// body is JSON that only the loop reads.
type Decision struct {
	Rule string
	At   time.Time
	Run  int64 // the run that carried it out; 0 for none
	Body []byte
}

// Deliberated is what one round of evaluations leaves.
type Deliberated struct {
	Decisions []Decision
	Memory    map[string][]byte // by rule: what its next evaluation has to know of the earlier ones
	Forget    time.Time         // decisions from before are dropped, but for the newest of each rule
}

// Deliberate records decisions, one per rule and instant.
func (s *Store) Deliberate(ctx context.Context, l *Lease, d Deliberated) error {
	return s.submit(ctx, l, func(ctx context.Context, t *transaction) error {
		for _, one := range d.Decisions {
			if _, err := t.exec(ctx, t.stmts.decide, one.Rule, micros(one.At), one.Run, string(one.Body)); err != nil {
				return err
			}
		}
		for rule, body := range d.Memory {
			if _, err := t.exec(ctx, t.stmts.remember, rule, string(body)); err != nil {
				return err
			}
		}
		_, err := t.exec(ctx, t.stmts.forget, micros(d.Forget))
		return err
	})
}

// Decisions lists the newest decisions up to an instant (zero means now), newest
// first: of one rule, or with "" of all.
func (s *Store) Decisions(ctx context.Context, rule string, until time.Time, limit int) ([]Decision, error) {
	last := int64(1<<63 - 1)
	if !until.IsZero() {
		last = micros(until)
	}
	rows, err := s.read.QueryContext(ctx, "SELECT rule, at, run, body FROM decision WHERE (rule = ? OR ? = '') AND at <= ? ORDER BY at DESC, rule LIMIT ?", rule, rule, last, limit)
	if err != nil {
		return nil, s.wrap("read the decisions", err)
	}
	defer rows.Close()
	var all []Decision
	for rows.Next() {
		var d Decision
		var at int64
		var body string
		if err := rows.Scan(&d.Rule, &at, &d.Run, &body); err != nil {
			return nil, s.wrap("read the decisions", err)
		}
		d.At, d.Body = fromMicros(at), []byte(body)
		all = append(all, d)
	}
	return all, s.wrapRows(rows)
}

// Memory returns what the last evaluation of each rule left.
func (s *Store) Memory(ctx context.Context) (map[string][]byte, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT rule, body FROM memory")
	if err != nil {
		return nil, s.wrap("read the decisions", err)
	}
	defer rows.Close()
	all := map[string][]byte{}
	for rows.Next() {
		var rule, body string
		if err := rows.Scan(&rule, &body); err != nil {
			return nil, s.wrap("read the decisions", err)
		}
		all[rule] = []byte(body)
	}
	return all, s.wrapRows(rows)
}

// Version is what tells whether a reading of the state is still what it says.
type Version struct {
	Serial int64
	Spec   string // digest of the spec that was applied last as a whole
	Held   string // why the flow may differ from that spec by somebody's will; "" if it does not
}

// Version returns the state's version.
func (s *Store) Version(ctx context.Context) (v Version, err error) {
	err = s.askOne(ctx, `SELECT CAST(value AS INTEGER), coalesce((SELECT value FROM meta WHERE key = 'spec'), ''),
		coalesce((SELECT value FROM meta WHERE key = 'held'), '') FROM meta WHERE key = 'serial'`, nil, &v.Serial, &v.Spec, &v.Held)
	return v, s.wrapNil("read the state", err)
}

// Hold notes that the flow is being made, or was left, different from the spec that
// was applied last as a whole, so that nobody puts it back. Conclude with a spec
// ends that.
func (s *Store) Hold(ctx context.Context, l *Lease, why string) error {
	return s.submit(ctx, l, func(ctx context.Context, t *transaction) error {
		_, err := t.tx.ExecContext(ctx, "INSERT OR REPLACE INTO meta VALUES ('held', ?)", why)
		return err
	})
}

// Bundle returns the spec that was applied last, as its applier wrote it down, and
// nil if there is none.
func (s *Store) Bundle(ctx context.Context) ([]byte, error) {
	var text string
	err := s.read.QueryRowContext(ctx, "SELECT value FROM meta WHERE key = 'bundle'").Scan(&text)
	if errors.Is(err, sql.ErrNoRows) || err == nil && text == "" {
		return nil, nil
	}
	return []byte(text), s.wrapNil("read the state", err)
}

func (s *Store) wrapNil(act string, err error) error {
	if err == nil {
		return nil
	}
	return s.wrap(act, err)
}
