package main

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"
)

// step is the time between two values of the history that seed writes.
const step = 5 * time.Minute

// seed makes the database and writes into it what holds before the first reading:
// the tariff, and what the meters showed on the day before. It can be repeated: the
// same points get the same values.
func seed(ctx context.Context, o options, log *slog.Logger) error {
	s := newStore(o)
	if _, err := s.query(ctx, "CREATE DATABASE \""+o.database+"\""); err != nil {
		return err
	}
	lines := tariff(nil)
	for _, site := range o.sites {
		for _, meter := range o.meters {
			lines = history(lines, site, meter, time.Now())
		}
	}
	if err := s.write(ctx, lines); err != nil {
		return err
	}
	log.Info("seeded", "database", o.database, "sites", o.sites, "meters", o.meters)
	return nil
}

// tariff appends the price of a kilowatt-hour for each hour of the day, as of ever:
// nights are cheap, evenings dear.
func tariff(lines []byte) []byte {
	for hour := range 24 {
		cents := 28
		switch {
		case hour < 6:
			cents = 19
		case hour >= 17 && hour < 21:
			cents = 37
		}
		lines = fmt.Appendf(lines, "tariff,hour=%02d cents=%d 0\n", hour, cents)
	}
	return lines
}

// history appends a day of values up to now. They have no number: no collector took
// them.
func history(lines []byte, site, meter string, now time.Time) []byte {
	end := now.UTC().Truncate(step)
	for at := end.Add(-24 * time.Hour); at.Before(end); at = at.Add(step) {
		watts := strconv.FormatFloat(load(site, meter, at), 'f', -1, 64)
		lines = fmt.Appendf(lines, "power,site=%s,meter=%s watts=%s %d\n", site, meter, watts, at.UnixMilli())
	}
	return lines
}
