package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// How old a value may be that is shown as live, and how wide curves are.
const (
	fresh      = 10 * time.Second
	liveSpan   = 5 * time.Minute
	daySpan    = 24 * time.Hour
	dayRefresh = time.Minute
	curveWidth = 240
	curveTop   = 40
)

// board is what the page shows.
type board struct {
	At     time.Time `json:"at"`
	Fault  string    `json:"fault,omitempty"` // why it shows nothing new
	Watts  float64   `json:"watts"`           // of all meters that are live
	Live   int       `json:"live"`            // how many these are
	Cents  float64   `json:"cents"`           // per kilowatt-hour, in this hour
	Meters []gauge   `json:"meters"`
}

// gauge is one meter on the board.
type gauge struct {
	Site  string    `json:"site"`
	Meter string    `json:"meter"`
	Watts float64   `json:"watts"`
	Seq   uint64    `json:"seq"`
	At    time.Time `json:"at"`
	Stale bool      `json:"stale"`
	Live  string    `json:"-"` // the points of a curve
	Day   string    `json:"-"`
}

// Kilowatts is what all meters show together.
func (b board) Kilowatts() float64 { return b.Watts / 1000 }

// CentsPerHour is what all that is used now costs.
func (b board) CentsPerHour() float64 { return b.Watts / 1000 * b.Cents }

// Clock is the time of the board, for people.
func (b board) Clock() string { return b.At.UTC().Format("15:04:05 UTC") }

// failed is the board when a look into the store failed: the same values, and why.
func (b board) failed(err error) board {
	b.Fault = err.Error()
	return b
}

// history24 is the day's curves, which change slowly.
type history24 struct {
	at     time.Time
	curves map[meterName]string
}

type meterName struct{ site, meter string }

func (s series) name() meterName { return meterName{s.Tags["site"], s.Tags["meter"]} }

// readBoard looks into the store.
func (s *store) readBoard(ctx context.Context, now time.Time, day *history24) (board, error) {
	if now.Sub(day.at) >= dayRefresh {
		curves, err := s.readCurves(ctx, now, daySpan, 10*time.Minute)
		if err != nil {
			return board{}, err
		}
		*day = history24{now, curves}
	}
	live, err := s.readCurves(ctx, now, liveSpan, 5*time.Second)
	if err != nil {
		return board{}, err
	}
	answers, err := s.query(ctx,
		fmt.Sprintf("SELECT watts, seq FROM power WHERE time > %dms GROUP BY site, meter ORDER BY time DESC LIMIT 1", now.Add(-daySpan).UnixMilli()),
		fmt.Sprintf("SELECT last(cents) FROM tariff WHERE hour = '%02d'", now.UTC().Hour()))
	if err != nil {
		return board{}, err
	}
	b := board{At: now, Cents: value(answers[1], 1)}
	for _, last := range answers[0] {
		g := gaugeOf(last, now)
		g.Live, g.Day = live[last.name()], day.curves[last.name()]
		if !g.Stale {
			b.Watts, b.Live = b.Watts+g.Watts, b.Live+1
		}
		b.Meters = append(b.Meters, g)
	}
	slices.SortFunc(b.Meters, func(x, y gauge) int {
		return cmp.Or(strings.Compare(x.Site, y.Site), strings.Compare(x.Meter, y.Meter))
	})
	return b, nil
}

func gaugeOf(last series, now time.Time) gauge {
	one := []series{last}
	at := time.UnixMilli(int64(value(one, 0))).UTC()
	return gauge{
		Site: last.Tags["site"], Meter: last.Tags["meter"], Watts: value(one, 1), Seq: uint64(value(one, 2)),
		At: at, Stale: now.Sub(at) > fresh,
	}
}

// value is a column of the first row of an answer; 0 if there is none.
func value(answer []series, column int) float64 {
	if len(answer) == 0 || len(answer[0].Values) == 0 || len(answer[0].Values[0]) <= column || answer[0].Values[0][column] == nil {
		return 0
	}
	return *answer[0].Values[0][column]
}

// readCurves asks for the means of each meter over a span of time up to now.
func (s *store) readCurves(ctx context.Context, now time.Time, span, each time.Duration) (map[meterName]string, error) {
	from := now.Add(-span)
	answers, err := s.query(ctx, fmt.Sprintf("SELECT mean(watts) FROM power WHERE time > %dms AND time <= %dms GROUP BY time(%ds), site, meter fill(none)",
		from.UnixMilli(), now.UnixMilli(), int(each.Seconds())))
	if err != nil {
		return nil, err
	}
	curves := map[meterName]string{}
	for _, a := range answers[0] {
		curves[a.name()] = curve(a.Values, from, span)
	}
	return curves, nil
}

// curve turns rows of time and value into points of an SVG polyline. It begins at
// the least value, as a spark line does.
func curve(rows [][]*float64, from time.Time, span time.Duration) string {
	rows = slices.DeleteFunc(slices.Clone(rows), func(r []*float64) bool { return len(r) < 2 || r[0] == nil || r[1] == nil })
	if len(rows) == 0 {
		return ""
	}
	least, most := *rows[0][1], *rows[0][1]
	for _, r := range rows {
		least, most = min(least, *r[1]), max(most, *r[1])
	}
	var points []string
	for _, r := range rows {
		x := (*r[0] - float64(from.UnixMilli())) / float64(span.Milliseconds()) * curveWidth
		y := (1 - (*r[1]-least)/max(most-least, 1)) * curveTop
		points = append(points, fmt.Sprintf("%.1f,%.1f", max(x, 0), y))
	}
	return strings.Join(points, " ")
}
