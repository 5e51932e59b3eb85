package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime/control"
	"github.com/flowctl/flowctl/runtime/decide"
	"github.com/flowctl/flowctl/runtime/simulate"
	"github.com/flowctl/flowctl/state"
)

// oneTier is a function behind a frontend; the first %s stands for the rest of its rule,
// the second for machines.
const oneTier = `
flow "test" {}
function "web" {
  on    = vm.node
  exec  = ["x"]
  cpu   = 1
  drain = "0s"
}
frontend "www" {
  listen = "127.0.0.1:0"
  to     = function.web
}
scaling "web" {
  target = function.web
  %s
}
vm "node" {
  cpus   = 64
  memory = "4GiB"
  %s
}
`

// traffic is a load by the second, from when the controller begins: requests a second
// and cores. What is no number cannot be measured.
type traffic struct {
	l     *lab
	begin time.Time
	rates []float64
}

// at is the load now.
func (tr *traffic) at() float64 {
	i := int(time.Since(tr.begin) / time.Second)
	return tr.rates[max(0, min(i, len(tr.rates)-1))]
}

// requests are those that came up to now.
func (tr *traffic) requests() (n uint64) {
	for i := range min(len(tr.rates), int(time.Since(tr.begin)/time.Second)+1) {
		if x := tr.rates[i]; !math.IsNaN(x) {
			n += uint64(x)
		}
	}
	return n
}

// loaded is a simulated provider that measures this traffic.
type loaded struct {
	providers.Provider
	*traffic
}

func (p loaded) Unwrap() providers.Provider { return p.Provider }

// Usage takes a moment, so that no reading comes at the very instant of a beat.
func (p loaded) Usage(ctx context.Context, objects []engine.Object) ([]providers.Usage, error) {
	select {
	case <-time.After(100 * time.Millisecond):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	load := p.at()
	if math.IsNaN(load) {
		return nil, errors.New("nobody can say")
	}
	p.l.ask(load)
	all, err := p.Provider.(metered).Usage(ctx, objects)
	for _, o := range objects {
		if o.Address.Kind == engine.KindFrontend {
			all = append(all, providers.Usage{Address: o.Address, Requests: p.requests()})
		}
	}
	return all, err
}

// quiet is how long a load stays at first: longer than any window of the rules.
const quiet = 75 * time.Second

// levels is a load that jumps every few seconds, and rests now and then.
func levels(r *rand.Rand, first, most float64, length time.Duration) []float64 {
	all := slices.Repeat([]float64{first}, int(quiet/time.Second))
	for len(all) < int(length/time.Second) {
		level := math.Floor(r.Float64() * most)
		if r.IntN(3) == 0 {
			level = first
		}
		all = append(all, slices.Repeat([]float64{level}, 3+r.IntN(60))...)
	}
	return all[:int(length/time.Second)]
}

// act is one change of a size.
type act struct {
	at  time.Duration // in whole seconds
	why string
}

func (a act) String() string { return fmt.Sprintf("%v %s", a.at, a.why) }

// acted is what was done about a rule.
func acted(decisions []decide.Decision, begin time.Time) (all []act) {
	slices.SortStableFunc(decisions, func(a, b decide.Decision) int { return a.At.Compare(b.At) })
	for _, d := range decisions {
		all = append(all, act{d.At.Sub(begin).Truncate(time.Second), fmt.Sprintf("%s %d -> %d: %s", d.Rule, d.From, d.To, d.Why)})
	}
	return slices.Compact(all) // one that was carried out is recorded again, with its run
}

func lines(all []act) string {
	text := fmt.Sprintf("%d acts", len(all))
	for _, a := range all {
		text += "\n\t" + a.String()
	}
	return text
}

var until = regexp.MustCompile(` until [0-9:]+`)

// same reports whether two say the same. While nothing is measured, evaluations follow
// another beat, and windows that end meanwhile do so up to a second sooner or later.
func same(gaps bool) func(a, b act) bool {
	return func(a, b act) bool {
		if gaps {
			return until.ReplaceAllString(a.why, "") == until.ReplaceAllString(b.why, "") && (a.at-b.at).Abs() <= time.Second
		}
		return a == b
	}
}

// live lists what the controller has done.
func (l *lab) live(rule string, begin time.Time) []act {
	list, err := l.store.Decisions(l.t.Context(), rule, time.Time{}, 100_000)
	if err != nil {
		l.t.Fatal(err)
	}
	var all []decide.Decision
	for _, x := range list {
		var d decide.Decision
		if err := json.Unmarshal(x.Body, &d); err != nil {
			l.t.Fatal(err)
		}
		if d.Act {
			all = append(all, d)
		}
	}
	return acted(all, begin)
}

// recorded is the load as the state has it: what flowctl record writes.
func (l *lab) recorded(metric string, begin time.Time) func(time.Duration) float64 {
	all, err := l.store.Samples(l.t.Context(), state.Span{Series: state.Series{Of: web.String(), Metric: metric}, Step: state.Second})
	if err != nil {
		l.t.Fatal(err)
	}
	loads := map[time.Duration]float64{}
	for _, x := range all {
		loads[x.At.Sub(begin)] = x.Mean * float64(max(1, x.Units)) // of an average, the sum
	}
	return func(t time.Duration) float64 {
		if v, ok := loads[t]; ok {
			return v
		}
		return math.NaN()
	}
}

// What a simulation of a recorded load decides is what the controller decided live, at
// the same instants, with the same reasons: about replicas, and about machines.
func TestSimulatedAsLive(t *testing.T) {
	length, seeds := 8*time.Minute, uint64(1)
	if os.Getenv("FLOWCTL_TEST_EVERY_POINT") != "" {
		length, seeds = 15*time.Minute, 20
	}
	few := "slots = 4\n}\nscaling \"node\" {\n target = vm.node\n min = 1\n max = 5\n headroom = 1"
	for _, c := range []struct {
		name, rule, machines string
		metric               string // rps if empty
		capacity             float64
		boot                 time.Duration // of machines
		first, most          float64
		gaps                 bool // there are times in which nobody can say
	}{
		{name: "a target", rule: "min = 1\n max = 12\n metric \"rps\" {\n target = 50\n }", first: 35, most: 700},
		{name: "seldom", rule: "min = 1\n max = 12\n every = \"5s\"\n metric \"rps\" {\n target = 50\n window = \"10s\"\n }", first: 35, most: 700},
		{name: "a slow rise", rule: `min = 1
			max = 20
			metric "rps" {
			  target = 50
			  window = "10s"
			  aggregate = "max"
			  burst {
			    factor = 0
			  }
			}
			up {
			  stabilise = "10s"
			  cooldown = "7s"
			  limit {
			    replicas = 2
			    percent = 30
			    per = "20s"
			  }
			}
			down {
			  stabilise = "45s"
			  tolerance = 0.2
			  cooldown = "5s"
			  limit {
			    replicas = 1
			    per = "10s"
			  }
			}`, first: 35, most: 900},
		{name: "steps", rule: `min = 1
			max = 10
			every = "2s"
			metric "rps" {
			  window = "5s"
			}
			step "more" {
			  metric = "rps"
			  above = 300
			  for = "10s"
			  add = 2
			}
			step "less" {
			  metric = "rps"
			  below = 100
			  for = "20s"
			  percent = -50
			}
			down {
			  stabilise = "0s"
			}`, first: 35, most: 600},
		{name: "schedules", rule: `min = 1
			max = 12
			metric "rps" {
			  target = 50
			}
			schedule "floor" {
			  start = "2 0 * * *"
			  duration = "2m"
			  min = 6
			}
			schedule "cap" {
			  start = "4 0 * * *"
			  duration = "2m"
			  max = 3
			}`, first: 35, most: 500},
		{name: "missing data", rule: `min = 1
			max = 12
			metric "rps" {
			  target = 50
			  window = "10s"
			  missing {
			    after = "30s"
			    replicas = 4
			  }
			}`, first: 35, most: 400, gaps: true},
		{name: "rest", rule: "min = 0\n max = 8\n metric \"rps\" {\n target = 50\n window = \"5s\"\n activate = 3\n }\n zero {\n after = \"40s\"\n }", first: 0, most: 200},
		{name: "an average", rule: "min = 1\n max = 12\n metric \"cpu\" {\n utilisation = 0.5\n window = \"10s\"\n }", metric: "cpu", capacity: 1, first: 0.4, most: 5},
		{name: "a formula and a forecast", rule: `min = 1
			max = 12
			formula = "max(wants.rps, rps / 40) + 1"
			metric "rps" {
			  target = 50
			}
			forecast {
			  lookahead = "20s"
			}`, first: 0, most: 400},
		{name: "machines that are too few", rule: "min = 1\n max = 12\n metric \"rps\" {\n target = 50\n }", machines: "slots = 4\n count = 3\n}\nfunction \"api\" {\n on = vm.node\n exec = [\"x\"]\n replicas = 4", first: 35, most: 700},
		{name: "machines that follow", rule: "min = 1\n max = 20\n metric \"rps\" {\n target = 50\n }", machines: few, boot: 20 * time.Second, first: 35, most: 900},
		{name: "machines that are quick", rule: "min = 1\n max = 12\n metric \"cpu\" {\n utilisation = 0.5\n }", metric: "cpu", capacity: 1, machines: few, first: 0.4, most: 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range seeds {
				inBubble(t, func(t *testing.T, l *lab) {
					r := rand.New(rand.NewPCG(seed, 0))
					text := fmt.Sprintf(oneTier, c.rule, c.machines)
					l.apply(text)
					after(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
					tr := &traffic{l, time.Now(), levels(r, c.first, c.most, length)}
					if c.gaps {
						for range 4 {
							from := int(quiet/time.Second) + r.IntN(len(tr.rates)-180)
							for i := range 10 + r.IntN(80) {
								tr.rates[from+i] = math.NaN()
							}
						}
					}
					boots := newBooting(c.boot)
					l.wrapIn(func(p providers.Provider) providers.Provider { return loaded{p, tr} })
					if c.boot > 0 {
						l.wrapIn(func(p providers.Provider) providers.Provider { return boots.wrap(loaded{p, tr}) })
					}
					l.beat = control.DefaultBeat
					_, stop := l.serve()
					after(length - time.Second/2)
					stop()

					d, err := desired(text)
					if err != nil {
						t.Fatal(err)
					}
					in, err := simulate.Of(d)
					if err != nil {
						t.Fatal(err)
					}
					metric := c.metric
					if metric == "" {
						metric = "rps"
					}
					in.Load, in.Length = l.recorded(metric, tr.begin), length
					in.Model = simulate.Model{Start: tr.begin, MachineBoot: c.boot, Capacity: c.capacity}
					for _, g := range simulate.Run(in).Groups {
						got, want := acted(g.Decisions, tr.begin), l.live(g.Target.Name, tr.begin)
						if !slices.EqualFunc(got, want, same(c.gaps)) || seed == 0 && len(want) < 3 {
							t.Errorf("seed %d, %s: simulated %s, live %s", seed, g.Target, lines(got), lines(want))
						}
					}
				})
			}
		})
	}
}
