package engine

// Scaling is the value of a scaling block: scaling.NAME. Package rule makes of it
// what decides.
type Scaling struct {
	Target    Address       `flow:"target,required,replace" refs:"function|vm" doc:"The function or vm whose size it owns."`
	Min       int           `flow:"min,required" min:"0" max:"1000000" doc:"The least size. 0 lets a function rest when nothing is asked of it."`
	Max       int           `flow:"max,required" min:"0" max:"1000000" doc:"The greatest size."`
	Headroom  int           `flow:"headroom" min:"0" max:"1000000" default:"0" doc:"For machines: free slots, each as large as the largest replica, that are kept ready."`
	Every     Duration      `flow:"every" min:"1s" max:"5m" default:"1s" doc:"Time between evaluations."`
	Mode      string        `flow:"mode" enum:"on|up_only|dry_run|off" default:"on" doc:"Whether it acts, only grows, only says what it would do, or rests (and still says what it would do)."`
	Metrics   []Metric      `flow:"metric" doc:"What is measured, and how much of it one replica should have. The metric that asks for the most wins."`
	Steps     []ScalingStep `flow:"step" doc:"What to do when a metric has been in a range for some time."`
	Formula   string        `flow:"formula" doc:"How many replicas are wanted, as an expression, instead of the most that a metric asks for: the name of a metric is its value (null while it is missing), wants.NAME is how many replicas it asks for, replicas is how many there are. Such as \"max(wants.rps, coalesce(queue, 0) / 20)\"."`
	Schedules []Schedule    `flow:"schedule" doc:"Times with other bounds."`
	Up        *ScalingUp    `flow:"up" doc:"How fast it grows."`
	Down      *ScalingDown  `flow:"down" doc:"How fast it shrinks, and what goes first."`
	Forecast  *Forecast     `flow:"forecast" doc:"Grows ahead of a rising load. It never makes anything smaller."`
	Zero      *ScalingZero  `flow:"zero" doc:"When a function with min = 0 rests."`
	Budgets   []Budget      `flow:"budget" doc:"For machines: how many may be emptied at once. The strictest that is in force holds."`
}

// Metric is one metric of a scaling block.
type Metric struct {
	Name        string         `flow:"name,label" doc:"rps, in_flight, latency, error_rate, queue, cpu, memory, or a name of your own with a source."`
	Source      string         `flow:"source" enum:"frontend|replica|machine|prometheus|http|exec" doc:"Where it comes from; known from the name for the built-in ones. With machine, cpu and memory are those of the least loaded of the machines that the replicas are on: while they are high, all machines are full."`
	Endpoint    string         `flow:"endpoint" doc:"Where a source answers: the URL of a Prometheus server, or of a JSON document (http)."`
	Query       string         `flow:"query" doc:"What to ask the source: a PromQL expression (prometheus), a path into the JSON document such as \"queues.0.depth\" (http), or a command line whose output is a number (exec)."`
	Target      float64        `flow:"target" min:"0" doc:"How much of it one replica should have."`
	Utilisation float64        `flow:"utilisation" min:"0.01" max:"1" doc:"How much of a replica's limit should be in use, for cpu and memory."`
	Value       string         `flow:"value" enum:"total|average" doc:"Whether it is a sum that replicas share, or an average that falls as replicas are added; known from the name for the built-in ones (latency, error_rate, cpu and memory are averages), total for others."`
	Window      Duration       `flow:"window" min:"1s" max:"1h" default:"30s" doc:"The time that one value is taken over."`
	Offset      Duration       `flow:"offset" min:"0s" max:"1h" default:"0s" doc:"How long ago the window ends, for sources that lag."`
	Aggregate   string         `flow:"aggregate" enum:"avg|max|p95|last" default:"avg" doc:"How the samples of the window become one value."`
	Activate    float64        `flow:"activate" min:"0" default:"0" doc:"With min = 0: the value above which a function that rests is woken."`
	Burst       *MetricBurst   `flow:"burst" doc:"A short window that sees a sudden rise. Without the block its defaults hold, for totals."`
	Missing     *MetricMissing `flow:"missing" doc:"What happens when it cannot be measured. Until then, and unless this says otherwise, nothing shrinks."`
}

// MetricBurst is a short window beside that of the metric.
type MetricBurst struct {
	Window Duration `flow:"window" min:"1s" max:"5m" default:"3s" doc:"The short window."`
	Factor float64  `flow:"factor" min:"0" max:"100" default:"2" doc:"The burst begins when the short window asks for this many times the replicas that there are; 0 switches it off. In a burst nothing shrinks, and the limit and stabilise of up do not hold."`
	Hold   Duration `flow:"hold" min:"0s" max:"1h" default:"1m" doc:"How long after its last sign the burst ends."`
}

// MetricMissing says what a metric that cannot be measured stands for.
type MetricMissing struct {
	After    Duration `flow:"after" min:"0s" max:"1h" default:"1m" doc:"How long it may be missing before then holds."`
	Then     string   `flow:"then" enum:"hold|max|ignore" default:"hold" doc:"Keep the size unless others ask for more; go to max; or let the other metrics decide without it. With nothing measured at all, nothing shrinks."`
	Replicas int      `flow:"replicas" min:"0" max:"1000000" default:"0" doc:"Have at least so many replicas then."`
}

// ScalingStep changes the size when a metric has been in a range for some time.
type ScalingStep struct {
	Name    string   `flow:"name,label" doc:"What it is called in decisions."`
	Metric  string   `flow:"metric,required" doc:"The name of a metric of the block."`
	Above   float64  `flow:"above" min:"0" default:"0" doc:"The range begins here."`
	Below   float64  `flow:"below" min:"0" default:"0" doc:"The range ends before this; 0 means that it has no end."`
	For     Duration `flow:"for" min:"0s" max:"1h" default:"1m" doc:"How long the metric must have been in the range; then the step acts, and again each time this has passed once more."`
	Share   float64  `flow:"share" min:"0.01" max:"1" default:"1" doc:"The share of the samples in that time that must be in the range."`
	Add     int      `flow:"add" min:"-1000000" max:"1000000" default:"0" doc:"How many replicas more, or, if negative, fewer."`
	Percent float64  `flow:"percent" min:"-100" max:"10000" default:"0" doc:"How many percent more (rounded up) or fewer, instead of add."`
	To      int      `flow:"to" min:"0" max:"1000000" default:"0" doc:"The size to go to, instead of add."`
}

// Schedule is a time with other bounds.
type Schedule struct {
	Name     string   `flow:"name,label" doc:"What it is called in decisions."`
	Start    string   `flow:"start,required" doc:"When it begins, as cron writes it: minute, hour, day of the month, month, day of the week."`
	End      string   `flow:"end" doc:"When it ends, written the same way."`
	Duration Duration `flow:"duration" min:"1m" max:"744h" doc:"How long it lasts, instead of end."`
	Timezone string   `flow:"timezone" default:"UTC" doc:"Where start and end are read, such as \"Europe/Vienna\"."`
	Min      int      `flow:"min" min:"0" max:"1000000" doc:"The least size meanwhile; that of the block, if not set."`
	Max      int      `flow:"max" min:"0" max:"1000000" doc:"The greatest size meanwhile; that of the block, if not set."`
}

// ScalingUp says how a size grows.
type ScalingUp struct {
	Tolerance float64  `flow:"tolerance" min:"0" max:"1" default:"0.1" doc:"How far above its target a metric may be, as a share of it, before anything grows."`
	Stabilise string   `flow:"stabilise" default:"0s" doc:"It grows to the least that was wanted in this time."`
	Cooldown  Duration `flow:"cooldown" min:"0s" max:"1h" default:"0s" doc:"Time after it grew in which it does not grow again."`
	Limit     *UpLimit `flow:"limit" doc:"The most by which it grows in a time."`
}

// UpLimit is the most by which a size grows in a time: the larger of replicas
// and percent.
type UpLimit struct {
	Replicas int      `flow:"replicas" min:"0" max:"1000000" default:"4" doc:"By number."`
	Percent  float64  `flow:"percent" min:"0" max:"100000" default:"100" doc:"By percent of the size at the beginning of the time. The larger of both holds; with both 0 there is no limit."`
	Per      Duration `flow:"per" min:"1s" max:"1h" default:"15s" doc:"The time."`
}

// ScalingDown says how a size shrinks.
type ScalingDown struct {
	Tolerance float64    `flow:"tolerance" min:"0" max:"1" default:"0.1" doc:"How far below its target a metric may be, as a share of it, before anything shrinks."`
	Stabilise string     `flow:"stabilise" default:"auto" doc:"It shrinks to the most that was wanted in this time; auto is twice the time that it takes to start a replica and to drain one, and 1m at least."`
	Cooldown  Duration   `flow:"cooldown" min:"0s" max:"1h" default:"15s" doc:"Time after any change in which it does not shrink. It makes few larger steps of many small ones."`
	Limit     *DownLimit `flow:"limit" doc:"The most by which it shrinks in a time."`
	Victim    string     `flow:"victim" enum:"newest|oldest|idle|least_busy" default:"newest" doc:"Which replicas go first; those that do not run go before all others."`
	Protect   string     `flow:"protect" enum:"none|busy" default:"none" doc:"Whether replicas with requests in flight are left alone until they have none."`
}

// DownLimit is the most by which a size shrinks in a time.
type DownLimit struct {
	Replicas int      `flow:"replicas" min:"0" max:"1000000" default:"0" doc:"By number."`
	Percent  float64  `flow:"percent" min:"0" max:"100" default:"50" doc:"By percent of the size at the beginning of the time. The larger of both holds; with both 0 there is no limit."`
	Per      Duration `flow:"per" min:"1s" max:"1h" default:"1m" doc:"The time."`
}

// Forecast extrapolates metrics.
type Forecast struct {
	Lookahead string   `flow:"lookahead" default:"auto" doc:"How far ahead; auto is the time that it takes to start a replica, and one evaluation."`
	Over      Duration `flow:"over" min:"10s" max:"1h" default:"2m" doc:"The time that the trend is taken from."`
	Season    Duration `flow:"season" min:"0s" max:"168h" default:"0s" doc:"After how long the load comes again, such as \"24h\": what there was so long ago, looking ahead from then, is expected again. 0 means that it does not."`
}

// ScalingZero says when a function rests.
type ScalingZero struct {
	After Duration `flow:"after" min:"0s" max:"24h" default:"5m" doc:"How long nothing must have been asked of it."`
}

// Budget limits how many machines are emptied at once.
type Budget struct {
	Percent  float64  `flow:"percent" min:"0" max:"100" default:"10" doc:"The most machines that are missing at once, in percent, rounded up; 0 allows none."`
	Machines int      `flow:"machines" min:"0" max:"1000000" default:"0" doc:"By number, instead of percent."`
	Start    string   `flow:"start" doc:"When it begins to hold, as cron writes it; always, if not set."`
	Duration Duration `flow:"duration" min:"1m" max:"744h" doc:"How long it holds then."`
	Timezone string   `flow:"timezone" default:"UTC" doc:"Where start is read."`
}
