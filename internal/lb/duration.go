package lb

import (
	"encoding/json"
	"fmt"
	"time"
)

// Duration is a time.Duration that is a string such as "1.5s" in JSON.
type Duration time.Duration

// String formats d as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText makes d "1.5s" in JSON.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalJSON reads a Go duration string. A number is refused: its unit would
// be a guess.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("a duration is a string such as \"1.5s\", not %s", b)
	}
	v, err := time.ParseDuration(s)
	*d = Duration(v)
	return err
}

// limit is d as a limit: 0 when it is off.
func (d Duration) limit() time.Duration { return max(0, time.Duration(d)) }
