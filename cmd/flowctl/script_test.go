package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flowctl/flowctl/internal/daemon"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/script: the specification of the command line.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", demoDir+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("GORACE", os.Getenv("GORACE"))
			env.Setenv("EXAMPLES", must(filepath.Abs("../../examples")))
			env.Defer(func() { killLeftovers(t, env.WorkDir) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"http": httpCommand, "kill9": killCommand, "until": untilCommand, "sed": sedCommand,
			"noproc": noprocCommand, "jsonpath": jsonCommand, "port": portCommand, "hold": holdCommand, "otlp": otlpCommand, "spans": spansCommand,
		},
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// http URL [HEADER: VALUE]: the answer's body goes to stdout. URL may be @FILE, to
// be read from a file, with a path after a space in the next argument.
func httpCommand(ts *testscript.TestScript, neg bool, args []string) {
	url := args[0]
	if f, ok := strings.CutPrefix(url, "@"); ok {
		url = strings.TrimSpace(ts.ReadFile(f))
	}
	if len(args) > 1 {
		url += args[1]
	}
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(url)
	if err != nil {
		if neg {
			return
		}
		ts.Fatalf("GET %s: %v", url, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if neg {
		ts.Fatalf("GET %s answered %s", url, resp.Status)
	}
	fmt.Fprintf(ts.Stdout(), "%d %s", resp.StatusCode, body)
}

// kill9 DIR: kill -9 the background process that owns a folder. kill9 -replica NAME:
// the same for a replica of this script.
func killCommand(ts *testscript.TestScript, neg bool, args []string) {
	if args[0] == "-replica" {
		out := processes("FLOWCTL_REPLICA=" + args[1])
		killed := 0
		for _, line := range out {
			pid, _ := strconv.Atoi(strings.Fields(line)[0])
			env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
			if strings.Contains(string(env), ts.Getenv("WORK")) {
				ts.Check(syscall.Kill(pid, syscall.SIGKILL))
				killed++
			}
		}
		if killed == 0 {
			ts.Fatalf("no process of replica %s: %v", args[1], out)
		}
		return
	}
	p, err := daemon.Find(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(syscall.Kill(p.PID, syscall.SIGKILL))
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := daemon.Find(ts.MkAbs(args[0])); errors.Is(err, daemon.ErrNotRunning) {
			return
		}
	}
}

// until REGEXP COMMAND ...: runs a command again and again until its output
// matches, for at most 20 seconds.
func untilCommand(ts *testscript.TestScript, neg bool, args []string) {
	want := regexp.MustCompile("(?m)" + args[0])
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last string
	for range 400 {
		ts.Exec(args[1], args[2:]...)
		if last = ts.ReadFile("stdout"); want.MatchString(last) != neg {
			return
		}
		<-tick.C
	}
	ts.Fatalf("%v never printed %s; last:\n%s", args[1:], args[0], last)
}

// sed FILE OLD NEW: replaces a text, which must be there, in a file.
func sedCommand(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s does not contain %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(text, args[1], args[2], 1)), 0o644))
}

// noproc: no process has anything to do with this test any more.
func noprocCommand(ts *testscript.TestScript, neg bool, args []string) {
	work := ts.Getenv("WORK")
	var left []string
	for _, line := range processes(work) {
		if !strings.Contains(line, ".test") {
			left = append(left, line)
		}
	}
	if (len(left) > 0) != neg {
		ts.Fatalf("processes: %v", left)
	}
}

// jsonpath PATH WANT: looks into the last stdout as JSON; PATH is a/b/0/c.
func jsonCommand(ts *testscript.TestScript, neg bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	for _, key := range strings.Split(args[0], "/") {
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			i, err := strconv.Atoi(key)
			if key == "len" {
				v = float64(len(x))
				continue
			}
			ts.Check(err)
			if i >= len(x) {
				ts.Fatalf("%s: the list has %d elements", args[0], len(x))
			}
			v = x[i]
		default:
			ts.Fatalf("%s: nothing at %q in %v", args[0], key, v)
		}
	}
	if got := fmt.Sprint(v); (got == args[1]) == neg {
		ts.Fatalf("%s = %s, want %s", args[0], got, args[1])
	}
}

// port NAME: sets an environment variable to a TCP port that is free now.
func portCommand(ts *testscript.TestScript, neg bool, args []string) {
	l := listen(ts, "127.0.0.1:0")
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	l.Close()
	ts.Setenv(args[0], port)
}

// hold PORT: listens on a port until the test ends.
func holdCommand(ts *testscript.TestScript, neg bool, args []string) {
	l := listen(ts, "127.0.0.1:"+args[0])
	ts.Defer(func() { l.Close() })
}

func listen(ts *testscript.TestScript, addr string) net.Listener {
	l, err := net.Listen("tcp", addr)
	ts.Check(err)
	return l
}
