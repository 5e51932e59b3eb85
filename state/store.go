package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/flowctl/flowctl/engine"
	"github.com/google/uuid"
	_ "modernc.org/sqlite" // the "sqlite" driver
)

// File is the name of the state's file in its folder.
const File = "state.db"

// Store is the state of one flow in a SQLite file. It is safe for concurrent
// use, by several processes, too.
type Store struct {
	path   string
	origin Origin
	write  *sql.DB // one connection
	read   *sql.DB
	queue  chan *request
	quit   chan struct{} // closed to end the writer
	done   chan struct{} // closed when it has ended
	once   sync.Once
	stmts  statements
	asked  asked
	ahead  atomic.Pointer[chan early]
}

// early is a snapshot that was read before it was asked for.
type early struct {
	snap engine.Snapshot
	err  error
}

// Open opens the state in a folder, and makes both when they are missing.
func Open(ctx context.Context, dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the state: %w; name another with -state or FLOWCTL_STATE", err)
	}
	return open(ctx, filepath.Join(dir, File), true)
}

// OpenExisting opens the state in a folder for reading. Without one it returns
// an error that wraps fs.ErrNotExist.
func OpenExisting(ctx context.Context, dir string) (*Store, error) {
	path := filepath.Join(dir, File)
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	return open(ctx, path, false)
}

func open(ctx context.Context, path string, create bool) (*Store, error) {
	if err := checkHeader(path); err != nil {
		return nil, err
	}
	if create {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open the state: %w; name another folder with -state or FLOWCTL_STATE", err)
		}
		f.Close()
	}
	s := &Store{path: path, queue: make(chan *request), quit: make(chan struct{}), done: make(chan struct{})}
	var err error
	if s.write, err = connect(path, 1); err != nil {
		return nil, err
	}
	if s.read, err = connect(path, 4); err != nil {
		s.write.Close()
		return nil, err
	}
	if err := s.prepare(ctx, create); err != nil {
		s.read.Close()
		s.write.Close()
		return nil, err
	}
	go s.writer()
	return s, nil
}

// checkHeader looks at the file's first bytes before SQLite does, which would
// take a short foreign file for an empty database.
func checkHeader(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the state: %w", err)
	}
	defer f.Close()
	head := make([]byte, 16)
	n, _ := f.Read(head)
	if n == 0 || string(head[:n]) == "SQLite format 3\x00" {
		return nil
	}
	return damaged(path, errors.New("the file is no database"))
}

func connect(path string, connections int) (*sql.DB, error) {
	q := url.Values{}
	for _, p := range []string{"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"} {
		q.Add("_pragma", p)
	}
	q.Set("_txlock", "immediate")
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// quickCheckBelow is the size up to which a state is checked whole when it is
// opened; the check reads all of it.
const quickCheckBelow = 8 << 20

func (s *Store) prepare(ctx context.Context, create bool) error {
	v, err := version(ctx, s.write, s.path)
	if err != nil {
		return err
	}
	if info, err := os.Stat(s.path); err == nil && v > 0 && info.Size() < quickCheckBelow {
		var verdict string
		if err := s.write.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil || verdict != "ok" {
			return damaged(s.path, errors.Join(err, errors.New(verdict)))
		}
	}
	if v < len(migrations) {
		if !create && v == 0 {
			return fmt.Errorf("%s is empty: %w", s.path, os.ErrNotExist)
		}
		if err := migrate(ctx, s.write, s.path, v, uuid.NewString()); err != nil {
			return s.wrap("make the state", err)
		}
	}
	return s.wrapNil("read the state", s.settle(ctx))
}

// Origin is where a state was made: providers mark with it what is the flow's. It
// stays the same when the computer gets another name, or the folder another place.
type Origin struct{ Host, Dir string }

// Origin returns where the state was made.
func (s *Store) Origin() Origin { return s.origin }

// settle reads where the state was made. One from before that was recorded, or one
// that is new, is from here.
func (s *Store) settle(ctx context.Context) error {
	host, _ := os.Hostname()
	here := Origin{host, filepath.Dir(s.path)}
	var value string
	err := s.read.QueryRowContext(ctx, "SELECT value FROM meta WHERE key = 'origin'").Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		s.origin = here
		text, err := json.Marshal(here)
		if err != nil {
			return err
		}
		_, _ = s.write.ExecContext(ctx, "INSERT OR IGNORE INTO meta VALUES ('origin', ?)", string(text)) // who may only read is told the same
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(value), &s.origin); err != nil {
		return fmt.Errorf("%w: origin %q", ErrDamaged, value)
	}
	return nil
}

// Close waits for writes under way and closes the file.
func (s *Store) Close() error {
	s.once.Do(func() { close(s.quit); <-s.done })
	return errors.Join(s.stmts.close(), s.asked.close(), s.read.Close(), s.write.Close())
}

// Path returns the file's path.
func (s *Store) Path() string { return s.path }

// Remove deletes the state's files from a folder. Call it with no store open.
func Remove(dir string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(dir, File) + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// ReadAhead begins to read a snapshot, which the next call of Snapshot returns:
// for whoever will need one, and has something else to do before.
func (s *Store) ReadAhead(ctx context.Context) {
	c := make(chan early, 1)
	s.ahead.Store(&c)
	go func() {
		var e early
		e.snap, e.err = s.snapshot(ctx)
		c <- e
	}()
}

// Snapshot reads all that the state remembers of the flow, as of one moment.
func (s *Store) Snapshot(ctx context.Context) (engine.Snapshot, error) {
	if c := s.ahead.Swap(nil); c != nil {
		e := <-*c
		return e.snap, e.err
	}
	return s.snapshot(ctx)
}

func (s *Store) snapshot(ctx context.Context) (engine.Snapshot, error) {
	for _, text := range []string{metaQuery, objectQuery, outputQuery, openQuery, revisionQuery} {
		if _, err := s.asked.stmt(ctx, s.read, text); err != nil { // here, since tx takes a connection
			return engine.Snapshot{}, s.wrap("read the state", err)
		}
	}
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return engine.Snapshot{}, s.wrap("read the state", err)
	}
	defer tx.Rollback()
	snap := engine.Snapshot{Outputs: map[string]engine.OutputValue{}}
	ask := func(text string) (*sql.Rows, error) {
		stmt, err := s.asked.stmt(ctx, s.read, text)
		if err != nil {
			return nil, err
		}
		return tx.StmtContext(ctx, stmt).QueryContext(ctx)
	}
	for _, read := range []func(query, *engine.Snapshot) error{readMeta, readObjects, readOutputs, readOpen, readRevisions} {
		if err := read(ask, &snap); err != nil {
			return engine.Snapshot{}, s.wrap("read the state", err)
		}
	}
	snap.Sort()
	return snap, nil
}

// wrap adds the path to an error, and says so when the file is damaged.
func (s *Store) wrap(act string, err error) error {
	var locked *LockedError
	if errors.As(err, &locked) {
		return err
	}
	if isDamage(err) {
		return damaged(s.path, err)
	}
	if err, ours := surroundings(s.path, err); ours {
		return fmt.Errorf("%s: %w", act, err)
	}
	return fmt.Errorf("%s: %w", act, err)
}
