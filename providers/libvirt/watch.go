package libvirt

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// happening is something that happened to a domain.
type happening struct {
	at         time.Time
	name, what string
}

// waiting is how many happenings may wait to be told. Libvirt's event loop, which
// serves all connections, waits beyond that.
const waiting = 1024

// Watch implements providers.Watcher.
func (l *Libvirt) Watch(ctx context.Context) iter.Seq2[providers.Event, error] {
	return func(yield func(providers.Event, error) bool) {
		h, err := l.hypervisor()
		if err != nil {
			yield(providers.Event{}, err)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		told, ended := make(chan happening, waiting), make(chan error, 1)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		wg.Go(func() {
			ended <- h.Follow(ctx, func(name, what string) {
				select {
				case told <- happening{time.Now(), name, what}:
				case <-ctx.Done():
				}
			})
		})
		names := l.names(h)
		for {
			select {
			case e := <-told:
				r, ok := names(e.name)
				if ok && !yield(providers.Event{At: e.at, Address: r.Address, Gen: r.Gen, What: e.what}, nil) {
					return
				}
			case err := <-ended:
				if err != nil {
					yield(providers.Event{}, fmt.Errorf("%s: %w", l.cfg.URI, err))
				}
				return
			}
		}
	}
}

// names returns what tells which object a domain is. It remembers those that it
// has seen, since a domain that is removed says nothing any more.
func (l *Libvirt) names(h hypervisor) func(name string) (providers.Ref, bool) {
	seen := map[string]providers.Ref{}
	note := func(d known) {
		if r, ok := d.tag.ref(); ok && l.ours(d.tag) && r.Address.Kind != engine.KindNetwork {
			seen[d.Name] = r
		}
	}
	all, _ := everything(h) // what is missed is looked up when something happens to it
	for _, d := range all {
		note(d)
	}
	return func(name string) (providers.Ref, bool) {
		if r, ok := seen[name]; !ok || r.Address.Kind == engine.KindWarm { // it may have become another
			if d, err := find(h, name); err == nil {
				note(d)
			}
		}
		r, ok := seen[name]
		return r, ok
	}
}
