package docker

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// firstSample is the longest that the first look at a container waits for its
// figures: an engine measures once a second, and it takes two for a rate.
const firstSample = 3 * time.Second

// meter keeps one stream of figures open for each container that was asked for.
type meter struct {
	mu      sync.Mutex
	streams map[string]*stream // by engine and container
	wg      sync.WaitGroup
	stopped bool
}

// stream is one container's figures.
type stream struct {
	cancel context.CancelFunc
	ready  chan struct{} // closed with the first figures, or when it has ended
	missed int           // how many calls in a row did not ask for it; the meter's mutex guards it

	mu    sync.Mutex
	once  sync.Once
	last  sample
	ended bool
}

// sample is the part that we use of an engine's figures.
type sample struct {
	Read     time.Time `json:"read"`
	PreRead  time.Time `json:"preread"`
	CPU      cpuTotal  `json:"cpu_stats"`
	PreCPU   cpuTotal  `json:"precpu_stats"`
	MemStats struct {
		Usage int64 `json:"usage"`
		Stats struct {
			InactiveFile      int64 `json:"inactive_file"`       // control groups v2
			TotalInactiveFile int64 `json:"total_inactive_file"` // and v1
		} `json:"stats"`
	} `json:"memory_stats"`
}

type cpuTotal struct {
	Usage struct {
		Total int64 `json:"total_usage"` // nanoseconds
	} `json:"cpu_usage"`
}

// cores is how many were in use between the sample and the one before.
func (s sample) cores() float64 {
	span := s.Read.Sub(s.PreRead)
	if s.PreRead.IsZero() || span <= 0 || s.CPU.Usage.Total < s.PreCPU.Usage.Total {
		return 0
	}
	return float64(s.CPU.Usage.Total-s.PreCPU.Usage.Total) / float64(span)
}

// workingSet is the memory in use without what the kernel can take back at once.
func (s sample) workingSet() int64 {
	m := s.MemStats
	return max(0, m.Usage-max(m.Stats.InactiveFile, m.Stats.TotalInactiveFile))
}

// open returns the stream of a container, which may be new.
func (m *meter) open(dm *daemon, id string) *stream {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := dm.id + " " + id
	if s := m.streams[key]; s != nil && !s.over() {
		return s
	}
	s := &stream{ready: make(chan struct{})}
	if m.stopped {
		s.finish()
		return s
	}
	if m.streams == nil {
		m.streams = map[string]*stream{}
	}
	ctx, cancel := context.WithCancel(context.Background()) // until stop: it serves many calls
	s.cancel = cancel
	m.streams[key] = s
	m.wg.Go(func() {
		defer s.finish()
		s.read(ctx, dm, id)
	})
	return s
}

// read follows a container's figures until it ends.
func (s *stream) read(ctx context.Context, dm *daemon, id string) {
	resp, err := dm.ContainerStats(ctx, id, true)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	for dec := json.NewDecoder(resp.Body); ; {
		var got sample
		if dec.Decode(&got) != nil || got.Read.IsZero() { // a stopped container's have no time
			return
		}
		s.mu.Lock()
		s.last = got
		s.mu.Unlock()
		if !got.PreRead.IsZero() {
			s.once.Do(func() { close(s.ready) })
		}
	}
}

func (s *stream) finish() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.once.Do(func() { close(s.ready) })
}

func (s *stream) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

func (s *stream) latest() sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// stop ends all streams and waits for them.
func (m *meter) stop() {
	m.mu.Lock()
	m.stopped = true
	for _, s := range m.streams {
		s.cancel()
	}
	m.mu.Unlock()
	m.wg.Wait()
}

// retain ends the streams of containers that are not asked for any more: twice, for one
// who asks may do so for some and then for the others.
func (m *meter) retain(wanted map[string]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, s := range m.streams {
		if s.missed++; wanted[key] {
			s.missed = 0
		}
		if s.missed > 1 {
			s.cancel()
			delete(m.streams, key)
		}
	}
}

// Usage implements providers.Meter. The first call for a container waits for its
// first figures; later ones return what came last.
func (d *Docker) Usage(ctx context.Context, objects []engine.Object) ([]providers.Usage, error) {
	first, cancel := context.WithTimeout(ctx, firstSample)
	defer cancel()
	byEngine := map[string][]engine.Object{}
	hosts := map[string]engine.Address{}
	for _, o := range objects {
		switch o.Address.Kind {
		case engine.KindFunction:
			byEngine[o.Attr("machine_id")] = append(byEngine[o.Attr("machine_id")], o)
		case engine.KindHost:
			hosts[o.ID()] = o.Address
		}
	}
	var mu sync.Mutex // of what follows
	var all []providers.Usage
	var errs []error
	wanted := map[string]bool{}
	var wg sync.WaitGroup
	for id, some := range byEngine { // at once: one that does not answer holds up none
		wg.Go(func() {
			usage, streams, err := d.usageOn(ctx, id, some, first.Done())
			mu.Lock()
			defer mu.Unlock()
			all, errs = append(all, usage...), append(errs, err)
			if host, ok := hosts[id]; ok && err == nil {
				all = append(all, total(host, usage))
			}
			for _, key := range streams {
				wanted[key] = true
			}
		})
	}
	wg.Wait()
	d.meter.retain(wanted)
	slices.SortFunc(all, func(a, b providers.Usage) int { return a.Address.Compare(b.Address) })
	return all, errors.Join(errs...)
}

// total is what a flow's containers use of a host together: an engine does not
// tell what its machine does besides.
func total(host engine.Address, replicas []providers.Usage) providers.Usage {
	sum := providers.Usage{Address: host, State: "running"}
	for _, u := range replicas {
		sum.CPUCores += u.CPUCores
		sum.MemoryBytes += u.MemoryBytes
	}
	return sum
}

// usageOn returns what is used on one engine, and the streams that tell.
func (d *Docker) usageOn(ctx context.Context, id string, objects []engine.Object, first <-chan struct{}) (all []providers.Usage, wanted []string, err error) {
	dm, err := d.daemon(id)
	if err != nil {
		return nil, nil, err
	}
	list, err := dm.ContainerList(ctx, container.ListOptions{All: true, Filters: d.labelled()})
	if err != nil {
		return nil, nil, dm.fault("list containers", err)
	}
	byName := map[string]container.Summary{}
	for _, c := range list {
		byName[c.Names[0][1:]] = c
	}
	streams := make([]*stream, len(objects))
	for i, o := range objects {
		if c, ok := byName[d.name(o.Address, o.Gen)]; ok && c.State == "running" {
			streams[i] = d.meter.open(dm, c.ID)
			wanted = append(wanted, dm.id+" "+c.ID)
		}
	}
	for i, o := range objects {
		c, there := byName[d.name(o.Address, o.Gen)]
		if !there {
			continue
		}
		u := providers.Usage{Address: o.Address, State: string(c.State), Since: time.Unix(c.Created, 0)}
		if s := streams[i]; s != nil {
			select {
			case <-s.ready:
			case <-first:
			}
			if ctx.Err() != nil {
				return all, wanted, context.Cause(ctx)
			}
			last := s.latest()
			u.CPUCores, u.MemoryBytes = last.cores(), last.workingSet()
		}
		all = append(all, u)
	}
	return all, wanted, nil
}
