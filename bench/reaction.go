package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/flowctl/flowctl/internal/trial"
)

// reacting are the settings of the section reaction.
type reacting struct{ spikes int }

func (r *reacting) flags() {
	flag.IntVar(&r.spikes, "spikes", 30, "reaction: how many spikes")
}

// reactionFlow is one function behind a frontend; what decides about growing is as
// it is by default. It shrinks at once, so that the next spike finds it small.
const reactionFlow = `flow "reaction" {
  provider = %[1]q
}

%[2]s

function "web" {
  on     = %[3]s
  image  = %[4]s
  exec   = ["flowctl-demo", "api"]
  port   = 8080
  drain  = "1s"
  health {
    http = "/healthz"
  }
}

frontend "www" {
  listen = "127.0.0.1:0"
  to     = function.web
}

scaling "web" {
  target = function.web
  min    = 1
  max    = 4
  metric "rps" {
    target = 50
    burst {
      hold = "1s"
    }
  }
  down {
    stabilise = "0s"
    cooldown  = "1s"
    limit {
      percent = 100
      per     = "1s"
    }
  }
}

output "url" {
  value = frontend.www.url
}
`

// reaction measures how long it takes from the first request too many until a new
// replica answers one, and of what that consists.
func (b *bench) reaction(ctx context.Context) (err error) {
	text := fmt.Sprintf(reactionFlow, "local", "vm \"box\" {\n  cpus   = 8\n  memory = \"1GiB\"\n}", "vm.box", "null")
	if os.Getenv("FLOWCTL_LAB") != "" {
		if err := b.buildImage(ctx); err != nil {
			return err
		}
		text = fmt.Sprintf(reactionFlow, "docker", "host \"box\" {}", "host.box", fmt.Sprintf("%q", benchImage))
	}
	dir, err := b.folder("reaction", "flow.hcl", text)
	if err != nil {
		return err
	}
	flow := trial.Flow{Program: b.flowctl, Spec: filepath.Join(dir, "flow.hcl"), Name: "reaction", Env: []string{"PATH=" + filepath.Dir(b.demo) + string(os.PathListSeparator) + os.Getenv("PATH")}}
	defer func() { err = errors.Join(err, flow.Destroy(context.WithoutCancel(ctx))) }()
	if err := flow.Apply(ctx); err != nil {
		return err
	}
	url, err := flow.Output(ctx, "url")
	if err != nil {
		return err
	}
	fmt.Printf("\nreaction: %d spikes from 20 to 400 requests/s, readings each second; milliseconds\n     ", b.reacting.spikes)
	for _, part := range trial.Parts {
		fmt.Printf(" %18s", part)
	}
	fmt.Println()
	var all []trial.Spike
	r := trial.Reaction{Flow: flow, URL: url, Rule: "web", Base: 20, Peak: 400, Rest: 4 * time.Second, Rand: rand.New(rand.NewPCG(1, 1))}
	err = r.Run(ctx, b.reacting.spikes, func(i int, s trial.Spike) {
		all = append(all, s)
		row(fmt.Sprint(i+1), s.Part)
	})
	if err != nil {
		return err
	}
	for _, p := range []int{50, 95} {
		row(fmt.Sprintf("p%d", p), func(part int) time.Duration { return percentile(all, part, p) })
	}
	return nil
}

func row(name string, part func(int) time.Duration) {
	fmt.Printf("%-5s", name)
	for i := range trial.Parts {
		fmt.Printf(" %18.0f", float64(part(i).Microseconds())/1000)
	}
	fmt.Println()
}

// percentile is the least value that p percent of all do not exceed.
func percentile(all []trial.Spike, part, p int) time.Duration {
	var values []time.Duration
	for _, s := range all {
		values = append(values, s.Part(part))
	}
	slices.Sort(values)
	return values[max(0, (len(values)*p+99)/100-1)]
}
