package agent

import "time"

// The schedule of restarts: 100 ms after the first end, doubled after each
// further one up to 30 s, a quarter of it at random so that replicas that fell
// together do not rise together. A replica that was up for 10 s starts anew.
const (
	backoffFirst = 100 * time.Millisecond
	backoffMax   = 30 * time.Second
	backoffReset = 10 * time.Second
)

// backoff is where one replica is in the schedule. The zero value is its start.
type backoff struct {
	failures int // in a row
}

// next returns how long a replica waits that ended after uptime. chance is in
// [0, 1); the delay is between three quarters of the step and the step.
func (b *backoff) next(uptime time.Duration, chance float64) time.Duration {
	if uptime >= backoffReset {
		b.failures = 0
	}
	step := backoffMax
	if b.failures < 16 { // 100 ms << 16 is past the maximum and far from overflow
		step = min(backoffMax, backoffFirst<<b.failures)
	}
	b.failures++
	return step - time.Duration(chance*float64(step)/4)
}
