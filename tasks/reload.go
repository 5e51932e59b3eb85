package tasks

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/zclconf/go-cty/cty"
)

// reload makes the files that an update has put into a replica take effect.
func (r *Runner) reload(ctx context.Context, p providers.Provider, c *engine.Change, o engine.Object) error {
	if c.Reload == nil || o.Gen != c.Prior.Gen {
		return nil
	}
	do, possible := engine.ReloadOf(filesOf(c.Prior.Value), filesOf(o.Value))
	switch {
	case !possible:
		return providers.Permanent(errors.New("now that everything is known, its files need a new replica: run apply again"))
	case do.Restart && !c.Reload.Restart:
		return providers.Permanent(errors.New("now that everything is known, its files need a restart, which was not planned: run apply again"))
	case do.Restart:
		return order(ctx, p, engine.OpRestart, o)
	}
	for _, name := range do.Signals {
		s, ok := providers.As[providers.Signaler](p)
		if !ok {
			return providers.Permanent(errors.New("its provider cannot send signals"))
		}
		if err := s.Signal(ctx, o, name); err != nil {
			return fmt.Errorf("send it %s for its new files: %w", name, err)
		}
	}
	for _, argv := range do.Execs {
		if err := command(ctx, p, o, argv); err != nil {
			return providers.Permanent(fmt.Errorf("make it take over its new files: %w", err))
		}
	}
	return nil
}

// notTakenOver stands, in what is recorded, for the content of a file that a replica
// has and whose program may not know it.
const notTakenOver = "(the replica has not taken over what was in it)"

// unreloaded is the result for a replica that has new files and may not know it: of
// those nothing is recorded that could be wanted, so that the next apply puts them in
// and tells of them again, also if it wants what was there before.
func (r *Runner) unreloaded(c *engine.Change, o engine.Object) engine.Result {
	o.Value = untaken(c.Prior.Value, o.Value, o.Value)
	return doubtful(o)
}

// untaken is a replica's value with the files of is, of which those that are other than
// in was may not have been taken over.
func untaken(was, is, value cty.Value) cty.Value {
	v := engine.MustDecode[engine.Replica](is)
	for _, f := range engine.ChangedFiles(filesOf(was), v.Files) {
		i := slices.IndexFunc(v.Files, func(w engine.File) bool { return w.Path == f.Path })
		v.Files[i].Content = notTakenOver
	}
	return engine.With(value, map[string]cty.Value{"file": engine.Encode(v).GetAttr("file")})
}

func filesOf(v cty.Value) []engine.File { return engine.MustDecode[engine.Replica](v).Files }

// checkReload finds out while a plan is made whether a provider can do what files
// ask for.
func checkReload(p providers.Provider, c *engine.Change) engine.Diagnostics {
	if c.Reload == nil {
		return nil
	}
	missing := ""
	if _, ok := providers.As[providers.Restarter](p); !ok && c.Reload.Restart {
		missing = "restart"
	}
	if _, ok := providers.As[providers.Signaler](p); !ok && len(c.Reload.Signals) > 0 {
		missing = "signal"
	}
	if _, ok := providers.As[providers.Execer](p); !ok && len(c.Reload.Execs) > 0 {
		missing = "exec"
	}
	if missing == "" {
		return nil
	}
	return engine.Diagnostics{{
		Summary: "Not possible with this provider", Address: c.Address,
		Detail: fmt.Sprintf("%s has files with on_change = %q, and its provider %s cannot do that. Write another on_change.", c.Address, missing, c.Provider),
	}}
}
