package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitCrash = 3 // -crash-after
	exitUsage = 64
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal is not caught
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	opts, err := parse(args, getenv, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "flowctl-demo: %v\n", err)
		return exitUsage
	case opts.version:
		fmt.Fprintln(stdout, "flowctl-demo", version())
		return exitOK
	}
	log := slog.New(slog.NewTextHandler(stderr, nil)).With("replica", opts.replica, "role", opts.role)
	if opts.role == "submit" {
		if err := submit(ctx, opts); err != nil {
			fmt.Fprintf(stderr, "flowctl-demo: %v\n", err)
			return exitError
		}
		return exitOK
	}
	if err := serve(ctx, opts, log); err != nil {
		log.Error("cannot serve", "err", err)
		return exitError
	}
	return exitOK
}

// options are what flags and environment say.
type options struct {
	role, replica    string
	host, port       string
	greeting, banner string
	apiURL           *url.URL // web only
	apiTimeout       time.Duration
	n                int // what web asks for when the request does not say
	slowStart        time.Duration
	drain, linger    time.Duration
	broker, queue    string // worker and submit only
	jobs             int    // submit only, like job
	job              time.Duration
	faults           faults
	version          bool
}

const usage = `usage: flowctl-demo web|fib|worker|submit [flags]

Every flag is also an environment variable: -slow-start is SLOW_START.
FLOWCTL_ADDRESS names the replica; without it, it is hostname:pid.

`

// parse reads the role, then flags, whose defaults come from the environment.
func parse(args []string, getenv func(string) string, stderr io.Writer) (options, error) {
	var o options
	var apiURL string
	fs := flag.NewFlagSet("flowctl-demo", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // run prints the error, once
	fs.StringVar(&o.host, "host", "127.0.0.1", "`address` to listen on")
	fs.StringVar(&o.port, "port", "8080", "`port` to listen on; 0 picks one")
	fs.StringVar(&o.greeting, "greeting", "", "`text` shown in every answer")
	fs.StringVar(&o.banner, "banner", "", "another `text` shown in every answer")
	fs.StringVar(&apiURL, "api-url", "", "`URL` of the api tier (web only)")
	fs.DurationVar(&o.apiTimeout, "api-timeout", 30*time.Second, "how long the api tier may take (web only)")
	fs.IntVar(&o.n, "n", 25, "Fibonacci `number` to ask for when the request names none (web only)")
	fs.DurationVar(&o.slowStart, "slow-start", 0, "how long to be unhealthy after the start")
	fs.DurationVar(&o.drain, "drain", 10*time.Second, "how long requests may go on after SIGTERM")
	fs.DurationVar(&o.linger, "linger", 0, "how long to keep listening after SIGTERM, at least; part of -drain")
	fs.StringVar(&o.broker, "broker", "nats://127.0.0.1:4222", "`URL` of the NATS server with the queue (worker and submit only)")
	fs.StringVar(&o.queue, "queue", "jobs", "`name` of the queue (worker and submit only)")
	fs.IntVar(&o.jobs, "jobs", 1, "how many jobs to submit (submit only)")
	fs.DurationVar(&o.job, "job", time.Second, "how long each of them takes (submit only)")
	fs.Float64Var(&o.faults.failRate, "fail-rate", 0, "`share` of requests, 0 to 1, to answer with 500")
	fs.Var(&o.faults.crash, "crash-after", "exit with 3 after this `duration` or number of requests")
	fs.IntVar(&o.faults.leakKiB, "leak", 0, "`KiB` of memory to keep from every request")
	fs.BoolVar(&o.version, "version", false, "print the version")

	var errs []error
	fs.VisitAll(func(f *flag.Flag) {
		name := strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if v := getenv(name); v != "" && f.Name != "version" {
			if err := f.Value.Set(v); err != nil {
				errs = append(errs, fmt.Errorf("environment variable %s is %q: %w", name, v, err))
			}
		}
	})
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		o.role, args = args[0], args[1:]
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(stderr, usage)
			fs.SetOutput(stderr)
			fs.PrintDefaults()
		}
		return o, err
	}
	if o.version {
		return o, nil
	}
	if fs.NArg() > 0 {
		errs = append(errs, fmt.Errorf("argument %q is one too many", fs.Arg(0)))
	}
	return o, errors.Join(append(errs, o.complete(apiURL, getenv))...)
}

// complete checks the options and adds what follows from them.
func (o *options) complete(apiURL string, getenv func(string) string) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch o.role {
	case "web":
		u, err := url.Parse(apiURL)
		if err != nil || u.Scheme == "" || u.Host == "" {
			bad("web needs API_URL or -api-url, such as http://127.0.0.1:8081, not %q", apiURL)
		}
		o.apiURL = u
	case "fib", "api":
		o.role = "fib"
	case "worker", "submit":
		if o.jobs < 0 || o.job < 0 || o.job > maxJob || strings.ContainsAny(o.queue, " .*>") || o.queue == "" {
			bad("a queue has a name of one word, and its jobs take up to %v each", maxJob)
		}
	default:
		bad("the first argument is the role, web, fib, worker or submit, not %q; see -help", o.role)
	}
	if p, err := strconv.Atoi(o.port); err != nil || p < 0 || p > 65535 {
		bad("port %q is not from 0 to 65535", o.port)
	}
	if o.n < 0 || o.n > maxN {
		bad("n is %d; it must be from 0 to %d", o.n, maxN)
	}
	if !(o.faults.failRate >= 0 && o.faults.failRate <= 1) {
		bad("fail-rate is %g; it must be from 0 to 1", o.faults.failRate)
	}
	if o.slowStart < 0 || o.drain < 0 || o.linger < 0 || o.apiTimeout <= 0 || o.faults.leakKiB < 0 {
		bad("times and sizes must not be negative, and api-timeout not 0")
	}
	if o.replica = getenv("FLOWCTL_ADDRESS"); o.replica == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "localhost"
		}
		o.replica = fmt.Sprintf("%s:%d", host, os.Getpid())
	}
	return errors.Join(errs...)
}

// release is set by the build: -ldflags "-X main.release=v1.2.3".
var release string

// version is the release, or else what the Go tool recorded.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}
