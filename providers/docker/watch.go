package docker

import (
	"context"
	"fmt"
	"iter"
	"strings"
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
	all, err := d.noted()
	if err != nil {
		return providers.Unwatched(err)
	}
	var sources []func(context.Context, func(providers.Event)) error
	for _, dm := range all {
		sources = append(sources, func(ctx context.Context, tell func(providers.Event)) error {
			return d.watchOn(ctx, dm, tell)
		})
	}
	return providers.Together(ctx, sources)
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
