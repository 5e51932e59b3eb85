package docker_test

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestStays(t *testing.T) {
	l := newLab(t)
	for name, c := range map[string]struct {
		exec          []string
		restart, want string
	}{
		"fails":                {[]string{"probe", "exit", "7"}, "no", "status 7"},
		"fails again":          {[]string{"probe", "exit", "7"}, "always", "status 7"},
		"ends well, for good":  {[]string{"probe", "exit", "0"}, "on_failure", ""},
		"ends well, and again": {[]string{"probe", "exit", "0"}, "always", "status 0"},
		"stays":                {[]string{"probe", "serve"}, "always", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := l.replica()
			r.Exec, r.Restart = c.exec, c.restart
			o := l.make(t, function(0), r)
			ctx := t.Context()
			if c.want == "" {
				var stop context.CancelFunc
				ctx, stop = context.WithTimeout(ctx, 100*time.Millisecond)
				defer stop()
			}
			err := l.Stays(ctx, o)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
