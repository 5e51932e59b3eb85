package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// traced are the spans that the scripts' collectors have got, by their addresses.
var (
	tracedMu sync.Mutex
	traced   = map[string][]string{}
)

// otlp NAME: starts an OpenTelemetry collector, and sets an environment variable to
// its address.
func otlpCommand(ts *testscript.TestScript, neg bool, args []string) {
	server := httptest.NewUnstartedServer(nil)
	url := "http://" + server.Listener.Addr().String()
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var got collector.ExportTraceServiceRequest
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = proto.Unmarshal(body, &got)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		tracedMu.Lock()
		defer tracedMu.Unlock()
		for _, rs := range got.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					traced[url] = append(traced[url], fmt.Sprintf("%s parent=%t status=%s", s.Name, len(s.ParentSpanId) > 0, s.Status.GetCode()))
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	})
	server.Start()
	ts.Defer(server.Close)
	ts.Setenv(args[0], url)
}

// spans URL: the spans that a collector has got, a line each, go to stdout.
func spansCommand(ts *testscript.TestScript, neg bool, args []string) {
	tracedMu.Lock()
	defer tracedMu.Unlock()
	for _, line := range traced[args[0]] {
		fmt.Fprintln(ts.Stdout(), line)
	}
}
