package observe

import (
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/rule"
)

// Watched is a rule with what measuring needs to know besides it.
type Watched struct {
	Rule    rule.Rule
	Metrics []engine.Metric // of its block
	Limit   engine.Capacity // of one replica, for metrics that are a share of it
}

// metric is one metric of one rule.
type metric struct {
	rule.Metric
	rule     string // "" for what no rule asks for
	function engine.Address
	source   string // "" for what providers measure
	machine  bool   // of the machines under the replicas
	endpoint string
	query    string
	every    time.Duration
	limit    engine.Capacity
}

// Back is how far back a rule looks.
func (w Watched) Back() time.Duration {
	back := time.Duration(0)
	for _, m := range metricsOf(w) {
		back = max(back, m.keep(w))
	}
	return back
}

// keep is how long samples of a metric are needed: as long as anything in the
// rule looks back.
func (m metric) keep(w Watched) time.Duration {
	back := m.Window
	for _, s := range w.Rule.Steps {
		if s.Metric == m.Name {
			back = max(back, s.For.Std())
		}
	}
	if w.Rule.Ahead != nil {
		back = max(back, w.Rule.Ahead.Over)
	}
	return m.Offset + back + m.every
}

func metricsOf(w Watched) []metric {
	var all []metric
	for i, m := range w.Rule.Metrics {
		from := w.Metrics[i]
		one := metric{Metric: m, rule: w.Rule.Name, function: w.Rule.Target, every: w.Rule.Every, limit: w.Limit, query: from.Query, endpoint: from.Endpoint}
		switch from.Source {
		case "prometheus", "http", "exec":
			one.source = from.Source
		case "machine":
			one.machine = true
		}
		all = append(all, one)
	}
	if !slices.ContainsFunc(all, func(m metric) bool { return m.Name == wholeLoad }) { // for who records it
		all = append(all, metric{Metric: rule.Metric{Name: wholeLoad}, function: w.Rule.Target})
	}
	return all
}

// wholeLoad is the metric that traces are made of.
const wholeLoad = "rps"
