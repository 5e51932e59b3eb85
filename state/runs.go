package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/flowctl/flowctl/engine"
)

// keepRuns is how many runs the history holds.
const keepRuns = 200

// BeginRun records that a run starts, and returns its number. Runs that were
// left running by a process that died become interrupted: whoever holds the
// lease knows that nobody else runs, and may itself begin several.
func (s *Store) BeginRun(ctx context.Context, l *Lease, r engine.RunInfo) (int64, error) {
	var id int64
	summary, err := json.Marshal(r.Summary)
	if err != nil {
		return 0, err
	}
	err = s.submit(ctx, l, func(ctx context.Context, t *transaction) error {
		if !l.began.Load() {
			if _, err := t.tx.ExecContext(ctx, "UPDATE run SET status = ? WHERE status = ?", string(engine.RunInterrupted), string(engine.RunRunning)); err != nil {
				return err
			}
		}
		if err := t.prune(ctx); err != nil {
			return err
		}
		res, err := t.tx.ExecContext(ctx, "INSERT INTO run (command, status, started, user, host, pid, spec, summary, steps) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
			r.Command, string(engine.RunRunning), micros(r.Started), r.User, r.Host, r.PID, r.Spec, string(summary), r.Steps)
		if err != nil {
			return err
		}
		id, err = res.LastInsertId()
		l.began.Store(true)
		return err
	})
	return id, err
}

// prune forgets the oldest runs, but no open operation.
func (t *transaction) prune(ctx context.Context) error {
	for _, old := range []string{
		"DELETE FROM operation WHERE open = 0 AND run <= (SELECT max(id) FROM run) - ?",
		"DELETE FROM attempt WHERE run <= (SELECT max(id) FROM run) - ?",
		"DELETE FROM run WHERE id <= (SELECT max(id) FROM run) - ? AND status <> '" + string(engine.RunRunning) + "'",
	} {
		if _, err := t.tx.ExecContext(ctx, old, keepRuns); err != nil {
			return err
		}
	}
	return nil
}

// EndRun records how a run ended.
func (s *Store) EndRun(ctx context.Context, l *Lease, r engine.RunInfo) error {
	return s.submit(ctx, l, func(ctx context.Context, t *transaction) error {
		_, err := t.tx.ExecContext(ctx, "UPDATE run SET status = ?, ended = ?, failures = ? WHERE id = ?", string(r.Status), micros(r.Ended), r.Failures, r.ID)
		return err
	})
}

// Runs lists the newest runs, newest first; 0 means all that are kept.
func (s *Store) Runs(ctx context.Context, limit int) ([]engine.RunInfo, error) {
	if limit <= 0 {
		limit = -1
	}
	return s.runs(ctx, "ORDER BY id DESC LIMIT ?", limit)
}

// Run returns one run, or wraps os.ErrNotExist.
func (s *Store) Run(ctx context.Context, id int64) (engine.RunInfo, error) {
	list, err := s.runs(ctx, "WHERE id = ?", id)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("there is no run %d: %w", id, os.ErrNotExist)
	}
	if err != nil {
		return engine.RunInfo{}, err
	}
	return list[0], nil
}

func (s *Store) runs(ctx context.Context, where string, args ...any) ([]engine.RunInfo, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT id, command, status, started, ended, user, host, pid, spec, summary, steps, failures FROM run "+where, args...)
	if err != nil {
		return nil, s.wrap("read the runs", err)
	}
	defer rows.Close()
	var list []engine.RunInfo
	for rows.Next() {
		var r engine.RunInfo
		var status, summary string
		var started int64
		var ended sql.NullInt64
		if err := rows.Scan(&r.ID, &r.Command, &status, &started, &ended, &r.User, &r.Host, &r.PID, &r.Spec, &summary, &r.Steps, &r.Failures); err != nil {
			return nil, s.wrap("read the runs", err)
		}
		r.Status, r.Started, r.Ended = engine.RunStatus(status), fromMicros(started), fromMicros(ended.Int64)
		if err := json.Unmarshal([]byte(summary), &r.Summary); err != nil {
			return nil, damaged(s.path, err)
		}
		list = append(list, r)
	}
	return list, s.wrapRows(rows)
}

func (s *Store) wrapRows(rows *sql.Rows) error {
	if err := rows.Err(); err != nil {
		return s.wrap("read the state", err)
	}
	return nil
}

// Tasks lists the tasks of a run in the order of their steps.
func (s *Store) Tasks(ctx context.Context, run int64) ([]engine.TaskInfo, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT step, op, address, gen, phase, provider, state, attempts, intended, started, ended, unchanged, err FROM operation WHERE run = ? ORDER BY step", run)
	if err != nil {
		return nil, s.wrap("read the tasks", err)
	}
	defer rows.Close()
	var list []engine.TaskInfo
	for rows.Next() {
		task, err := scanTask(rows)
		if err != nil {
			return nil, s.wrap("read the tasks", err)
		}
		list = append(list, task)
	}
	if err := s.wrapRows(rows); err != nil {
		return nil, err
	}
	return list, s.attempts(ctx, run, list)
}

func scanTask(rows *sql.Rows) (engine.TaskInfo, error) {
	var task engine.TaskInfo
	var op, address, text string
	var attempts int
	var intended, started, ended sql.NullInt64
	if err := rows.Scan(&task.Step.ID, &op, &address, &task.Step.Gen, &task.Step.Phase, &task.Step.Provider, &task.State,
		&attempts, &intended, &started, &ended, &task.Unchanged, &text); err != nil {
		return task, err
	}
	var ok bool
	if task.Step.Op, ok = engine.ParseOp(op); !ok {
		return task, fmt.Errorf("%w: operation %q", ErrDamaged, op)
	}
	var err error
	if task.Step.Address, err = parseAddress(address); err != nil {
		return task, err
	}
	switch {
	case task.State == engine.Done:
		last := engine.AttemptInfo{Number: attempts, Started: fromMicros(started.Int64), Ended: fromMicros(ended.Int64)}
		task.Attempts = append(task.Attempts, last)
	case task.State == engine.Running:
		task.Attempts = append(task.Attempts, engine.AttemptInfo{Number: 1, Started: fromMicros(intended.Int64)})
	}
	return task, nil
}

// attempts puts the failed attempts before the last one of each task.
func (s *Store) attempts(ctx context.Context, run int64, tasks []engine.TaskInfo) error {
	rows, err := s.read.QueryContext(ctx, "SELECT step, number, started, ended, err FROM attempt WHERE run = ? ORDER BY step, number", run)
	if err != nil {
		return s.wrap("read the tasks", err)
	}
	defer rows.Close()
	failed := map[int][]engine.AttemptInfo{}
	for rows.Next() {
		var step int
		var a engine.AttemptInfo
		var started, ended int64
		if err := rows.Scan(&step, &a.Number, &started, &ended, &a.Err); err != nil {
			return s.wrap("read the tasks", err)
		}
		a.Started, a.Ended = fromMicros(started), fromMicros(ended)
		failed[step] = append(failed[step], a)
	}
	for i := range tasks {
		t := &tasks[i]
		if fs := failed[t.Step.ID]; len(fs) > 0 {
			if t.State == engine.Done { // it began when the last failed one had ended
				t.Attempts[0].Started = fs[len(fs)-1].Ended
			}
			t.Attempts = append(fs, t.Attempts...)
		}
	}
	return s.wrapRows(rows)
}

// Put records an object by hand (import), Drop forgets one (state rm). Neither
// touches the world.
func (s *Store) Put(ctx context.Context, l *Lease, o engine.Object) error {
	return s.Adjust(ctx, l, Adjust{Put: []engine.Object{o}})
}

// Drop forgets an object. Forgetting an unknown one wraps os.ErrNotExist.
func (s *Store) Drop(ctx context.Context, l *Lease, k engine.Key) error {
	return s.submit(ctx, l, func(ctx context.Context, t *transaction) error {
		t.dirty = true
		res, err := t.exec(ctx, t.stmts.drop, k.Address.String(), k.Gen)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, fmt.Errorf("%s is not in the state: %w", k.Address, os.ErrNotExist))
		}
		return nil
	})
}
