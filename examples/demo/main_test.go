package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the program.
func TestMain(m *testing.M) {
	if os.Getenv("DEMO_TEST_RUN") != "" {
		main()
	}
	os.Exit(m.Run())
}

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"web", "-port", "9", "-slow-start", "2s"}, env(
		"API_URL", "http://api:1/x", "PORT", "7", "HOST", "0.0.0.0", "SLOW_START", "1s", "GREETING", "hi", "BANNER", "new",
		"CRASH_AFTER", "30s", "FAIL_RATE", "0.5", "LEAK", "64", "FLOWCTL_ADDRESS", "function.web[2]", "VERSION", "true"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if o.apiURL.String() != "http://api:1/x" {
		t.Errorf("api URL %v", o.apiURL)
	}
	o.apiURL = nil
	want := options{
		role: "web", replica: "function.web[2]", host: "0.0.0.0", port: "9", greeting: "hi", banner: "new",
		apiTimeout: 30 * time.Second, n: 25, slowStart: 2 * time.Second, drain: 10 * time.Second,
		broker: "nats://127.0.0.1:4222", queue: "jobs", jobs: 1, job: time.Second,
		faults: faults{failRate: 0.5, crash: crashAfter{uptime: 30 * time.Second}, leakKiB: 64},
	}
	if o != want {
		t.Errorf("got  %+v\nwant %+v", o, want)
	}
	o, err = parse([]string{"api", "-crash-after=100"}, env(), nil)
	host, _ := os.Hostname()
	if err != nil || o.role != "fib" || o.faults.crash.requests != 100 || !strings.HasPrefix(o.replica, host+":") {
		t.Errorf("got %+v, %v", o, err)
	}
}

func TestUsage(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		env  func(string) string
		code int
		want string
	}{
		"no role":               {nil, env(), 64, "the first argument is the role"},
		"unknown role":          {[]string{"db"}, env(), 64, `not "db"`},
		"web without api":       {[]string{"web"}, env(), 64, "web needs API_URL"},
		"api URL without host":  {[]string{"web", "-api-url", "8081"}, env(), 64, "web needs API_URL"},
		"unknown flag":          {[]string{"fib", "-x"}, env(), 64, "not defined: -x"},
		"bad variable":          {[]string{"fib"}, env("DRAIN", "soon"), 64, `environment variable DRAIN is "soon"`},
		"bad port":              {[]string{"fib", "-port", "http"}, env(), 64, `port "http"`},
		"bad share":             {[]string{"fib"}, env("FAIL_RATE", "2"), 64, "fail-rate is 2"},
		"bad crash":             {[]string{"fib", "-crash-after", "never"}, env(), 64, "a number of requests or a duration"},
		"bad n":                 {[]string{"fib", "-n", "46"}, env(), 64, "n is 46"},
		"negative time":         {[]string{"fib", "-drain", "-1s"}, env(), 64, "must not be negative"},
		"one argument too many": {[]string{"fib", "web"}, env(), 64, `argument "web"`},
		"several at once":       {[]string{"web", "-port", "x"}, env("N", "-1"), 64, "n is -1"},
		"no queue":              {[]string{"worker", "-queue", "a.b"}, env(), 64, "a name of one word"},
		"no broker":             {[]string{"submit", "-broker", "nats://127.0.0.1:1"}, env(), 1, "connect to the broker"},
		"help":                  {[]string{"-help"}, env(), 0, "-crash-after duration"},
		"no such address":       {[]string{"fib", "-host", "192.0.2.1"}, env(), 1, "listen"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), c.args, c.env, &stdout, &stderr); code != c.code || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%s: exit %d, %s; want %d, %q", name, code, &stderr, c.code, c.want)
		}
		if stdout.Len() > 0 {
			t.Errorf("%s: stdout has %q", name, &stdout)
		}
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"-version"}, env(), &stdout, &stderr); code != 0 || !strings.HasPrefix(stdout.String(), "flowctl-demo ") {
		t.Errorf("-version: exit %d, %q, %q", code, &stdout, &stderr)
	}
}

func TestFib(t *testing.T) {
	for n, want := range map[int]uint64{0: 0, 1: 1, 2: 1, 10: 55, 24: 46368, 25: 75025, 27: 196418} {
		if got, err := fib(t.Context(), n); err != nil || got != want {
			t.Errorf("fib(%d) = %d, %v; want %d", n, got, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := fib(ctx, maxN); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that left still gets its number: %v", err)
	}
}
