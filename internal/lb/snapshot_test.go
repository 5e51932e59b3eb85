package lb

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestValidateReportsAllFaults(t *testing.T) {
	s := Snapshot{Frontends: []Frontend{
		{Name: "", Listen: "x"},
		{Name: "a", Listen: ":80", Protocol: "udp", Balance: "best", HashKey: "body"},
		{Name: "a", Listen: ":80"},
		{Name: "b", Listen: ":0", Routes: []Route{
			{Path: "x"}, {Host: "a*b"}, {Host: "h"}, {Host: "H", Path: "/"}, {Headers: map[string]string{"a b": ""}}, {Path: "/w", Targets: []Target{{Weight: -1}}},
		}},
		{Name: "c", Listen: ":0", Backends: []Backend{
			{ID: "", Address: "h:1"}, {ID: "x", Address: "h:1"}, {ID: "x", Address: "h:2"}, {ID: "y", Address: "h"}, {ID: "z", Address: "h:0"}, {ID: "w", Address: "h:1", Weight: -1},
		}},
		{Name: "d", Listen: ":0", Protocol: TCP, Sticky: &Sticky{}, HashKey: "path", Routes: []Route{{Path: "/x"}}, Backends: []Backend{{ID: "x", Address: "h:1", H2C: true}}},
		{Name: "e", Listen: ":0", Sticky: &Sticky{Cookie: "a b"}, Health: &Health{Path: "x", Status: "ok", Interval: -1}, MaxInFlight: -1, TrustedProxies: []string{"10.0.0.1"}, Eject: Eject{MaxPercent: 101}},
	}}
	err := s.Validate()
	if err == nil {
		t.Fatal("nothing reported")
	}
	for _, want := range []string{
		`frontend 0: name ""`, `frontend 0: listen "x"`,
		`frontend "a": protocol "udp"`, `balance "best"`, `hash_key "body"`, `"a": a frontend of this name`, `listen :80 is also that`,
		`route 0: path "x"`, `route 1: host "a*b"`, `route 3 matches what route 2`, `route 4: header name`, `route 5: weight -1`,
		`backend 0: id ""`, `backend "x": another`, `backend "y": address "h"`, `backend "z": address "h:0"`, `backend "w": weight -1`,
		`sticky sessions need HTTP`, `needs HTTP`, `at most one route`, `"x": h2c needs HTTP`,
		`cookie name "a b"`, `health path "x"`, `health status "ok"`, `a health setting is negative`, `max_in_flight -1`, `trusted proxy "10.0.0.1"`, `a percentage`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not reported: %s", want)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
}

func TestFullFrontendIsValidAndSurvivesJSON(t *testing.T) {
	s := Snapshot{Version: 3, Frontends: []Frontend{{
		Name: "www", Listen: "[::1]:8080", Protocol: HTTP, Balance: Hash, HashKey: "header:x-user",
		Routes:   []Route{{Host: "*.example.com", Path: "/a", Headers: map[string]string{"X": "y"}, StripPrefix: true, Targets: []Target{{"blue", 95}, {"green", 5}}}},
		Backends: []Backend{{ID: "function.web[3]", Group: "blue", Address: "10.0.0.1:80", Weight: 3, Draining: true, Ready: true, H2C: true}},
		Health:   &Health{Path: "/healthz", Status: "200-299", Interval: seconds(1), Timeout: seconds(2), HealthyAfter: 1, UnhealthyAfter: 2},
		Sticky:   &Sticky{Cookie: "sid", TTL: seconds(3600)},
		Timeouts: Timeouts{seconds(1), seconds(2), seconds(3), seconds(4), seconds(5), seconds(6), seconds(7)},
		Retry:    Retry{2, 10, 5}, Queue: Queue{10, seconds(1)}, Eject: Eject{3, seconds(1), 40, 20},
		MaxInFlight: 10, SlowStart: seconds(30), MaxConns: 100, MaxHeaderBytes: 4096, MaxBodyBytes: 1 << 20, MinBodyRate: -1, TrustedProxies: []string{"10.0.0.0/8"},
	}}}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back Snapshot
	if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(s, back) {
		t.Errorf("came back as %+v, %v", back, err)
	}
	if d := s.Frontends[0].withDefaults(); !reflect.DeepEqual(d, s.Frontends[0]) {
		t.Errorf("defaults changed what was set: %+v", d)
	}
}

// FuzzSnapshot: whatever decodes and is valid, compiles; and it is the same
// after encoding.
func FuzzSnapshot(f *testing.F) {
	f.Add([]byte(`{"version":1,"frontends":[{"name":"a","listen":":0","backends":[{"id":"x","address":"h:1"}],"timeouts":{"idle":"1s"}}]}`))
	f.Add([]byte(`{"frontends":[{"name":"a","listen":"h:1","health":{"status":"200"},"sticky":{},"hash_key":"cookie:c","routes":[{"targets":[{"group":"g","weight":0}]}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Snapshot
		if json.Unmarshal(b, &s) != nil || s.Validate() != nil {
			return
		}
		for _, f := range s.Frontends {
			if c := compile(f); c.balance == nil || len(c.routes) == 0 {
				t.Fatalf("compiled to %+v", c)
			}
		}
		out, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back Snapshot
		if err := json.Unmarshal(out, &back); err != nil {
			t.Fatal(err)
		}
		if again, _ := json.Marshal(back); string(again) != string(out) {
			t.Fatalf("%s became %s", out, again)
		}
	})
}
