package telemetry_test

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime/telemetry"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// receiver is a collector that keeps what it gets.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	spans    []*spans.Span
	resource map[string]string
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{resource: map[string]string{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		var got collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &got); err != nil || req.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", req.URL, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, rs := range got.ResourceSpans {
			for _, a := range rs.Resource.Attributes {
				r.resource[a.Key] = a.Value.GetStringValue()
			}
			for _, ss := range rs.ScopeSpans {
				r.spans = append(r.spans, ss.Spans...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(r.Close)
	return r
}

// find returns the spans of a name, the earliest first.
func (r *receiver) find(name string) []*spans.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []*spans.Span
	for _, s := range r.spans {
		if s.Name == name {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b *spans.Span) int { return cmp.Compare(a.StartTimeUnixNano, b.StartTimeUnixNano) })
	return found
}

func attributes(s *spans.Span) map[string]any {
	all := map[string]any{}
	for _, a := range s.Attributes {
		switch v := a.Value; {
		case v.GetStringValue() != "":
			all[a.Key] = v.GetStringValue()
		default:
			all[a.Key] = v.GetIntValue()
		}
	}
	return all
}

// A run is a span, and each attempt of a task one beneath it, with the times, the
// words and the errors of the run itself.
func TestRunsAndAttemptsAreSpans(t *testing.T) {
	r := newReceiver(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", r.URL)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=lab")
	env := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": r.URL, "TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	getenv := func(name string) string { return env[name] }
	if ok, why := telemetry.Wanted(getenv); !ok || why != "" {
		t.Fatalf("not wanted: %s", why)
	}
	tracer, err := telemetry.Start(t.Context(), telemetry.Options{Flow: "shop", Version: "1.2", Getenv: getenv, Log: slog.New(slog.DiscardHandler), Parent: true})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	web := engine.Step{ID: 0, Op: engine.OpCreate, Address: engine.Addr(engine.KindFunction, "web").At(0), Phase: engine.Deploy, Provider: "docker"}
	node := engine.Step{ID: 1, Op: engine.OpDelete, Address: engine.Addr(engine.KindVM, "node").At(0), Phase: engine.Provision, Provider: "libvirt"}
	lost := engine.Step{ID: 2, Op: engine.OpCreate, Address: engine.Addr(engine.KindFunction, "lost").At(0), Phase: engine.Deploy, Provider: "docker"}
	event, end := tracer.Run(engine.RunInfo{ID: 7, Command: "apply", Started: at(0), Steps: 2, User: "ops"})
	for _, e := range []engine.Event{
		{At: at(1), Step: web, State: engine.Running, Attempt: 1},
		{At: at(1), Step: lost, State: engine.Running, Attempt: 1},
		{At: at(2), Step: web, State: engine.Running, Attempt: 1, Note: "pulling"},
		{At: at(3), Step: web, State: engine.Retrying, Attempt: 1, Err: errors.New("no such image"), Wait: time.Second},
		{At: at(4), Step: web, State: engine.Running, Attempt: 2},
		{At: at(6), Step: web, State: engine.Done, Attempt: 2},
		{At: at(6), Step: node, State: engine.Running, Attempt: 1},
		{At: at(7), Step: node, State: engine.Failed, Attempt: 1, Err: errors.New("it is busy")},
		{At: at(7), Step: node, State: engine.Failed, Attempt: 1, Err: errors.New("told again")},
	} {
		event(e)
	}
	end(engine.RunInfo{ID: 7, Command: "apply", Status: engine.RunFailed, Failures: 1, Started: at(0), Ended: at(8)})
	if err := tracer.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}

	runs, webs, nodes := r.find("flowctl apply"), r.find("create function.web[0]"), r.find("delete vm.node[0]")
	if len(runs) != 1 || len(webs) != 2 || len(nodes) != 1 || len(r.find("create function.lost[0]")) != 1 {
		t.Fatalf("%d spans: %v", len(r.spans), r.spans)
	}
	run := runs[0]
	if a := attributes(run); a["flowctl.flow"] != "shop" || a["flowctl.run"] != int64(7) || a["flowctl.status"] != "failed" || run.Status.Code != spans.Status_STATUS_CODE_ERROR {
		t.Errorf("the run: %v", run)
	}
	if run.StartTimeUnixNano != uint64(at(0).UnixNano()) || run.EndTimeUnixNano != uint64(at(8).UnixNano()) {
		t.Errorf("the run's times: %v", run)
	}
	if string(run.ParentSpanId) != "\xb7\xad\x6b\x71\x69\x20\x33\x31" {
		t.Errorf("its parent is %x", run.ParentSpanId)
	}
	for i, s := range webs {
		a := attributes(s)
		if string(s.ParentSpanId) != string(run.SpanId) || a["flowctl.address"] != "function.web[0]" || a["flowctl.phase"] != "deploy" ||
			a["flowctl.provider"] != "docker" || a["flowctl.attempt"] != int64(i+1) {
			t.Errorf("attempt %d: %v", i+1, s)
		}
	}
	if s := webs[0]; s.Status.GetMessage() != "no such image" || len(s.Events) != 1 || s.EndTimeUnixNano != uint64(at(3).UnixNano()) {
		t.Errorf("the attempt that failed: %v", s)
	}
	if s := webs[1]; s.Status.GetCode() == spans.Status_STATUS_CODE_ERROR || s.StartTimeUnixNano != uint64(at(4).UnixNano()) {
		t.Errorf("the one that did not: %v", s)
	}
	if s := nodes[0]; s.Status.GetMessage() != "it is busy" {
		t.Errorf("the task that failed: %v", s)
	}
	if r.resource["service.name"] != "flowctl" || r.resource["service.version"] != "1.2" || r.resource["deployment.environment"] != "lab" {
		t.Errorf("the resource: %v", r.resource)
	}
}

// Only who names an endpoint gets traces, and only over what is spoken here.
func TestWhatTheEnvironmentAsksFor(t *testing.T) {
	for text, want := range map[string]bool{
		"":                                     false,
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://x": true,
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://x":                                      true,
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://x OTEL_SDK_DISABLED=true":                      false,
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://x OTEL_TRACES_EXPORTER=none":                   false,
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://x OTEL_EXPORTER_OTLP_PROTOCOL=grpc":            false,
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://x OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf":   true,
		"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://x OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=": false,
	} {
		got, why := telemetry.Wanted(func(name string) string {
			for _, pair := range strings.Fields(text) {
				if k, v, _ := strings.Cut(pair, "="); k == name {
					return v
				}
			}
			return ""
		})
		if got != want || (why != "") != strings.Contains(text, "grpc") {
			t.Errorf("%q: %t, %q", text, got, why)
		}
	}
}
