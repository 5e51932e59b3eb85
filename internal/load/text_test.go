package load

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

func sampleTick() Tick {
	return Tick{
		ElapsedS: 12.0004, WantedRPS: 100, RPS: 98.5, InFlight: 4, LagMs: 0.31,
		Counts: Counts{
			Sent: 101, Done: 99, OK: 96, Dropped: 2, Failures: Failures{Total: 3, Connect: 1, Status5xx: 2},
			Replicas: map[string]int64{"web[1]": 49, "web[0]": 50},
		},
		Latency: Latency{P50Ms: 1.25, P90Ms: 2.5, P95Ms: 3, P99Ms: 40.125, MaxMs: 120},
	}
}

func sampleReport() Report {
	t := sampleTick()
	return Report{
		Mode: Sine, ElapsedS: 12.0004, WantedRPS: 100, RPS: 98.5, Counts: t.Counts, Latency: t.Latency,
		PeakInFlight: 17, LagMs: 31.4,
		Errors: []Sample{
			{ElapsedS: 3.21, Kind: "connect", Message: "GET http://127.0.0.1:1/: connection refused"},
			{ElapsedS: 1.5, Kind: "status_5xx", Replica: "web[0]", Message: "GET /: 503 Service Unavailable: starting"},
		},
	}
}

func TestTable(t *testing.T) {
	got := Header() + "\n" + Line(sampleTick()) + "\n" + Line(Tick{}) + "\n"
	const want = `    time   wanted      rps       ok  failed   p50 ms   p95 ms   p99 ms   max ms  flight dropped replicas
   12.0s    100.0     98.5       96       3      1.2      3.0     40.1    120.0       4       2        2  connect 1, status_5xx 2
    0.0s      0.0      0.0        0       0      0.0      0.0      0.0      0.0       0       0        0
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestSummary(t *testing.T) {
	const want = `sine for 12.0 s: wanted 100.0 requests/s, done 98.5
requests  101 sent, 96 ok, 3 failed (connect 1, status_5xx 2), 2 dropped, 0 cut; 17 at once at most
latency   p50 1.2 ms, p90 2.5 ms, p95 3.0 ms, p99 40.1 ms, max 120.0 ms
replicas  web[0]: 50 (50.5 %)
          web[1]: 49 (49.5 %)
note      dropped requests were never sent: the server was slower than the limit of requests in flight allows
note      the driver itself was up to 31 ms late; that is part of the latencies
failures  1.5 s, status_5xx from web[0]: GET /: 503 Service Unavailable: starting
          3.2 s, connect: GET http://127.0.0.1:1/: connection refused
`
	if got := Summary(sampleReport()); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestCSV(t *testing.T) {
	var b bytes.Buffer
	w := NewCSV(&b)
	for _, tick := range []Tick{sampleTick(), {}} {
		if err := w.Write(tick); err != nil {
			t.Fatal(err)
		}
	}
	const want = `t_s,wanted_rps,rps,ok,failed,p50_ms,p95_ms,p99_ms,max_ms,in_flight,dropped,replicas
12.000,100.000,98.500,96,3,1.250,3.000,40.125,120.000,4,2,2
0.000,0.000,0.000,0,0,0.000,0.000,0.000,0.000,0,0,0
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// The keys are an interface: what reads them is outside this module.
func TestJSONKeys(t *testing.T) {
	keys := func(v any) string {
		var m map[string]any
		if err := json.Unmarshal([]byte(mustJSON(t, v)), &m); err != nil {
			t.Fatal(err)
		}
		return strings.Join(slices.Sorted(maps.Keys(m)), " ")
	}
	const counts = "done dropped elapsed_s "
	for name, c := range map[string]struct {
		value any
		want  string
	}{
		"tick":     {sampleTick(), "cut " + counts + "failed in_flight lag_ms max_ms ok p50_ms p90_ms p95_ms p99_ms replicas rps sent wanted_rps"},
		"report":   {sampleReport(), "cut " + counts + "errors failed lag_ms max_ms mode ok p50_ms p90_ms p95_ms p99_ms peak_in_flight replicas rps sent wanted_rps"},
		"failures": {Failures{}, "body connect other reset status_4xx status_5xx timeout total"},
		"sample":   {Sample{}, "elapsed_s kind message replica"},
	} {
		if got := keys(c.value); got != c.want {
			t.Errorf("%s: got  %s\nwant %s", name, got, c.want)
		}
	}
	for k := kindConnect; k < kindCut; k++ {
		if !strings.Contains(keys(Failures{}), k.String()) {
			t.Errorf("kind %s has no counter of its name", k)
		}
	}
}
