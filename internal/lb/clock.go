package lb

import "time"

// clock counts ns from the start of the data plane. Pure code is given its
// reading as now.
type clock struct{ start time.Time }

func newClock() *clock { return &clock{start: time.Now()} }

func (c *clock) now() int64 { return int64(time.Since(c.start)) }
