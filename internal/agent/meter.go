package agent

import (
	"context"
	"time"
)

// sampleEvery is the interval of measuring.
const sampleEvery = time.Second

// target is a replica to be measured.
type target struct {
	name string
	res  *resources
}

// measure samples what the replicas use until run has ended.
func (s *supervisor) measure() {
	m := meter{groups: s.groups, table: s.table, last: map[*resources]reading{}}
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	failed := false
	for {
		select {
		case <-tick.C:
		case <-s.done:
			return
		}
		targets, err := ask(context.Background(), s, func(reply func([]target, error)) { reply(s.targets(), nil) })
		if err != nil {
			return
		}
		usage, all, err := m.sample(s.now(), targets)
		if (err != nil) != failed { // said once, not every second
			failed = err != nil
			s.log.Warn("measuring", "failed", failed, "err", err)
		}
		if err == nil {
			s.post(func() { s.measured(usage, all) })
		}
	}
}

func (s *supervisor) targets() []target {
	targets := make([]target, 0, len(s.replicas))
	for name, r := range s.replicas {
		if r.res != nil {
			targets = append(targets, target{name, r.res})
		}
	}
	return targets
}

func (s *supervisor) measured(usage map[*resources]Usage, all Usage) {
	s.usage = all
	for _, r := range s.replicas {
		if u, ok := usage[r.res]; ok {
			r.usage = u
		}
	}
}

// meter turns totals into rates. It belongs to one goroutine.
type meter struct {
	groups *machineGroup // nil: by the table
	table  *procTable
	last   map[*resources]reading // nil is the machine
}

// reading is a total at an instant.
type reading struct {
	at  time.Time
	cpu time.Duration
}

// sample measures the replicas, and all of the machine.
func (m *meter) sample(at time.Time, targets []target) (map[*resources]Usage, Usage, error) {
	uses, all, err := m.read(targets)
	if err != nil {
		return nil, Usage{}, err
	}
	last := m.last
	m.last = make(map[*resources]reading, len(uses)+1)
	usage := make(map[*resources]Usage, len(uses))
	rate := func(r *resources, u groupUse) Usage {
		now := reading{at, u.cpu}
		m.last[r] = now
		before, ok := last[r]
		return usageOf(u, now, before, ok)
	}
	for r, u := range uses {
		usage[r] = rate(r, u)
	}
	return usage, rate(nil, all), nil
}

// usageOf makes a Usage of a reading and the one before it, if there was one.
func usageOf(u groupUse, now, before reading, ok bool) Usage {
	usage := Usage{At: now.at, CPUSeconds: u.cpu.Seconds(), MemoryBytes: u.memory, OOMKills: u.oom}
	if span := now.at.Sub(before.at); ok && span > 0 && now.cpu > before.cpu {
		usage.CPUCores = (now.cpu - before.cpu).Seconds() / span.Seconds()
	}
	return usage
}

// read reads the totals: from cgroups if there are any, and else from /proc.
func (m *meter) read(targets []target) (map[*resources]groupUse, groupUse, error) {
	uses := make(map[*resources]groupUse, len(targets))
	if m.groups != nil {
		for _, t := range targets {
			if u, err := t.res.group.use(); err == nil { // else it is being removed
				uses[t.res] = u
			}
		}
		all, err := m.groups.use(uses)
		return uses, all, err
	}
	table, retired, err := m.table.usage()
	all := groupUse{cpu: retired}
	for _, t := range targets {
		u := groupUse{cpu: table[t.name].total, memory: table[t.name].rss}
		uses[t.res] = u
		all.cpu += u.cpu
		all.memory += u.memory
	}
	return uses, all, err
}
