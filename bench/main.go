// Command bench prints figures of flowctl on this machine: how long plans and
// applies of large flows take and how much memory, what one durable task costs,
// what the data plane takes of the processor, and how fast containers are made.
// Beside them stand Terraform (with its built-in terraform_data, which makes
// nothing either), HAProxy, docker-compose and bare calls of the container engine,
// where these are there, as ratios of the same run: machines differ, and a
// busy one differs from itself.
//
// Build bin/flowctl and bin/flowctl-demo first; make bench does.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	stdruntime "runtime"
	"slices"
	"strings"
	"time"
)

// bench is one run of the program.
type bench struct {
	flowctl, demo string // the programs measured
	terraform     string // "" where it is not installed
	haproxy       string
	dir           string        // for flows and states, removed in the end
	quick         bool          // leave the largest sizes out
	patience      time.Duration // with one command of Terraform
	scaling       scaling
	reacting      reacting
}

// sections are all measurements, by name. Those that run processes come first:
// Linux counts what the parent has used to a child's peak memory.
var sections = []struct {
	name string
	run  func(*bench, context.Context) error
	long bool // takes minutes: measured only if it is asked for
}{
	{"flows", (*bench).flows, false},
	{"frontend", (*bench).frontend, false},
	{"containers", (*bench).containers, false},
	{"scale", (*bench).scale, true},
	{"reaction", (*bench).reaction, true},
	{"loop", (*bench).loop, true},
	{"machines", (*bench).machines, true},
	{"walk", (*bench).walk, false},
	{"durable", (*bench).durable, false},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var names []string
	for _, s := range sections {
		if !s.long {
			names = append(names, s.name)
		}
	}
	only := flag.String("only", strings.Join(names, ","), "what to measure")
	bin := flag.String("bin", "bin", "the folder with flowctl and flowctl-demo")
	dir := flag.String("dir", os.TempDir(), "where flows and states lie while they are measured: on a real disk")
	b := &bench{}
	flag.BoolVar(&b.quick, "quick", false, "leave out the largest sizes")
	flag.DurationVar(&b.patience, "patience", 3*time.Minute, "how long one command of Terraform may take")
	b.scaling.flags()
	b.reacting.flags()
	flag.Parse()

	var err error
	if b.dir, err = os.MkdirTemp(*dir, "flowctl-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	for program, path := range map[string]*string{"flowctl": &b.flowctl, "flowctl-demo": &b.demo} {
		if *path, err = filepath.Abs(filepath.Join(*bin, program)); err != nil {
			return err
		}
		if _, err := os.Stat(*path); err != nil {
			return fmt.Errorf("%w: run make build first", err)
		}
	}
	b.terraform, _ = exec.LookPath("terraform")
	b.haproxy, _ = exec.LookPath("haproxy")

	fmt.Printf("%s, %d processors of %s/%s, load %s\n", time.Now().Format(time.DateTime), stdruntime.NumCPU(), stdruntime.GOOS, stdruntime.GOARCH, loadAverage())
	for _, s := range sections {
		if !slices.Contains(strings.Split(*only, ","), s.name) {
			continue
		}
		if err := s.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// loadAverage tells how busy the machine is besides.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
