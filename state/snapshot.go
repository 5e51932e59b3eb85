package state

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/internal/spread"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// isDamage reports whether SQLite says that the file is broken.
func isDamage(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return errors.Is(err, ErrDamaged)
	}
	code := e.Code() & 0xff
	return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB
}

// storedSetting is how a provider's settings lie in the table meta.
type storedSetting struct {
	Name, Value, Type string
}

// What a snapshot is read with.
const (
	metaQuery     = "SELECT key, value FROM meta"
	objectQuery   = "SELECT address, gen, provider, value, sensitive, private, needs, operation, lifecycle, kept FROM object"
	outputQuery   = "SELECT name, value, type, sensitive, description FROM output"
	openQuery     = "SELECT operation, run, step, address, gen, op, provider, needs, planned, intended FROM operation WHERE open = 1 ORDER BY run, step"
	revisionQuery = "SELECT function, number, digest, value, sensitive, since, run, verdict, why, current FROM revision ORDER BY function, number"
)

// query asks one of these.
type query func(text string) (*sql.Rows, error)

func readMeta(ask query, snap *engine.Snapshot) error {
	rows, err := ask(metaQuery)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var key, value string
		if err := rows.Scan(&key, &value); err != nil {
			return err
		}
		switch key {
		case "lineage":
			snap.Lineage = value
		case "serial":
			if snap.Serial, err = strconv.ParseInt(value, 10, 64); err != nil {
				return fmt.Errorf("%w: serial %q", ErrDamaged, value)
			}
		case "spec_path":
			snap.SpecPath = value
		case "sizes":
			if snap.Sizes, err = decodeList[engine.HandSize](value); err != nil {
				return fmt.Errorf("%w: sizes by hand: %v", ErrDamaged, err)
			}
		case "providers":
			if snap.Providers, err = decodeSettings(value); err != nil {
				return err
			}
		}
	}
	return rows.Err()
}

func encodeSettings(list []engine.Setting) (string, error) {
	out := []storedSetting{}
	for _, s := range list {
		bare, _ := s.Config.UnmarkDeep()
		v, t, err := encodeAny(bare)
		if err != nil {
			return "", err
		}
		out = append(out, storedSetting{s.Name, v, t})
	}
	b, err := json.Marshal(out)
	return string(b), err
}

func decodeSettings(text string) ([]engine.Setting, error) {
	var stored []storedSetting
	if err := json.Unmarshal([]byte(text), &stored); err != nil {
		return nil, fmt.Errorf("%w: settings of providers: %v", ErrDamaged, err)
	}
	var list []engine.Setting
	for _, s := range stored {
		v, err := decodeAny(s.Value, s.Type)
		if err != nil {
			return nil, fmt.Errorf("%w: settings of provider %s: %v", ErrDamaged, s.Name, err)
		}
		list = append(list, engine.Setting{Name: s.Name, Config: v})
	}
	return list, nil
}

// storedObject is how an object lies in the table object, but for what needs no
// decoding.
type storedObject struct{ address, value, sensitive, needs string }

func readObjects(ask query, snap *engine.Snapshot) error {
	rows, err := ask(objectQuery)
	if err != nil {
		return err
	}
	defer rows.Close()
	var stored []storedObject
	for rows.Next() {
		var o engine.Object
		var s storedObject
		var kept int64
		if err := rows.Scan(&s.address, &o.Gen, &o.Provider, &s.value, &s.sensitive, &o.Private, &s.needs, &o.Operation, &o.Lifecycle, &kept); err != nil {
			return err
		}
		o.Kept = fromMicros(kept)
		snap.Objects, stored = append(snap.Objects, o), append(stored, s)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return spread.Try(len(stored), func(i int) error { return stored[i].into(&snap.Objects[i]) })
}

func (s storedObject) into(o *engine.Object) (err error) {
	if o.Address, err = parseAddress(s.address); err != nil {
		return err
	}
	if o.Value, err = engine.UnmarshalValue(o.Address.Kind, []byte(s.value)); err != nil {
		return fmt.Errorf("%w: value of %s: %v", ErrDamaged, s.address, err)
	}
	if o.Sensitive, err = decodeList[string](s.sensitive); err != nil {
		return fmt.Errorf("%w: %s: %v", ErrDamaged, s.address, err)
	}
	if o.Needs, err = decodeList[engine.Address](s.needs); err != nil {
		return fmt.Errorf("%w: %s: %v", ErrDamaged, s.address, err)
	}
	return nil
}

func readOutputs(ask query, snap *engine.Snapshot) error {
	rows, err := ask(outputQuery)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name, value, typ string
		var o engine.OutputValue
		if err := rows.Scan(&name, &value, &typ, &o.Sensitive, &o.Description); err != nil {
			return err
		}
		if o.Value, err = decodeAny(value, typ); err != nil {
			return fmt.Errorf("%w: output %s: %v", ErrDamaged, name, err)
		}
		snap.Outputs[name] = o
	}
	return rows.Err()
}

// readOpen reads the operations whose outcome is unknown.
func readOpen(ask query, snap *engine.Snapshot) error {
	rows, err := ask(openQuery)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var in engine.Intent
		var address, op, needs, planned string
		var at int64
		if err := rows.Scan(&in.Operation, &in.Run, &in.Step, &address, &in.Gen, &op, &in.Provider, &needs, &planned, &at); err != nil {
			return err
		}
		in.At = fromMicros(at)
		if in.Address, err = parseAddress(address); err != nil {
			return err
		}
		var ok bool
		if in.Op, ok = engine.ParseOp(op); !ok {
			return fmt.Errorf("%w: operation %q", ErrDamaged, op)
		}
		if in.Needs, err = decodeList[engine.Address](needs); err != nil {
			return fmt.Errorf("%w: %s: %v", ErrDamaged, address, err)
		}
		if in.Planned, err = engine.UnmarshalValue(in.Address.Kind, []byte(planned)); err != nil {
			return fmt.Errorf("%w: plan of %s: %v", ErrDamaged, address, err)
		}
		snap.Open = append(snap.Open, in)
	}
	return rows.Err()
}
