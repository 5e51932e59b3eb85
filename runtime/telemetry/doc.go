// Package telemetry tells an OpenTelemetry collector how runs go: a span for each
// run, and beneath it one for each attempt of each task, sent by OTLP over HTTP.
//
// It is set up by the standard variables of the environment alone
// (https://opentelemetry.io/docs/specs/otel/protocol/exporter/), and without an
// endpoint in them it is not there. Start with Start.
package telemetry
