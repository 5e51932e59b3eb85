package state

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"
)

// Series names what is measured of something.
type Series struct {
	Of     string // the address of a function
	Metric string
}

// Reading is one value of a series.
type Reading struct {
	Series
	At    time.Time
	Value float64
	Units int // over how many replicas it is an average; 0 for a total
}

// Rollup sums up the readings of a series in a stretch of time. Between 1 s and
// 1 min, no reading, no roll-up.
type Rollup struct {
	Series
	At             time.Time // when it begins
	Step           time.Duration
	Count          int // of readings, 1 at least
	Min, Max, Mean float64
	Last           float64
	Units          int // of the last, as in Reading
}

// The stretches that readings are rolled up to.
const (
	Second = time.Second
	Minute = time.Minute
)

// tier says how long roll-ups are kept: for a time, and no more rows than that.
type tier struct {
	step time.Duration
	keep time.Duration
	rows int64
}

// tiers bound what is kept: with more than 100 series, seconds are kept for less
// than an hour, and with more than 58, minutes for less than 30 days.
var tiers = []tier{{Second, time.Hour, 360_000}, {Minute, 30 * 24 * time.Hour, 2_500_000}}

// begin is the first instant of which roll-ups are kept.
func (t tier) begin(now time.Time, series int) time.Time {
	most := time.Duration(t.rows/int64(max(1, series))) * t.step
	return now.Add(-min(t.keep, most))
}

// Sample rolls up readings that were taken until now, and forgets what is older
// than is kept. A reading must be given once only.
func (s *Store) Sample(ctx context.Context, l *Lease, readings []Reading, now time.Time) error {
	rows := rollUp(readings)
	return s.submit(ctx, l, func(ctx context.Context, t *transaction) error {
		ids, err := t.series(ctx, rows, now)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if _, err := t.exec(ctx, t.stmts.sample, int64(r.Step/time.Second), r.At.Unix(), ids[r.Series], r.Count, r.Min, r.Max, r.Mean*float64(r.Count), r.Last, r.Units); err != nil {
				return err
			}
		}
		for _, tier := range tiers {
			if _, err := t.exec(ctx, t.stmts.expire, int64(tier.step/time.Second), tier.begin(now, len(ids)).Unix()); err != nil {
				return err
			}
		}
		return nil
	})
}

// rollUp sums up readings by series, for each of the steps. The rows come in the
// order in which they are stored.
func rollUp(readings []Reading) []Rollup {
	type key struct {
		step time.Duration
		at   int64
		of   Series
	}
	sums := map[key]*Rollup{}
	for _, r := range slices.SortedStableFunc(slices.Values(readings), func(a, b Reading) int { return a.At.Compare(b.At) }) {
		for _, tier := range tiers {
			at := r.At.Truncate(tier.step)
			k := key{tier.step, at.Unix(), r.Series}
			sum := sums[k]
			if sum == nil {
				sum = &Rollup{Series: r.Series, At: at, Step: tier.step, Min: r.Value, Max: r.Value}
				sums[k] = sum
			}
			sum.add(r)
		}
	}
	rows := make([]Rollup, 0, len(sums))
	for _, k := range slices.SortedFunc(maps.Keys(sums), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.step, b.step), cmp.Compare(a.at, b.at), cmp.Compare(a.of.Of, b.of.Of), cmp.Compare(a.of.Metric, b.of.Metric))
	}) {
		rows = append(rows, *sums[k])
	}
	return rows
}

func (r *Rollup) add(x Reading) {
	r.Mean = (r.Mean*float64(r.Count) + x.Value) / float64(r.Count+1)
	r.Count++
	r.Min, r.Max = min(r.Min, x.Value), max(r.Max, x.Value)
	r.Last, r.Units = x.Value, x.Units
}

// seenWithin is how exactly it is known when a series was measured last.
const seenWithin = 24 * time.Hour

// series returns the numbers of the series that are measured these days, those of
// some rows included, and forgets the ones of which nothing is kept any more.
func (t *transaction) series(ctx context.Context, rows []Rollup, now time.Time) (map[Series]int64, error) {
	if _, err := t.tx.ExecContext(ctx, "DELETE FROM series WHERE seen < ?", now.Add(-tiers[len(tiers)-1].keep-seenWithin).Unix()); err != nil {
		return nil, err
	}
	known, seen, err := t.knownSeries(ctx)
	if err != nil {
		return nil, err
	}
	live := map[Series]int64{}
	for s, id := range known {
		if now.Sub(seen[s]) < 2*seenWithin {
			live[s] = id
		}
	}
	for _, r := range rows {
		id, there := known[r.Series]
		if there && now.Sub(seen[r.Series]) < seenWithin {
			continue
		}
		err := t.tx.QueryRowContext(ctx, "INSERT INTO series (subject, metric, seen) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET seen = excluded.seen RETURNING id",
			r.Of, r.Metric, now.Unix()).Scan(&id)
		if err != nil {
			return nil, err
		}
		known[r.Series], seen[r.Series], live[r.Series] = id, now, id
	}
	return live, nil
}

func (t *transaction) knownSeries(ctx context.Context) (ids map[Series]int64, seen map[Series]time.Time, err error) {
	rows, err := t.tx.QueryContext(ctx, "SELECT id, subject, metric, seen FROM series")
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	ids, seen = map[Series]int64{}, map[Series]time.Time{}
	for rows.Next() {
		var s Series
		var id, at int64
		if err := rows.Scan(&id, &s.Of, &s.Metric, &at); err != nil {
			return nil, nil, err
		}
		ids[s], seen[s] = id, time.Unix(at, 0)
	}
	return ids, seen, rows.Err()
}

// Span says which roll-ups are meant: of one step, those that begin in a stretch of
// time. What of Series is "" is not asked for.
type Span struct {
	Series
	Step        time.Duration // Second or Minute
	From, Until time.Time     // zero: without bound; Until is not in it
}

// Samples lists roll-ups in the order of time.
func (s *Store) Samples(ctx context.Context, q Span) ([]Rollup, error) {
	from, until := int64(0), int64(1<<62)
	if !q.From.IsZero() {
		from = q.From.Unix()
	}
	if !q.Until.IsZero() {
		until = q.Until.Unix()
	}
	rows, err := s.read.QueryContext(ctx, `SELECT subject, metric, at, count, least, most, total, last, units FROM sample JOIN series ON series = id
		WHERE step = ? AND at >= ? AND at < ? AND (? = '' OR subject = ?) AND (? = '' OR metric = ?) ORDER BY at, subject, metric`,
		int64(q.Step/time.Second), from, until, q.Of, q.Of, q.Metric, q.Metric)
	if err != nil {
		return nil, s.wrap("read the samples", err)
	}
	defer rows.Close()
	var all []Rollup
	for rows.Next() {
		r := Rollup{Step: q.Step}
		var at int64
		if err := rows.Scan(&r.Of, &r.Metric, &at, &r.Count, &r.Min, &r.Max, &r.Mean, &r.Last, &r.Units); err != nil {
			return nil, s.wrap("read the samples", err)
		}
		r.At, r.Mean = time.Unix(at, 0).UTC(), r.Mean/float64(r.Count)
		all = append(all, r)
	}
	return all, s.wrapRows(rows)
}
