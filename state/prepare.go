package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
)

// statements are the prepared ones of the hot path of writing. They have to be
// prepared before a transaction begins, which takes the one connection.
type statements struct {
	intend, settle, attempt, never, put, drop, bump, epoch, sample, expire, decide, remember, forget *sql.Stmt
}

// prepare prepares what is not yet.
func (st *statements) prepare(ctx context.Context, db *sql.DB) error {
	for _, p := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&st.intend, `INSERT INTO operation (run, step, operation, op, address, gen, phase, provider, needs, planned, state, attempts, intended, unchanged, err, open)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, 0, '', 1)`},
		{&st.settle, `UPDATE operation SET state = ?, attempts = ?, started = ?, ended = ?, unchanged = ?, err = ?, open = ? WHERE operation = ? AND open = 1`},
		{&st.attempt, `INSERT OR REPLACE INTO attempt VALUES (?, ?, ?, ?, ?, ?)`},
		{&st.never, `INSERT OR REPLACE INTO operation (run, step, operation, op, address, gen, phase, provider, needs, planned, state, attempts, unchanged, err, open)
			VALUES (?, ?, '', ?, ?, ?, ?, ?, '', '', ?, 0, 0, '', 0)`},
		{&st.put, `INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1 + (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'serial'), ?)`},
		{&st.drop, `DELETE FROM object WHERE address = ? AND gen = ?`},
		{&st.bump, `UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'serial'`},
		{&st.epoch, `SELECT epoch, holder FROM lock WHERE name = ?`},
		{&st.decide, `INSERT OR REPLACE INTO decision VALUES (?, ?, ?, ?)`},
		{&st.remember, `INSERT OR REPLACE INTO memory VALUES (?, ?)`},
		{&st.expire, `DELETE FROM sample WHERE step = ? AND at < ?`},
		{&st.sample, `INSERT INTO sample VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count,
			least = min(least, excluded.least), most = max(most, excluded.most), total = total + excluded.total, last = excluded.last, units = excluded.units`},
		{&st.forget, `DELETE FROM decision WHERE at < ? AND at < (SELECT max(at) FROM decision newest WHERE newest.rule = decision.rule)`},
	} {
		if *p.stmt != nil {
			continue
		}
		var err error
		if *p.stmt, err = db.PrepareContext(ctx, p.text); err != nil {
			return fmt.Errorf("prepare the state: %w", err)
		}
	}
	return nil
}

func (st *statements) close() error {
	var errs []error
	for _, s := range []*sql.Stmt{st.intend, st.settle, st.attempt, st.never, st.put, st.drop, st.bump, st.epoch, st.sample, st.expire, st.decide, st.remember, st.forget} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// asked are the statements that are read with again and again, each prepared when it
// is first needed: to parse one takes as long as to read a small state.
type asked struct {
	mu     sync.Mutex
	byText map[string]*sql.Stmt
}

func (a *asked) stmt(ctx context.Context, db *sql.DB, text string) (*sql.Stmt, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s, ok := a.byText[text]; ok {
		return s, nil
	}
	s, err := db.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	if a.byText == nil {
		a.byText = map[string]*sql.Stmt{}
	}
	a.byText[text] = s
	return s, nil
}

func (a *asked) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for _, s := range a.byText {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// askOne asks for one row.
func (s *Store) askOne(ctx context.Context, text string, args []any, into ...any) error {
	stmt, err := s.asked.stmt(ctx, s.read, text)
	if err != nil {
		return err
	}
	return stmt.QueryRowContext(ctx, args...).Scan(into...)
}
