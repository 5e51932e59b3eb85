package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime/api"
	"github.com/flowctl/flowctl/runtime/control"
	"github.com/flowctl/flowctl/runtime/decide"
	"github.com/flowctl/flowctl/state"
)

var (
	web  = engine.Addr(engine.KindFunction, "web")
	noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
)

// source is a controller in the middle of its work.
func source() (api.Source, *control.Status) {
	d := decide.Decision{Rule: "web", Target: web, At: noon, From: 2, Ready: 2, Want: 7, To: 6, Act: true, Why: "rps is 300",
		Wishes: []decide.Wish{{Name: "rps", Value: 300, Want: 7, Voted: true}, {Name: "queue", Missing: true}},
		Limits: []decide.Limit{{By: decide.ByRate, From: 7, To: 6, Until: noon.Add(time.Minute)}}}
	st := &control.Status{At: noon, Running: map[engine.Address]int{web: 6}, Rules: []control.RuleStatus{{Rule: "web", Target: web, Min: 1, Max: 9, Mode: "on", Decision: d}}}
	body, _ := json.Marshal(d)
	return api.Source{
		Flow: "test", Status: func() control.Status { return *st },
		Usage: func() map[engine.Address]providers.Usage {
			return map[engine.Address]providers.Usage{
				web.At(0): {CPUCores: 0.5, MemoryBytes: 1 << 20, Restarts: 3}, engine.Addr(engine.KindVM, "node"): {IO: &providers.IO{DiskRead: 1, DiskWritten: 2, NetworkReceived: 3, NetworkSent: 4}}, engine.Addr(engine.KindFrontend, "www"): {Requests: 12, Failed: 1, P95: time.Second / 4},
			}
		},
		Decisions: func(_ context.Context, rule string, _ time.Time, limit int) ([]state.Decision, error) {
			if rule == "broken" {
				return nil, errors.New("the disk is gone")
			}
			return []state.Decision{{Rule: "web", At: noon, Run: 4, Body: body}}[:min(1, limit)], nil
		},
	}, st
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestHandler(t *testing.T) {
	s, st := source()
	now := noon
	server := httptest.NewServer(api.Handler(s, func() time.Time { return now }))
	defer server.Close()
	for _, c := range []struct {
		path   string
		status int
		want   []string
	}{
		{"/healthz", 200, []string{"ok"}},
		{"/metrics", 200, []string{
			`flowctl_size{rule="web",target="function.web"} 2`, `flowctl_size_wanted{rule="web",target="function.web"} 7`, `flowctl_metric{metric="rps",rule="web"} 300`,
			`flowctl_metric_missing{metric="queue",rule="web"} 1`, `flowctl_cpu_cores{address="function.web[0]"} 0.5`, `flowctl_restarts_total{address="function.web[0]"} 3`,
			`flowctl_requests_total{address="frontend.www"} 12`, `flowctl_disk_read_bytes_total{address="vm.node"} 1`, `flowctl_disk_written_bytes_total{address="vm.node"} 2`,
			`flowctl_network_received_bytes_total{address="vm.node"} 3`, `flowctl_network_sent_bytes_total{address="vm.node"} 4`, `flowctl_request_seconds_p95{address="frontend.www"} 0.25`,
		}},
		{"/v1/status", 200, []string{`"flow":"test"`, `"running":[{"target":"function.web","size":6}]`, `"why":"rps is 300"`, `"text":"limited to 6 until 12:01:00"`}},
		{"/v1/decisions?rule=web&limit=1&until=2026-07-01T13:00:00Z", 200, []string{`"run":4`, `"from":2`}},
		{"/v1/decisions?limit=0", 400, []string{"no number from 1"}},
		{"/v1/decisions?until=noon", 400, []string{"no time"}},
		{"/v1/decisions?rule=broken", 500, []string{"the disk is gone"}},
		{"/v1/nothing", 404, nil},
	} {
		status, body := get(t, server.URL+c.path)
		if status != c.status {
			t.Errorf("%s answered %d: %s", c.path, status, body)
		}
		for _, w := range c.want {
			if !strings.Contains(body, w) {
				t.Errorf("%s lacks %s:\n%s", c.path, w, body)
			}
		}
	}
	now = noon.Add(time.Hour)
	if status, _ := get(t, server.URL+"/healthz"); status != 503 {
		t.Errorf("an old status is taken for healthy: %d", status)
	}
	now, st.Trouble = noon, "no disk"
	if status, body := get(t, server.URL+"/healthz"); status != 503 || !strings.Contains(body, "no disk") {
		t.Errorf("trouble is taken for healthy: %d %s", status, body)
	}
}

func TestEvents(t *testing.T) {
	s, _ := source()
	server := httptest.NewServer(api.Handler(s, func() time.Time { return noon }))
	defer server.Close()
	resp, err := http.Get(server.URL + "/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for _, want := range []string{"event: status", `data: {"flow":"test"`} {
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), want) {
			t.Fatalf("%q, want %s", lines.Text(), want)
		}
	}
}
