package docker_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
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

// A wait of Engine 20.10 may tell of the next start instead of the end: status 0.
func TestStaysTellsTheTrueStatus(t *testing.T) {
	l := newLab(t)
	proxy := toEngine(t)
	through := throughProxy(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/wait") {
			return false
		}
		end := httptest.NewRecorder()
		proxy.ServeHTTP(end, r)
		w.Write(bytes.Replace(end.Body.Bytes(), []byte(`"StatusCode":7`), []byte(`"StatusCode":0`), 1))
		return true
	})
	host := l.make(t, engine.Addr(engine.KindHost, "through"), engine.Host{Engine: through})
	r := l.replica()
	r.Exec, r.Restart = []string{"probe", "exit", "7"}, "always"
	r.Machine, r.MachineID = host.Address.String(), host.ID()
	if err := l.Stays(t.Context(), l.make(t, function(0), r)); err == nil || !strings.Contains(err.Error(), "status 7") {
		t.Errorf("%v, want status 7", err)
	}
}
