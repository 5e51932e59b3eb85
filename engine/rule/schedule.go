package rule

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // every machine knows the same zones

	"github.com/flowctl/flowctl/engine"
	"github.com/robfig/cron/v3"
)

// Schedule is a time with other bounds.
type Schedule struct {
	Name     string
	Min, Max int // already those of the block where the schedule has none
	times
}

// Budget limits how many machines are missing at once, always or at times.
type Budget struct {
	Percent  float64
	Machines int // instead, if greater than 0
	times    *times
}

// InForce reports whether the budget holds at an instant.
func (b Budget) InForce(now time.Time) bool {
	if b.times == nil {
		return true
	}
	_, on := b.times.InForce(now)
	return on
}

// times are stretches of time that come again.
type times struct {
	start, end cron.Schedule // end is nil if it lasts for a duration
	lasts      time.Duration
	zone       *time.Location
}

// InForce reports whether now is in a stretch, and when that ends.
func (t times) InForce(now time.Time) (until time.Time, on bool) {
	now = now.In(t.zone)
	if t.end == nil {
		until = t.start.Next(now.Add(-t.lasts)).Add(t.lasts)
		return until, !until.Add(-t.lasts).After(now)
	}
	until = t.end.Next(now)
	return until, until.Before(t.start.Next(now))
}

var fields = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// someday is an instant from which any schedule begins within five years, if it
// begins at all.
var someday = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// parseCron reads five fields. The parser would take a time zone in front, too,
// which is written elsewhere here.
func parseCron(text string) (cron.Schedule, error) {
	const advice = `write five fields (minute, hour, day of the month, month, day of the week), such as "0 8 * * 1-5"`
	if strings.Contains(text, "=") {
		return nil, fmt.Errorf("%q is not a time: %s; the zone goes into timezone", text, advice)
	}
	s, err := fields.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not a time: %s", text, advice)
	}
	if s.Next(someday).IsZero() {
		return nil, fmt.Errorf("%q never comes", text)
	}
	return s, nil
}

// times reads the parts of a block that say when it holds.
func (b *builder) times(block string, i int, start, end string, lasts engine.Duration, timezone string) times {
	t := times{lasts: lasts.Std()}
	var err error
	if t.start, err = parseCron(start); err != nil {
		b.problem(block, i, "start", "Invalid value", "\"start\": %v.", err)
	}
	if end != "" {
		if t.end, err = parseCron(end); err != nil {
			b.problem(block, i, "end", "Invalid value", "\"end\": %v.", err)
		}
	}
	if t.zone, err = time.LoadLocation(timezone); err != nil || timezone == "Local" {
		b.problem(block, i, "timezone", "Unknown time zone", "%q is no time zone. Write \"UTC\", or a place of the time zone database, such as \"Europe/Vienna\".", timezone)
		t.zone = time.UTC
	}
	return t
}

func (b *builder) schedules() []Schedule {
	var all []Schedule
	for i, s := range b.from.Schedules {
		if (s.End == "") == (s.Duration == 0) {
			b.problem("schedule", i, "", "Schedule without one end", "The schedule %q needs either end or duration.", s.Name)
		}
		r := Schedule{Name: s.Name, Min: s.Min, Max: s.Max, times: b.times("schedule", i, s.Start, s.End, s.Duration, s.Timezone)}
		if s.Min == 0 {
			r.Min = min(b.from.Min, max(s.Max, b.from.Min))
		}
		if s.Max == 0 {
			r.Max = b.from.Max
		}
		if s.Min == 0 && s.Max == 0 {
			b.problem("schedule", i, "", "Schedule without bounds", "The schedule %q changes nothing. Write min or max.", s.Name)
		}
		b.within(i, s)
		all = append(all, r)
	}
	return all
}

// within checks the bounds of a schedule against those of the block.
func (b *builder) within(i int, s engine.Schedule) {
	switch {
	case s.Min > 0 && s.Max > 0 && s.Min > s.Max:
		b.problem("schedule", i, "min", "Empty range", "The schedule %q has min = %d above max = %d, so no size is allowed. Exchange them.", s.Name, s.Min, s.Max)
	case s.Min > b.from.Max:
		b.problem("schedule", i, "min", "Schedule out of bounds", "The schedule %q has min = %d, more than max = %d of the block, which always holds.", s.Name, s.Min, b.from.Max)
	case s.Max > 0 && s.Max < b.from.Min:
		b.problem("schedule", i, "max", "Schedule out of bounds", "The schedule %q has max = %d, less than min = %d of the block, which always holds.", s.Name, s.Max, b.from.Min)
	case s.Max > b.from.Max:
		b.problem("schedule", i, "max", "Schedule out of bounds", "The schedule %q has max = %d, more than max = %d of the block, which always holds. Raise that of the block.", s.Name, s.Max, b.from.Max)
	}
}

func (b *builder) budgets() []Budget {
	if len(b.from.Budgets) == 0 {
		d := engine.DefaultsOf[engine.Budget]()
		return []Budget{{Percent: d.Percent, Machines: d.Machines}}
	}
	var all []Budget
	for i, s := range b.from.Budgets {
		r := Budget{Percent: s.Percent, Machines: s.Machines}
		if s.Percent == 0 && s.Machines == 0 && s.Start == "" {
			b.problem("budget", i, "percent", "Budget that allows nothing", "No machine could ever be emptied. Say when the budget holds (start and duration), or, to keep all machines, write mode = \"up_only\".")
		}
		if s.Start != "" || s.Duration > 0 {
			t := b.times("budget", i, s.Start, "", s.Duration, s.Timezone)
			if r.times = &t; s.Duration == 0 {
				b.problem("budget", i, "", "Budget without an end", "A budget with start needs a duration. Without both, it always holds.")
			}
		}
		all = append(all, r)
	}
	return all
}
