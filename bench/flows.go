package main

import (
	"context"
	"fmt"
	"os"
)

// steps are the commands that each flow goes through, and what they are in
// Terraform.
var steps = []struct {
	name      string
	flowctl   []string
	terraform []string
}{
	{"plan", []string{"plan"}, []string{"plan", "-input=false"}},
	{"apply", []string{"apply", "-auto-approve"}, []string{"apply", "-auto-approve", "-input=false"}},
	{"plan, no changes", []string{"plan"}, []string{"plan", "-input=false"}},
	{"destroy", []string{"destroy", "-auto-approve"}, []string{"destroy", "-auto-approve", "-input=false"}},
}

// flows measures whole commands on flows of n resources of the sim provider,
// every outcome durable, and Terraform's on as many.
func (b *bench) flows(ctx context.Context) error {
	fmt.Printf("\nWhole commands, resources that make nothing; x is how many times as long Terraform takes\n")
	fmt.Printf("%-8s %9s  %-17s %-35s", "shape", "resources", "command", "flowctl: wall, cpu, peak memory")
	if b.terraform != "" {
		fmt.Printf("   %-35s %8s %8s %8s", "terraform", "x wall", "x cpu", "x memory")
	}
	fmt.Println()
	for _, c := range []struct {
		shape shape
		n     int
	}{{flat, 1000}, {flat, 10_000}, {flat, 100_000}, {layered, 1000}, {layered, 10_000}, {layered, 100_000}, {chain, 1000}} {
		if b.quick && c.n > 10_000 {
			continue
		}
		if err := b.flow(ctx, c.shape, c.n); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) flow(ctx context.Context, s shape, n int) error {
	ours, err := b.folder(fmt.Sprintf("flowctl-%s-%d", s.name, n), "flow.hcl", s.flowctl(n))
	if err != nil {
		return err
	}
	defer os.RemoveAll(ours)
	theirs, err := b.folder(fmt.Sprintf("terraform-%s-%d", s.name, n), "main.tf", s.terraform(n))
	if err != nil {
		return err
	}
	defer os.RemoveAll(theirs)
	compare := b.terraform != "" && n <= 10_000
	if compare {
		if _, err := measure(ctx, theirs, 0, b.terraform, "init", "-input=false"); err != nil {
			return err
		}
	}
	for _, step := range steps {
		f, err := measure(ctx, ours, 0, append([]string{b.flowctl}, step.flowctl...)...)
		if err != nil {
			return err
		}
		fmt.Printf("%-8s %9d  %-17s %-35s", s.name, n, step.name, f)
		if compare {
			t, err := measure(ctx, theirs, b.patience, append([]string{b.terraform}, step.terraform...)...)
			if err != nil {
				return err
			}
			fmt.Printf("   %-35s", t)
			if t.over { // what comes next would not find what it needs
				compare = step.name == "plan"
			} else {
				fmt.Printf(" %8.1f %8.1f %8.1f", t.wall.Seconds()/f.wall.Seconds(), t.cpu.Seconds()/f.cpu.Seconds(), float64(t.peak)/float64(f.peak))
			}
		}
		fmt.Println()
	}
	return nil
}
