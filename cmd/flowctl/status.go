package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/runtime/api"
	"github.com/flowctl/flowctl/state"
	"github.com/flowctl/flowctl/tasks"
	"github.com/spf13/cobra"
)

func (a *app) statusCommand() *cobra.Command {
	var f args.Flow
	var asJSON, watch bool
	var interval time.Duration
	c := &cobra.Command{
		Use: "status [PATH]", Short: "Show what runs, and how", Args: cobra.MaximumNArgs(1),
		Long: "Looks at everything that the flow has made and shows it: machines and replicas with what\nthey use, frontends with what they carry. A group tells every state that is in it, the\nworst first.\n\nWith -w it stays on the terminal and goes on, and shows of each rule how its size and its\nmetrics went in the last minutes, what was decided last, and until when something holds.\nWith -w and -json it writes a document a line.",
		RunE: func(cmd *cobra.Command, argv []string) error {
			f.Path = path(argv)
			s, err := a.locate(f)
			if err != nil {
				return err
			}
			defer s.close()
			if err := s.open(cmd.Context(), false); err != nil {
				return err
			}
			if err := s.needState(); err != nil {
				return err
			}
			switch {
			case watch && asJSON:
				return s.stream(cmd.Context(), interval)
			case watch:
				return a.watch(cmd.Context(), &livePage{session: s}, interval)
			}
			st, err := s.status(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				a.writeJSON(view.StatusJSON(st))
				return nil
			}
			fmt.Fprint(a.out, view.Status(st, a.now(), a.outStyle()))
			return nil
		},
	}
	f.Register(c.Flags(), false)
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	c.Flags().BoolVarP(&watch, "watch", "w", false, "stay, and show it again and again")
	c.Flags().DurationVar(&interval, "interval", time.Second, "with -w: how often")
	return c
}

// status observes everything that is recorded.
func (s *session) status(ctx context.Context) (view.FlowStatus, error) {
	st := view.FlowStatus{Flow: s.name, Dir: s.dir}
	snap, err := s.store.Snapshot(ctx)
	if err != nil {
		return st, err
	}
	st.Serial, st.Outputs, st.Open, st.Sizes = snap.Serial, snap.Outputs, len(snap.Open), snap.Sizes
	if runs, err := s.store.Runs(ctx, 1); err != nil {
		return st, err
	} else if len(runs) > 0 {
		if err := s.bury(ctx, runs); err != nil {
			return st, err
		}
		st.LastRun = &runs[0]
	}
	if h, err := s.store.Holder(ctx, state.ApplyLock); err == nil && h != nil && runtime.Alive(*h) {
		st.Lock = h
	}
	if c, p := s.controllerStatus(ctx); p != nil {
		v, err := s.store.Version(ctx)
		if err != nil {
			return st, err
		}
		st.Controller, st.ControllerPID = abreast(c, v.Held), p.PID
	}
	found, err := tasks.Observe(ctx, s.set, snap.Objects, runtime.DefaultParallelism)
	if err != nil {
		return st, err
	}
	usage := s.usage(ctx, tasks.Reachable(snap.Objects, found.Observed))
	awake := map[engine.Key]bool{}
	for _, o := range tasks.Reachable(snap.Objects, nil) {
		awake[o.Key()] = true
	}
	for _, o := range snap.Objects {
		if !awake[o.Key()] {
			o.Lifecycle = engine.Suspended // with its machine
		}
		r := view.ResourceStatus{Object: o, Observation: found.Observed[o.Key()]}
		if u, ok := usage[o.Key()]; ok {
			r.Usage = &u
		}
		st.Resources = append(st.Resources, r)
	}
	failing(st.Resources)
	return st, s.unmade(ctx, &st)
}

// unmade adds what the last run was to make and has not, so that those of a group that
// do not exist are seen beside those that do.
func (s *session) unmade(ctx context.Context, st *view.FlowStatus) error {
	if st.LastRun == nil || st.LastRun.Failures == 0 {
		return nil
	}
	made := map[engine.Address]bool{}
	for _, r := range st.Resources {
		made[r.Object.Address] = true
	}
	list, err := s.store.Tasks(ctx, st.LastRun.ID)
	if err != nil {
		return err
	}
	for _, t := range list {
		a := t.Step.Address
		if t.Step.Op != engine.OpCreate || t.State != engine.Failed && t.State != engine.UpstreamFailed || made[a] {
			continue
		}
		r := view.ResourceStatus{Object: engine.Object{Address: a, Gen: t.Step.Gen, Provider: t.Step.Provider}, Unmade: &view.Unmade{State: t.State}}
		if n := len(t.Attempts); n > 0 {
			r.Unmade.Why = t.Attempts[n-1].Err
		}
		st.Resources = append(st.Resources, r)
	}
	slices.SortStableFunc(st.Resources, func(a, b view.ResourceStatus) int { return a.Object.Address.Compare(b.Object.Address) })
	return nil
}

// failing tells replicas what their frontends say of them: a program can run and
// not work.
func failing(rs []view.ResourceStatus) {
	says := map[engine.Address]string{}
	for _, r := range rs {
		if r.Object.Address.Kind != engine.KindBackend {
			continue
		}
		_, replica := r.Object.Address.Membership()
		if st := r.State(); st == "unhealthy" || st == "ejected" && says[replica] == "" {
			says[replica] = st
		}
	}
	for i := range rs {
		rs[i].Fails = says[rs[i].Object.Address]
	}
}

// usage asks the providers what their objects use; one that cannot say is
// passed over, for its objects' states tell why. Of an address, of which a provider
// tells, there may be several objects while a replica is replaced, or kept: each is
// asked for apart from the others.
func (s *session) usage(ctx context.Context, objects []engine.Object) map[engine.Key]providers.Usage {
	all := map[engine.Key]providers.Usage{}
	for _, layer := range layers(objects) {
		p, err := s.set.Get(ctx, layer[0].Provider)
		if err != nil {
			continue
		}
		m, ok := providers.As[providers.Meter](p)
		if !ok {
			continue
		}
		keys := map[engine.Address]engine.Key{}
		for _, o := range layer {
			keys[o.Address] = o.Key()
		}
		some, _ := m.Usage(ctx, layer)
		for _, u := range some {
			if k, ok := keys[u.Address]; ok {
				all[k] = u
			}
		}
	}
	return all
}

// layers parts objects so that those of one layer are of one provider, and of different
// addresses.
func layers(objects []engine.Object) [][]engine.Object {
	type place struct {
		provider string
		nth      int
	}
	var all [][]engine.Object
	at, seen := map[place]int{}, map[engine.Address]int{}
	for _, o := range objects {
		p := place{o.Provider, seen[o.Address]}
		seen[o.Address]++
		i, ok := at[p]
		if !ok {
			i = len(all)
			at[p], all = i, append(all, nil)
		}
		all[i] = append(all[i], o)
	}
	return all
}

// abreast is what a controller told, without the hold that it was in when it last
// looked if the state tells of none any more: it goes on as soon as it looks again.
func abreast(c *api.Status, held string) *api.Status {
	if c == nil || c.Held == "" || held != "" {
		return c
	}
	now := *c
	now.Held, now.Rules, now.Waiting = "", nil, "it is about to take up what was changed last"
	return &now
}
