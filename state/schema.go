package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// applicationID marks a SQLite file as a flowctl state ("flow" in ASCII).
const applicationID = 0x666c6f77

// migrations lead from each version of the file format to the next; the version
// is their number. Released ones are never changed, only added to.
var migrations = []string{`
CREATE TABLE meta (
	key   TEXT PRIMARY KEY,
	value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE object (
	address   TEXT    NOT NULL,
	gen       INTEGER NOT NULL,
	provider  TEXT    NOT NULL,
	value     TEXT    NOT NULL, -- JSON of the kind's schema, without nulls
	sensitive TEXT    NOT NULL, -- JSON list of names, or ''
	private   BLOB,
	needs     TEXT    NOT NULL, -- JSON list of addresses, or ''
	operation TEXT    NOT NULL,
	lifecycle INTEGER NOT NULL,
	revision  INTEGER NOT NULL, -- the serial that it was last changed at
	PRIMARY KEY (address, gen)
) WITHOUT ROWID;

CREATE TABLE output (
	name        TEXT PRIMARY KEY,
	value       TEXT    NOT NULL,
	type        TEXT    NOT NULL,
	sensitive   INTEGER NOT NULL,
	description TEXT    NOT NULL
) WITHOUT ROWID;

CREATE TABLE run (
	id       INTEGER PRIMARY KEY AUTOINCREMENT,
	command  TEXT    NOT NULL,
	status   TEXT    NOT NULL,
	started  INTEGER NOT NULL, -- microseconds since 1970
	ended    INTEGER,
	user     TEXT    NOT NULL,
	host     TEXT    NOT NULL,
	pid      INTEGER NOT NULL,
	spec     TEXT    NOT NULL,
	summary  TEXT    NOT NULL,
	steps    INTEGER NOT NULL,
	failures INTEGER NOT NULL DEFAULT 0
);

-- The journal. A row is a task of a run; it is open from the moment its
-- operation is intended until its outcome is known.
CREATE TABLE operation (
	run       INTEGER NOT NULL,
	step      INTEGER NOT NULL,
	operation TEXT    NOT NULL,
	op        TEXT    NOT NULL,
	address   TEXT    NOT NULL,
	gen       INTEGER NOT NULL,
	phase     INTEGER NOT NULL,
	provider  TEXT    NOT NULL,
	needs     TEXT    NOT NULL,
	planned   TEXT    NOT NULL,
	state     INTEGER NOT NULL,
	attempts  INTEGER NOT NULL,
	intended  INTEGER,
	started   INTEGER,
	ended     INTEGER,
	unchanged INTEGER NOT NULL,
	err       TEXT    NOT NULL,
	open      INTEGER NOT NULL,
	PRIMARY KEY (run, step)
) WITHOUT ROWID;
CREATE INDEX operation_open ON operation (open) WHERE open = 1;

CREATE TABLE attempt ( -- those that failed; the last good one is in the operation
	run     INTEGER NOT NULL,
	step    INTEGER NOT NULL,
	number  INTEGER NOT NULL,
	started INTEGER NOT NULL,
	ended   INTEGER NOT NULL,
	err     TEXT    NOT NULL,
	PRIMARY KEY (run, step, number)
) WITHOUT ROWID;

CREATE TABLE lock (
	name     TEXT PRIMARY KEY,
	epoch    INTEGER NOT NULL, -- grows with every taking; a token that fences writes
	holder   TEXT    NOT NULL, -- JSON of a Holder; '' if free
	acquired INTEGER NOT NULL
) WITHOUT ROWID;
`, `
ALTER TABLE object ADD COLUMN kept INTEGER NOT NULL DEFAULT 0; -- until when, for a rollback; microseconds since 1970

CREATE TABLE revision ( -- what functions ran, and what came of it
	function  TEXT    NOT NULL,
	number    INTEGER NOT NULL,
	digest    TEXT    NOT NULL,
	value     TEXT    NOT NULL, -- of a replica, as in object
	sensitive TEXT    NOT NULL,
	since     INTEGER NOT NULL,
	run       INTEGER NOT NULL,
	verdict   TEXT    NOT NULL,
	why       TEXT    NOT NULL,
	current   INTEGER NOT NULL,
	PRIMARY KEY (function, number)
) WITHOUT ROWID;
`, `
CREATE TABLE decision ( -- evaluations of scaling blocks
	rule TEXT    NOT NULL,
	at   INTEGER NOT NULL,
	run  INTEGER NOT NULL, -- that carried it out; 0 if none
	body TEXT    NOT NULL,
	PRIMARY KEY (rule, at)
) WITHOUT ROWID;
CREATE INDEX decision_at ON decision (at);

CREATE TABLE memory ( -- what the next evaluation of a scaling block has to know
	rule TEXT PRIMARY KEY,
	body TEXT NOT NULL
) WITHOUT ROWID;
`, `
CREATE TABLE series ( -- what is measured
	id      INTEGER PRIMARY KEY,
	subject TEXT    NOT NULL, -- the address of a function
	metric  TEXT    NOT NULL,
	seen    INTEGER NOT NULL, -- seconds since 1970, to a day
	UNIQUE (subject, metric)
);

CREATE TABLE sample ( -- what was measured, rolled up
	step   INTEGER NOT NULL, -- the seconds that a row stands for
	at     INTEGER NOT NULL, -- when they begin; seconds since 1970
	series INTEGER NOT NULL,
	count  INTEGER NOT NULL,
	least  REAL    NOT NULL,
	most   REAL    NOT NULL,
	total  REAL    NOT NULL,
	last   REAL    NOT NULL,
	units  INTEGER NOT NULL, -- over how many replicas the last is an average; 0 for a total
	PRIMARY KEY (step, at, series) -- by time, so that new rows lie together, and old ones go together
) WITHOUT ROWID;
`}

// ErrNewer is wrapped when a state file was written by a newer flowctl.
var ErrNewer = errors.New("the state was written by a newer flowctl")

// ErrDamaged is wrapped when a file is not, or no longer, a readable state.
var ErrDamaged = errors.New("the state cannot be read")

// version checks that db is a state that this flowctl can read and returns its
// version; 0 is an empty file.
func version(ctx context.Context, db *sql.DB, path string) (int, error) {
	var app, v int
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&app); err != nil {
		return 0, damaged(path, err)
	}
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&v); err != nil {
		return 0, damaged(path, err)
	}
	var tables int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return 0, damaged(path, err)
	}
	switch {
	case tables == 0 && app == 0:
		return 0, nil
	case app != applicationID:
		return 0, fmt.Errorf("%w: %s is a database of another program; name another folder with -state, or move the file away", ErrDamaged, path)
	case v > len(migrations):
		return 0, fmt.Errorf("%w: %s has format %d, this one knows formats up to %d; install the newer flowctl", ErrNewer, path, v, len(migrations))
	}
	return v, nil
}

func damaged(path string, err error) error {
	if err, ours := surroundings(path, err); ours {
		return err
	}
	return fmt.Errorf("%w: %s: %v; nothing was changed: restore it from a copy, or move it away and import what exists with 'flowctl state import'", ErrDamaged, path, err)
}

// surroundings explains errors that say nothing about the state, but about where
// it lies.
func surroundings(path string, err error) (error, bool) {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err, false
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR:
		return fmt.Errorf("%w; the disk that %s lies on is full or broken (see df -h): make room and try again. What is recorded there is whole", err, path), true
	case sqlite3.SQLITE_READONLY:
		return fmt.Errorf("%w: make %s, and %s-wal and %s-shm if they are there, writable for you", err, path, path, path), true
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return fmt.Errorf("open %s: %w: check that you may read and write there, and that the path is not longer than about 480 characters; -state names another folder", path, err), true
	}
	return err, false
}

// backup copies a file of an old format beside it, whole or not at all. Another
// process that was faster has done so before it changed the format.
func backup(ctx context.Context, db *sql.DB, path string, from int, unique string) error {
	copied := fmt.Sprintf("%s.v%d.%s", path, from, unique)
	defer os.Remove(copied)
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", copied); err != nil {
		return err
	}
	var now int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&now); err != nil || now != from {
		return err
	}
	return os.Rename(copied, fmt.Sprintf("%s.v%d", path, from))
}

// migrate brings a file to the newest format, each step in one transaction. A
// copy of the old file is kept beside it.
func migrate(ctx context.Context, db *sql.DB, path string, from int, lineage string) error {
	if from > 0 && from < len(migrations) {
		if err := backup(ctx, db, path, from, lineage); err != nil {
			return fmt.Errorf("copy the state before changing its format: %w", err)
		}
	}
	for v := from; v < len(migrations); v++ {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		var now int
		if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&now); err != nil {
			return err
		}
		if now > v { // another process was faster
			tx.Rollback()
			continue
		}
		if _, err := tx.ExecContext(ctx, migrations[v]); err != nil {
			return fmt.Errorf("change the state to format %d: %w", v+1, err)
		}
		if v == 0 {
			if _, err := tx.ExecContext(ctx, "INSERT INTO meta VALUES ('lineage', ?), ('serial', '0')", lineage); err != nil {
				return err
			}
		}
		// PRAGMA takes no parameters; both are numbers of ours.
		if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, v+1)); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	return nil
}
