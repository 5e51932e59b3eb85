package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Options say who tells.
type Options struct {
	Flow    string
	Version string // of flowctl
	Getenv  func(string) string
	Log     *slog.Logger // is told what could not be sent
	Parent  bool         // runs belong to the trace of whoever started this process, by TRACEPARENT
}

// Tracer makes spans of runs.
type Tracer struct {
	flow     string
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	parent   context.Context
}

// Wanted reports whether the environment asks for traces, and can have them; if not
// though it asks, why is what hinders it.
func Wanted(getenv func(string) string) (wanted bool, why string) {
	pick := func(of string) string {
		if v := getenv("OTEL_EXPORTER_OTLP_TRACES_" + of); v != "" {
			return v
		}
		return getenv("OTEL_EXPORTER_OTLP_" + of)
	}
	if pick("ENDPOINT") == "" || getenv("OTEL_SDK_DISABLED") == "true" {
		return false, ""
	}
	if e := getenv("OTEL_TRACES_EXPORTER"); e != "" && e != "otlp" {
		return false, ""
	}
	if p := pick("PROTOCOL"); p != "" && p != "http/protobuf" {
		return false, fmt.Sprintf("OTEL_EXPORTER_OTLP_PROTOCOL is %s, and flowctl speaks http/protobuf", p)
	}
	return true, ""
}

// Start makes a tracer as the environment asks for it. Stop it, or its last spans
// are lost.
func Start(ctx context.Context, o Options) (*Tracer, error) {
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("set up OpenTelemetry: %w", err)
	}
	// What the environment says of the resource is stronger.
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", "flowctl"), attribute.String("service.version", o.Version)), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("set up OpenTelemetry: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { o.Log.Warn("traces could not be sent", "err", err) }))
	t := &Tracer{flow: o.Flow, provider: sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about)), parent: context.Background()}
	t.tracer = t.provider.Tracer("github.com/flowctl/flowctl", trace.WithInstrumentationVersion(o.Version))
	if o.Parent { // https://opentelemetry.io/docs/specs/otel/context/env-carriers/
		t.parent = propagation.TraceContext{}.Extract(t.parent, propagation.MapCarrier{"traceparent": o.Getenv("TRACEPARENT"), "tracestate": o.Getenv("TRACESTATE")})
	}
	return t, nil
}

// Stop sends what is left, for as long as ctx allows.
func (t *Tracer) Stop(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// Run tells of a run that begins. Both functions are to be called from one
// goroutine at a time.
func (t *Tracer) Run(r engine.RunInfo) (event func(engine.Event), end func(engine.RunInfo)) {
	ctx, span := t.tracer.Start(t.parent, "flowctl "+r.Command, trace.WithTimestamp(r.Started), trace.WithAttributes(
		attribute.String("flowctl.flow", t.flow), attribute.Int64("flowctl.run", r.ID), attribute.String("flowctl.command", r.Command),
		attribute.Int("flowctl.tasks", r.Steps), attribute.String("enduser.id", r.User)))
	one := &run{tracer: t.tracer, ctx: ctx, span: span, open: map[int]trace.Span{}}
	return one.event, one.end
}

// run is one run under way.
type run struct {
	tracer trace.Tracer
	ctx    context.Context // carries span
	span   trace.Span
	open   map[int]trace.Span // attempts that run, by step
}

func (r *run) event(e engine.Event) {
	switch {
	case e.State == engine.Running && e.Note == "":
		_, r.open[e.Step.ID] = r.tracer.Start(r.ctx, e.Step.Name(), trace.WithTimestamp(e.At), trace.WithAttributes(
			attribute.String("flowctl.address", e.Step.Address.String()), attribute.String("flowctl.op", e.Step.Op.String()),
			attribute.String("flowctl.phase", e.Step.Phase.String()), attribute.String("flowctl.provider", e.Step.Provider),
			attribute.Int("flowctl.attempt", e.Attempt)))
	case e.State == engine.Retrying, e.State == engine.Failed, e.State == engine.Done:
		r.finish(e)
	}
}

// finish ends the span of an attempt. One that failed between two attempts has none.
func (r *run) finish(e engine.Event) {
	span := r.open[e.Step.ID]
	if span == nil {
		return
	}
	delete(r.open, e.Step.ID)
	if e.State == engine.Done {
		span.SetAttributes(attribute.Bool("flowctl.unchanged", e.Note == "unchanged"))
		span.End(trace.WithTimestamp(e.At))
		return
	}
	span.SetAttributes(attribute.Bool("flowctl.retried", e.State == engine.Retrying))
	if e.State == engine.Retrying {
		span.SetAttributes(attribute.Float64("flowctl.wait_s", e.Wait.Seconds()))
	}
	span.RecordError(e.Err, trace.WithTimestamp(e.At))
	span.SetStatus(codes.Error, e.Err.Error())
	span.End(trace.WithTimestamp(e.At))
}

func (r *run) end(info engine.RunInfo) {
	for _, id := range slices.Sorted(maps.Keys(r.open)) { // of a run that lost its journal
		r.open[id].SetStatus(codes.Error, "how it ended is not known")
		r.open[id].End(trace.WithTimestamp(info.Ended))
	}
	r.span.SetAttributes(attribute.String("flowctl.status", string(info.Status)), attribute.Int("flowctl.failures", info.Failures))
	if info.Status != engine.RunSucceeded {
		r.span.SetStatus(codes.Error, string(info.Status))
	}
	r.span.End(trace.WithTimestamp(info.Ended))
}
