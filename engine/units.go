package engine

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is an amount of memory or disk in bytes. In a spec it is a string with a
// binary (KiB, MiB, GiB, TiB) or decimal (kB, MB, GB, TB) unit.
type Size int64

// The binary units.
const (
	KiB Size = 1 << (10 * (iota + 1))
	MiB
	GiB
	TiB
)

var sizeUnits = []struct {
	name string
	size Size
}{
	{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3},
	{"B", 1},
}

// ParseSize reads a size such as "512MiB" or "1.5 GiB".
func ParseSize(s string) (Size, error) {
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(strings.TrimSpace(s), u.name)
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		bytes := f * float64(u.size)
		if err != nil || f < 0 || math.IsNaN(bytes) || bytes >= math.MaxInt64 {
			break
		}
		return Size(math.Round(bytes)), nil
	}
	return 0, fmt.Errorf(`%q is not a size: write a number with a unit, such as "512MiB" or "2GiB"`, s)
}

// String returns the size in the largest unit that keeps it whole.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return "0B"
}

// Duration is a span of time. In a spec it is a string such as "1m30s".
type Duration time.Duration

// ParseDuration reads a duration such as "250ms", "30s" or "2h" (and "7d").
func ParseDuration(s string) (Duration, error) {
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); err != nil && ok {
		var f float64
		if f, err = strconv.ParseFloat(days, 64); err == nil && math.Abs(f) < 1e5 {
			d = time.Duration(f * float64(24*time.Hour))
		}
	}
	if err != nil || d < 0 {
		return 0, fmt.Errorf(`%q is not a duration: write a number with a unit, such as "500ms", "30s" or "2m"`, s)
	}
	return Duration(d), nil
}

// String drops trailing zero units: "2m" rather than "2m0s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Std returns d as a time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }
