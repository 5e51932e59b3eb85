package engine

import "slices"

// The strategies of an update.
const (
	Rolling   = "rolling"
	BlueGreen = "blue_green"
	Canary    = "canary"
)

// UpdatePolicy says how the replicas of a function are replaced by those of a new
// revision.
type UpdatePolicy struct {
	Strategy       string   `flow:"strategy" enum:"rolling|blue_green|canary" default:"rolling" doc:"One replica after the other (rolling), a full second set to which the frontends switch at once (blue_green), or growing shares of the requests that are judged (canary)."`
	MaxSurge       int      `flow:"max_surge" min:"0" max:"1000" default:"1" doc:"How many replicas more than wanted may run, where the machines have room: the new one starts before the old one leaves."`
	MaxUnavailable int      `flow:"max_unavailable" min:"0" max:"1000" default:"1" doc:"How many replicas fewer than wanted may run while there is no room for a surge."`
	Keep           Duration `flow:"keep" min:"0s" default:"10m" doc:"For blue_green: how long the old set is kept, without requests, so that a rollback is instant. The controller stops it after that, or the next apply, or one that changes the function; 0s stops it at once."`
	Step           []int    `flow:"step" doc:"For canary: the shares of the requests, in percent and rising, that the new replicas get one after the other; 10 and 50, if not set."`
	Pause          Duration `flow:"pause" min:"0s" default:"30s" doc:"For canary: how long each step is watched before it is judged."`
	MinRequests    int      `flow:"min_requests" min:"1" max:"1000000000" default:"100" doc:"For canary: how many answers of the new replicas a verdict takes. Fewer are no failure, but the verdict says so."`
	MaxErrorRate   float64  `flow:"max_error_rate" min:"0" max:"100" default:"1" doc:"For canary: how many percent of the requests to the new replicas may fail beyond what fails on the old ones. A request fails with a status from 500, without an answer in time, or when its connection is lost."`
	MaxSlower      float64  `flow:"max_slower" min:"0" max:"1000" default:"1.5" doc:"For canary: how many times as long as on the old replicas the 95th percentile of the latency may be; 0 means that it does not matter. Differences below 10ms never do."`
	Rollback       bool     `flow:"rollback" default:"true" doc:"Goes back to the last good revision by itself when a new replica does not become healthy or the verdict on a canary is bad."`
}

// DefaultUpdate is the policy of a function without an update block.
var DefaultUpdate = UpdatePolicy{Strategy: Rolling, MaxSurge: 1, MaxUnavailable: 1, Rollback: true}

// Steps are the shares of a canary, rising.
func (u UpdatePolicy) Steps() []int {
	if len(u.Step) == 0 {
		return []int{10, 50}
	}
	return u.Step
}

// Rollout is how a plan brings a new revision of a function in, where that is more
// than one replica after the other: old and new ones run side by side, and steps of
// their own move the requests.
type Rollout struct {
	Function Address
	Strategy string    // BlueGreen or Canary
	Back     bool      // the old revision comes back
	Tight    bool      // of a canary: there is no room beside all old replicas, so that those that it takes over from leave at each stage, not after the last
	Replicas []Address // that have a new object beside an old one, the canaries first
	Fronts   []Front
	Stages   []Stage // of a canary
	Old      []Key   // replicas that leave, or are kept
	Kept     []Key   // replicas and backends that are kept for a rollback
	Policy   UpdatePolicy
}

// Front is what a rollout moves in one frontend.
type Front struct {
	Frontend Address
	Provider string
	New      []Address // backends, of the new revision
	Old      []Key     // backends, of the old one
}

// Stage is one step of a canary.
type Stage struct {
	Percent  int // of the requests
	Replicas int // new ones that share them: the first of Rollout.Replicas
}

// Keeps reports whether an object is kept for a rollback.
func (r Rollout) Keeps(k Key) bool { return slices.Contains(r.Kept, k) }

// Rollout returns the rollout of a function, or nil.
func (p Plan) Rollout(function Address) *Rollout {
	for i := range p.Rollouts {
		if p.Rollouts[i].Function == function {
			return &p.Rollouts[i]
		}
	}
	return nil
}
