package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 64
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal is not caught
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stderr))
}

func run(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) int {
	o, err := parse(args, getenv, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "smart-energy: %v\n", err)
		return exitUsage
	}
	log := slog.New(slog.NewTextHandler(stderr, nil)).With("role", o.role)
	if err := roles[o.role](ctx, o, log); err != nil {
		log.Error("cannot go on", "err", err)
		return exitError
	}
	return exitOK
}

// roles are what the program can do.
var roles = map[string]func(context.Context, options, *slog.Logger) error{
	"collect": collect, "write": write, "page": page, "seed": seed,
}

// options are what flags and environment say.
type options struct {
	role       string
	host, port string
	sites      []string
	meters     []string
	every      time.Duration
	spool      string // a folder
	keep       int    // readings
	broker     string
	store      string
	database   string
}

const usage = `usage: smart-energy collect|write|page|seed [flags]

Every flag is also an environment variable: -site is SITE.

`

// parse reads the role, then flags, whose defaults come from the environment.
func parse(args []string, getenv func(string) string, stderr io.Writer) (options, error) {
	var o options
	var sites, meters string
	fs := flag.NewFlagSet("smart-energy", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // run prints the error, once
	fs.StringVar(&o.host, "host", "127.0.0.1", "`address` to listen on")
	fs.StringVar(&o.port, "port", "8080", "`port` to listen on")
	fs.StringVar(&sites, "site", "home", "`name` of the site; several with commas, for seed")
	fs.StringVar(&meters, "meters", "heating,cooling,servers", "`names` of the site's meters")
	fs.DurationVar(&o.every, "every", time.Second, "`time` between two readings of a meter, or two looks of the page")
	fs.StringVar(&o.spool, "spool", ".", "`folder` for what the broker does not have yet (collect)")
	fs.IntVar(&o.keep, "keep", 100_000, "the most `readings` to keep there (collect)")
	fs.StringVar(&o.broker, "broker", "nats://127.0.0.1:4222", "`URL` of the broker")
	fs.StringVar(&o.store, "store", "http://127.0.0.1:8086", "`URL` of the store")
	fs.StringVar(&o.database, "database", "energy", "`name` of the database in the store")

	var errs []error
	fs.VisitAll(func(f *flag.Flag) {
		name := strings.ToUpper(f.Name)
		if v := getenv(name); v != "" {
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
	if fs.NArg() > 0 {
		errs = append(errs, fmt.Errorf("argument %q is one too many", fs.Arg(0)))
	}
	o.sites, o.meters = strings.Split(sites, ","), strings.Split(meters, ",")
	return o, errors.Join(append(errs, o.check())...)
}

func (o options) check() error {
	var errs []error
	if roles[o.role] == nil {
		errs = append(errs, fmt.Errorf("the first argument is the role, collect, write, page or seed, not %q; see -help", o.role))
	}
	for _, name := range append(append([]string{o.database}, o.sites...), o.meters...) {
		if !validName(name) {
			errs = append(errs, fmt.Errorf("%q is no name: it has letters a to z, digits and - only, and begins with a letter", name))
		}
	}
	if o.role == "collect" && len(o.sites) != 1 {
		errs = append(errs, errors.New("a collector is at one site"))
	}
	if o.every < time.Millisecond || o.keep < len(o.meters) {
		errs = append(errs, errors.New("every must be at least 1ms, and keep as much as one reading of each meter"))
	}
	return errors.Join(errs...)
}
