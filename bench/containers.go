package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
)

// How many containers there are, how many are made at a time, and how often all of
// them by each.
const (
	replicas    = 100
	parallelism = 10
	rounds      = 3
)

// benchImage is the image that all containers are made of; it has one program.
const benchImage = "flowctl-bench:1"

const benchDockerfile = "FROM scratch\nCOPY flowctl-demo /bin/flowctl-demo\nENTRYPOINT [\"/bin/flowctl-demo\"]\n"

const containerFlow = `flow "bench" {
  provider    = "docker"
  parallelism = %[3]d
}

host "box" {}

function "web" {
  on       = host.box
  replicas = %[1]d
  image    = %[2]q
  exec     = ["flowctl-demo", "fib"]
  restart  = "no"
}
`

const composeFile = `version: "3"
services:
  web:
    image: %[2]s
    command: ["fib"]
    scale: %[1]d
`

// contender is one way to make the containers.
type contender struct {
	name string
	make func(ctx context.Context) (figure, error)
	end  func(ctx context.Context)
	all  []figure
}

// containers measures how long it takes until all replicas of a function run on a
// container engine: by flowctl, by docker-compose, and with nothing but the calls
// that the engine needs, which is as fast as it can be. They take turns.
func (b *bench) containers(ctx context.Context) error {
	if os.Getenv("FLOWCTL_LAB") == "" {
		fmt.Println("\ncontainers: left out, since they are for an engine of their own: run make bench-docker")
		return nil
	}
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return err
	}
	defer engine.Close()
	if err := b.buildImage(ctx); err != nil {
		return err
	}
	limit := &contender{name: "the engine's limit", make: func(ctx context.Context) (figure, error) { return plainly(ctx, engine) }, end: func(ctx context.Context) { clear(ctx, engine) }}
	flow, err := b.byFlowctl()
	if err != nil {
		return err
	}
	all := []*contender{limit, flow}
	if compose, err := b.byCompose(); err != nil {
		return err
	} else if compose != nil {
		all = append(all, compose)
	}
	fmt.Printf("\ncontainers: %d of an image from scratch on one engine, %d at a time, %d rounds\n", replicas, parallelism, rounds)
	for round := range rounds + 1 { // the first is to warm up
		for _, c := range all {
			f, err := c.make(ctx)
			c.end(ctx)
			if err := errors.Join(err, gone(ctx, engine)); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if round > 0 {
				c.all = append(c.all, f)
			}
		}
	}
	for _, c := range all {
		f := middle(c.all)
		fmt.Printf("  %-20s %s   %.2f × the limit\n", c.name, f, f.wall.Seconds()/middle(limit.all).wall.Seconds())
	}
	return nil
}

// middle is the figure whose time is the median.
func middle(all []figure) figure {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b figure) int { return int(a.wall - b.wall) })
	return sorted[len(sorted)/2]
}

func (b *bench) buildImage(ctx context.Context) error {
	dir, err := b.folder("image", "Dockerfile", benchDockerfile)
	if err != nil {
		return err
	}
	program, err := os.ReadFile(b.demo)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "flowctl-demo"), program, 0o755)
	}
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "docker", "build", "-q", "-t", benchImage, dir)
	cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("docker build: %w\n%s", err, out)
	}
	return nil
}

func (b *bench) byFlowctl() (*contender, error) {
	dir, err := b.folder("containers", "flow.hcl", fmt.Sprintf(containerFlow, replicas, benchImage, parallelism))
	if err != nil {
		return nil, err
	}
	return &contender{
		name: "flowctl apply",
		make: func(ctx context.Context) (figure, error) {
			return measure(ctx, dir, 0, b.flowctl, "apply", "-auto-approve", "-no-color")
		},
		end: func(ctx context.Context) { measure(ctx, dir, 0, b.flowctl, "destroy", "-auto-approve") },
	}, nil
}

// byCompose returns nil where docker-compose is not installed.
func (b *bench) byCompose() (*contender, error) {
	compose, err := exec.LookPath("docker-compose")
	if err != nil {
		return nil, nil
	}
	dir, err := b.folder("compose", "docker-compose.yml", fmt.Sprintf(composeFile, replicas, benchImage))
	if err != nil {
		return nil, err
	}
	argv := []string{"env", "COMPOSE_HTTP_TIMEOUT=600", fmt.Sprintf("COMPOSE_PARALLEL_LIMIT=%d", parallelism), compose, "--no-ansi"}
	return &contender{
		name: "docker-compose up",
		make: func(ctx context.Context) (figure, error) {
			return measure(ctx, dir, 0, append(slices.Clone(argv), "up", "-d")...)
		},
		end: func(ctx context.Context) {
			measure(ctx, dir, 0, append(slices.Clone(argv), "down", "-t", "0")...)
		},
	}, nil
}

// plainly makes a network and the containers, with two calls for each.
func plainly(ctx context.Context, engine *client.Client) (figure, error) {
	begun := time.Now()
	net, err := engine.NetworkCreate(ctx, "limit", network.CreateOptions{Driver: "bridge", Labels: map[string]string{"limit": ""}})
	if err != nil {
		return figure{}, err
	}
	err = each(replicas, func(n int) error {
		c, err := engine.ContainerCreate(ctx, &container.Config{Image: benchImage, Cmd: []string{"fib"}, Labels: map[string]string{"limit": ""}},
			&container.HostConfig{NetworkMode: container.NetworkMode(net.ID)}, nil, nil, fmt.Sprintf("limit-%d", n))
		if err != nil {
			return err
		}
		return engine.ContainerStart(ctx, c.ID, container.StartOptions{})
	})
	return figure{wall: time.Since(begun)}, err
}

// clear removes the containers. The engine (20.10) may refuse to remove the network,
// as it miscounts what has been on it; that stays then.
func clear(ctx context.Context, engine *client.Client) {
	list, err := engine.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", "limit"))})
	if err != nil {
		return
	}
	each(len(list), func(n int) error {
		return engine.ContainerRemove(ctx, list[n].ID, container.RemoveOptions{Force: true})
	})
	networks, _ := engine.NetworkList(ctx, network.ListOptions{Filters: filters.NewArgs(filters.Arg("label", "limit"))})
	for _, n := range networks {
		engine.NetworkRemove(ctx, n.ID)
	}
}

// gone checks that a contender has left no container.
func gone(ctx context.Context, engine *client.Client) error {
	left, err := engine.ContainerList(ctx, container.ListOptions{All: true})
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("%d containers are left", len(left))
	}
	return err
}

// each calls do for 0 to n-1, some at a time.
func each(n int, do func(int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, n)
	next := make(chan int)
	for range parallelism {
		wg.Go(func() {
			for i := range next {
				errs[i] = do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return errors.Join(errs...)
}
