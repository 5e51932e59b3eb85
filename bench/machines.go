package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/flowctl/flowctl/internal/trial"
)

// How many machines are made of a golden one's state one after another, and how many
// at once.
const (
	clones  = 3
	abreast = 8
)

// machineFlow is as many machines and replicas as its variables say, one replica to a
// machine, behind a frontend. The image is made on an engine of this computer.
const machineFlow = `flow "machines" {
  provider    = "libvirt"
  parallelism = 16
}

variable "golden" {}
variable "machines" {}
variable "replicas" {}
variable "warm" {}

provider "libvirt" {
  image  = "%[1]s/disk.qcow2"
  kernel = "%[1]s/kernel"
  initrd = "%[1]s/initrd"
  golden = var.golden
}

network "lan" {}

host "box" {
  provider = "docker"
}

image "demo" {
  provider = "docker"
  host     = host.box
  build {
    context = "image"
  }
}

vm "node" {
  count   = var.machines
  warm    = var.warm
  cpus    = 1
  memory  = "512MiB"
  slots   = 1
  network = network.lan
}

function "web" {
  on       = vm.node
  replicas = var.replicas
  image    = image.demo.id
  exec     = ["flowctl-demo", "api"]
  port     = 8080
  health {
    http = "/healthz"
  }
}

frontend "www" {
  listen = "127.0.0.1:0"
  to     = function.web
}

output "url" {
  value = frontend.www.url
}
`

// size is how much of the flow there is to be.
type size struct{ machines, replicas, warm int }

// trip is how long it took from the command to what came of it.
type trip struct {
	figure
	begun  time.Time
	engine time.Duration // until the engine of the last machine had answered
	answer time.Duration // until the function had answered a request
	tasks  []task
}

type task struct {
	name string
	took time.Duration
}

// machineBench is the flow that is measured.
type machineBench struct {
	*bench
	flow trial.Flow
	dir  string
}

// machines measures how long it takes until a virtual machine, and a function on it,
// answers: by a start, by the state of a golden machine, and of a warm one. A start is also made by
// hand, with virsh and docker.
func (b *bench) machines(ctx context.Context) (err error) {
	if os.Getenv("FLOWCTL_TEST_LIBVIRT") == "" {
		fmt.Println("\nmachines: left out, since they are for a libvirtd of their own: run make bench-libvirt")
		return nil
	}
	m, err := b.machineFlow()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.flow.Destroy(context.WithoutCancel(ctx))) }()
	if _, err := m.apply(ctx, false, size{}); err != nil {
		return err
	}
	fmt.Println("\nmachines: one of 512 MiB and a function on it, seconds from the command to the first answer")
	if _, err := m.one(ctx, "the first of this libvirtd", false, 0); err != nil {
		return err
	}
	if err := m.clear(ctx); err != nil {
		return err
	}
	cold, err := m.one(ctx, "a start", false, 0)
	if err != nil {
		return err
	}
	hand, err := m.byHand(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("  %-31s %7.2f %8.2f   flowctl %.2f × that\n", "the same by hand", hand.engine.Seconds(), hand.answer.Seconds(), cold.answer.Seconds()/hand.answer.Seconds())
	if err := m.goldens(ctx); err != nil {
		return err
	}
	all, err := m.apply(ctx, true, size{machines: abreast})
	if err != nil {
		return err
	}
	fmt.Printf("  %d clones at once, until the last engine answers: %.2f s\n", abreast, all.engine.Seconds())
	if _, err := m.apply(ctx, true, size{}); err != nil {
		return err
	}
	return b.guests(ctx)
}

// goldens measures machines that are made of a golden one's state, the first of
// which waits for that.
func (m *machineBench) goldens(ctx context.Context) error {
	if err := m.clear(ctx); err != nil {
		return err
	}
	if _, err := m.one(ctx, "the first, golden one too", true, 0); err != nil {
		return err
	}
	if err := m.clones(ctx, "a clone"); err != nil {
		return err
	}
	// More than one at a time are worth it that the golden one gets the image.
	if err := m.clear(ctx); err != nil {
		return err
	}
	if _, err := m.apply(ctx, true, size{machines: 2, replicas: 2}); err != nil {
		return err
	}
	if err := m.clones(ctx, "a clone that has the image"); err != nil {
		return err
	}
	if err := m.clear(ctx); err != nil {
		return err
	}
	return m.warm(ctx)
}

func (m *machineBench) clones(ctx context.Context, name string) error {
	for n := range clones {
		if err := m.clear(ctx); err != nil {
			return err
		}
		if _, err := m.one(ctx, fmt.Sprintf("%s (%d)", name, n+1), true, 0); err != nil {
			return err
		}
	}
	return nil
}

// warm measures machines that are made of warm ones. Another is kept ready in place of
// each; the rows of the others have no such.
func (m *machineBench) warm(ctx context.Context) error {
	for n := range clones {
		if _, err := m.apply(ctx, true, size{warm: 1}); err != nil {
			return err
		}
		if _, err := m.one(ctx, fmt.Sprintf("of a warm one (%d)", n+1), true, 1); err != nil {
			return err
		}
	}
	return m.clear(ctx)
}

func (m *machineBench) clear(ctx context.Context) error {
	_, err := m.apply(ctx, true, size{})
	return err
}

func (b *bench) machineFlow() (*machineBench, error) {
	dir, err := b.folder("machines", "flow.hcl", fmt.Sprintf(machineFlow, os.Getenv("FLOWCTL_TEST_MACHINE")))
	if err != nil {
		return nil, err
	}
	image, err := b.folder("machines/image", "Dockerfile", benchDockerfile)
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(b.demo)
	if err != nil {
		return nil, err
	}
	m := &machineBench{bench: b, dir: dir, flow: trial.Flow{Program: b.flowctl, Spec: filepath.Join(dir, "flow.hcl"), Name: "machines"}}
	return m, os.WriteFile(filepath.Join(image, "flowctl-demo"), program, 0o755)
}

// one makes a machine with a function and prints what that took.
func (m *machineBench) one(ctx context.Context, name string, golden bool, warm int) (trip, error) {
	t, err := m.apply(ctx, golden, size{machines: 1, replicas: 1, warm: warm})
	if err != nil {
		return t, err
	}
	fmt.Printf("  %-31s %7.2f %8.2f   own processor time %.2f s;", name, t.engine.Seconds(), t.answer.Seconds(), t.cpu.Seconds())
	rest := t.wall
	for _, task := range t.tasks {
		fmt.Printf(" %s %.2f,", task.name, task.took.Seconds())
		rest -= task.took
	}
	fmt.Printf(" all else %.2f\n", rest.Seconds())
	return t, nil
}

// apply brings the flow to a size.
func (m *machineBench) apply(ctx context.Context, golden bool, to size) (trip, error) {
	var t trip
	answered := make(chan error, 1)
	asking, stop := context.WithCancel(ctx)
	defer stop()
	t.begun = time.Now()
	if to.replicas == 0 {
		answered <- nil
	} else if url, err := m.flow.Output(ctx, "url"); err != nil {
		return t, err
	} else {
		t.begun = time.Now()
		go func() {
			err := until(asking, url+"/healthz")
			t.answer = time.Since(t.begun)
			answered <- err
		}()
	}
	var err error
	t.figure, err = measure(ctx, m.dir, 0, m.flowctl, "apply", "-auto-approve", "-no-serve", fmt.Sprintf("-var=golden=%t", golden),
		fmt.Sprintf("-var=machines=%d", to.machines), fmt.Sprintf("-var=replicas=%d", to.replicas), fmt.Sprintf("-var=warm=%d", to.warm), "flow.hcl")
	if err != nil {
		stop()
		<-answered
		return t, err
	}
	if err := <-answered; err != nil {
		return t, err
	}
	return t, m.read(ctx, &t)
}

// until waits for the first good answer.
func until(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, handTime)
	defer cancel()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if resp, err := client.Get(url); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s has not answered: %w", url, context.Cause(ctx))
		}
	}
}

// read takes from the run's record how long its tasks took.
func (m *machineBench) read(ctx context.Context, t *trip) error {
	text, err := m.flow.Run(ctx, "runs", "show", "-json")
	if err != nil {
		return err
	}
	var run struct {
		Items []struct {
			Op, Address string
			Attempts    []struct{ Started, Ended time.Time }
		}
	}
	if err := json.Unmarshal([]byte(text), &run); err != nil {
		return err
	}
	for _, i := range run.Items {
		if len(i.Attempts) == 0 || i.Op != "create" {
			continue
		}
		kind, _, _ := strings.Cut(i.Address, ".")
		first, last := i.Attempts[0].Started, i.Attempts[len(i.Attempts)-1].Ended
		t.tasks = append(t.tasks, task{kind, last.Sub(first)})
		if kind == "vm" {
			t.engine = max(t.engine, last.Sub(t.begun))
		}
	}
	slices.SortStableFunc(t.tasks, func(a, b task) int { return int(b.took - a.took) })
	return nil
}
