package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"
)

func env(vars ...string) func(string) string {
	return func(name string) string {
		for _, v := range vars {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				return value
			}
		}
		return ""
	}
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"collect", "-every", "2s"}, env("SITE=north", "METERS=a,b-2", "EVERY=5s", "PORT=81", "KEEP=7"), new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	if o.role != "collect" || o.sites[0] != "north" || strings.Join(o.meters, " ") != "a b-2" || o.every != 2*time.Second || o.port != "81" || o.keep != 7 {
		t.Errorf("got %+v", o)
	}
}

func TestMistakesOfTheCommandLine(t *testing.T) {
	for name, c := range map[string]struct {
		args, env []string
		want      string
	}{
		"no role":             {nil, nil, "the first argument is the role"},
		"no such role":        {[]string{"sell"}, nil, `not "sell"`},
		"one argument more":   {[]string{"page", "now"}, nil, `"now" is one too many`},
		"a name with a space": {[]string{"seed", "-site", "a,b c"}, nil, `"b c" is no name`},
		"no name":             {[]string{"seed"}, []string{"METERS=a,"}, `"" is no name`},
		"a quote":             {[]string{"seed", `-database=x"`}, nil, "is no name"},
		"two sites":           {[]string{"collect", "-site=a,b"}, nil, "a collector is at one site"},
		"no time":             {[]string{"collect", "-every=0s"}, nil, "at least 1ms"},
		"no number":           {[]string{"collect"}, []string{"KEEP=many"}, `KEEP is "many"`},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			code := run(t.Context(), c.args, env(c.env...), &stderr)
			if code != exitUsage || !strings.Contains(stderr.String(), c.want) {
				t.Errorf("exit %d, wanted %q:\n%s", code, c.want, &stderr)
			}
		})
	}
}

func TestHelpAndFailures(t *testing.T) {
	var stderr bytes.Buffer
	if code := run(t.Context(), []string{"-help"}, env(), &stderr); code != exitOK || !strings.Contains(stderr.String(), "collect|write|page|seed") {
		t.Errorf("exit %d: %s", code, &stderr)
	}
	stderr.Reset()
	if code := run(t.Context(), []string{"collect", "-spool", t.TempDir() + "/none"}, env(), &stderr); code != exitError || !strings.Contains(stderr.String(), "open the spool") {
		t.Errorf("exit %d: %s", code, &stderr)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	stderr.Reset()
	if code := run(ended, []string{"page", "-port", "0"}, env(), &stderr); code != exitOK {
		t.Errorf("exit %d: %s", code, &stderr)
	}
}
