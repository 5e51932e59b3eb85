package docker

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// happenings are the words for an engine's.
var happenings = map[events.Action]string{
	events.ActionDie: "died", events.ActionStart: "started", events.ActionDestroy: "removed", events.ActionOOM: "out of memory",
	events.ActionPause: "paused", events.ActionUnPause: "resumed", events.ActionDisconnect: "disconnected", events.ActionConnect: "connected",
	events.ActionHealthStatusUnhealthy: "unhealthy", events.ActionHealthStatusHealthy: "healthy",
}

// Watch implements providers.Watcher: one stream for each engine that the flow has
// hosts on.
func (d *Docker) Watch(ctx context.Context) iter.Seq2[providers.Event, error] {
	return func(yield func(providers.Event, error) bool) {
		all, err := d.noted()
		if err != nil {
			yield(providers.Event{}, err)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		type news struct {
			event providers.Event
			err   error
		}
		told := make(chan news)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		for _, dm := range all {
			wg.Go(func() {
				err := d.watchOn(ctx, dm, func(e providers.Event) {
					select {
					case told <- news{event: e}:
					case <-ctx.Done():
					}
				})
				select {
				case told <- news{err: err}:
				case <-ctx.Done():
				}
			})
		}
		for {
			select {
			case n := <-told:
				if !yield(n.event, n.err) || n.err != nil {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func (d *Docker) watchOn(ctx context.Context, dm *daemon, tell func(providers.Event)) error {
	pick := d.labelled()
	pick.Add("type", string(events.ContainerEventType))
	came, failed := dm.Events(ctx, events.ListOptions{Filters: pick})
	for {
		select {
		case m := <-came:
			if e, ok := eventOf(m); ok {
				tell(e)
			}
		case err := <-failed:
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return dm.fault("follow what happens", err)
		}
	}
}

// eventOf reads what happened to which object.
func eventOf(m events.Message) (providers.Event, bool) {
	what, ok := happenings[m.Action]
	a, err := engine.ParseAddress(m.Actor.Attributes[labelAddress])
	if !ok || err != nil {
		return providers.Event{}, false
	}
	e := providers.Event{At: time.Unix(0, m.TimeNano), Address: a, What: what}
	if code := m.Actor.Attributes["exitCode"]; m.Action == events.ActionDie && code != "" {
		e.What = strings.TrimSpace(fmt.Sprintf("died with status %s", code))
	}
	fmt.Sscan(m.Actor.Attributes[labelGeneration], &e.Gen)
	return e, true
}
