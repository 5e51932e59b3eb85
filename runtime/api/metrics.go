package api

import (
	"github.com/flowctl/flowctl/engine"
	"github.com/prometheus/client_golang/prometheus"
)

// collector makes metrics of what the controller knows when it is asked.
type collector struct{ source Source }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("flowctl_"+name, help, labels, nil)
}

var (
	up         = desc("up", "1 while the flow can be looked at.")
	evaluated  = desc("evaluations_total", "How often a rule was evaluated.")
	evaluating = desc("evaluation_seconds_total", "What evaluating rules took, with looking at the state before and recording after.")
	size       = desc("size", "How many there are, and are about to be.", "rule", "target")
	wanted     = desc("size_wanted", "What was asked for, before limiters.", "rule", "target")
	least      = desc("size_min", "The least size.", "rule", "target")
	greatest   = desc("size_max", "The greatest size.", "rule", "target")
	metric     = desc("metric", "The value of a metric of a rule at its last evaluation.", "rule", "metric")
	missing    = desc("metric_missing", "1 while a metric cannot be measured.", "rule", "metric")
	cores      = desc("cpu_cores", "Processor cores in use.", "address")
	memory     = desc("memory_bytes", "Memory in use.", "address")
	diskIn     = desc("disk_read_bytes_total", "What a machine has read from its disks since it started.", "address")
	diskOut    = desc("disk_written_bytes_total", "What a machine has written to its disks since it started.", "address")
	netIn      = desc("network_received_bytes_total", "What a machine has received since it started.", "address")
	netOut     = desc("network_sent_bytes_total", "What a machine has sent since it started.", "address")
	restarts   = desc("restarts_total", "How often it was started again.", "address")
	requests   = desc("requests_total", "Requests since the data plane began.", "address")
	failed     = desc("requests_failed_total", "Those of them that failed.", "address")
	inFlight   = desc("requests_in_flight", "Requests now.", "address")
	latency    = desc("request_seconds_p95", "The 95th percentile of the last seconds.", "address")
)

// Describe implements prometheus.Collector. Which metrics there are depends on the
// flow, so none is described.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := c.source.Status()
	gauge(up, one(s.Trouble == ""))
	ch <- prometheus.MustNewConstMetric(evaluated, prometheus.CounterValue, float64(s.Work.Evaluations))
	ch <- prometheus.MustNewConstMetric(evaluating, prometheus.CounterValue, s.Work.Took.Seconds())
	for _, r := range s.Rules {
		target := r.Target.String()
		gauge(size, float64(r.Decision.From), r.Rule, target)
		gauge(wanted, float64(r.Decision.Want), r.Rule, target)
		gauge(least, float64(r.Min), r.Rule, target)
		gauge(greatest, float64(r.Max), r.Rule, target)
		for _, w := range r.Decision.Wishes {
			gauge(missing, one(w.Missing), r.Rule, w.Name)
			if !w.Missing {
				gauge(metric, w.Value, r.Rule, w.Name)
			}
		}
	}
	for a, u := range c.source.Usage() {
		count := func(d *prometheus.Desc, n uint64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), a.String())
		}
		switch a.Kind {
		case engine.KindFrontend, engine.KindBackend:
			count(requests, u.Requests)
			count(failed, u.Failed)
			gauge(inFlight, float64(u.InFlight), a.String())
			gauge(latency, u.P95.Seconds(), a.String())
		default:
			gauge(cores, u.CPUCores, a.String())
			gauge(memory, float64(u.MemoryBytes), a.String())
			count(restarts, uint64(max(0, u.Restarts)))
			if u.IO != nil {
				count(diskIn, u.IO.DiskRead)
				count(diskOut, u.IO.DiskWritten)
				count(netIn, u.IO.NetworkReceived)
				count(netOut, u.IO.NetworkSent)
			}
		}
	}
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
