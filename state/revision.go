package state

import (
	"context"
	"fmt"

	"github.com/flowctl/flowctl/engine"
)

// Revise replaces what is remembered of the revisions of functions. It is no change
// of a resource: plans that were made before stay valid.
func (s *Store) Revise(ctx context.Context, l *Lease, all []engine.Revision) error {
	return s.submit(ctx, l, func(ctx context.Context, t *transaction) error {
		if _, err := t.tx.ExecContext(ctx, "DELETE FROM revision"); err != nil {
			return err
		}
		for _, r := range all {
			value, err := engine.MarshalValue(r.Value)
			if err != nil {
				return fmt.Errorf("revision %d of %s: %w", r.Number, r.Function, err)
			}
			if _, err := t.tx.ExecContext(ctx, "INSERT INTO revision VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", r.Function.String(), r.Number, r.Digest,
				string(value), encodeList(r.Sensitive), micros(r.Since), r.Run, string(r.Verdict), r.Why, r.Current); err != nil {
				return err
			}
		}
		return nil
	})
}

func readRevisions(ask query, snap *engine.Snapshot) error {
	rows, err := ask(revisionQuery)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var r engine.Revision
		var function, value, sensitive string
		var since int64
		if err := rows.Scan(&function, &r.Number, &r.Digest, &value, &sensitive, &since, &r.Run, &r.Verdict, &r.Why, &r.Current); err != nil {
			return err
		}
		r.Since = fromMicros(since)
		if r.Function, err = parseAddress(function); err != nil {
			return err
		}
		if r.Value, err = engine.UnmarshalValue(engine.KindFunction, []byte(value)); err != nil {
			return fmt.Errorf("%w: revision of %s: %v", ErrDamaged, function, err)
		}
		if r.Sensitive, err = decodeList[string](sensitive); err != nil {
			return fmt.Errorf("%w: revision of %s: %v", ErrDamaged, function, err)
		}
		snap.Revisions = append(snap.Revisions, r)
	}
	return rows.Err()
}
