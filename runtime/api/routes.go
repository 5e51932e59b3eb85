package api

import (
	_ "embed"
	"net/http"
)

// route is one thing that can be asked for, by GET.
type route struct {
	path    string
	summary string
	about   string // more; "" for nothing
	params  []param
	media   string         // of the answer
	answer  any            // a value of its type; of text a string
	fails   map[int]string // statuses besides 200: when
}

// param is a parameter of a query.
type param struct {
	name, about string
	sample      any      // a value of its type
	format      string   // "" for none
	choice      []string // all that it may be; nil for anything
}

const (
	plain  = "text/plain"
	asJSON = "application/json"
	stream = "text/event-stream"
)

var unreadable = map[int]string{http.StatusBadRequest: "a parameter makes no sense: which, and why", http.StatusInternalServerError: "the state cannot be read: why"}

// routes are all that the API answers; its description is made of them.
var routes = []route{
	{path: "/healthz", summary: "Whether the flow can be looked at", media: plain, answer: "", fails: map[int]string{http.StatusServiceUnavailable: "it cannot: why"}},
	{path: "/metrics", summary: "Metrics for Prometheus", about: "Sizes, wanted sizes and bounds, the metrics of the rules; what machines and replicas use, what frontends carry.", media: plain, answer: ""},
	{path: "/v1/status", summary: "What the controller does now", media: asJSON, answer: Status{}},
	{path: "/v1/events", summary: "What it does, again whenever that changes", media: stream, answer: "",
		about: "Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). Each is of the type status; its data is a Status, as JSON on one line. The first comes at once. There are no ids: who connects again gets what is so then."},
	{path: "/v1/decisions", summary: "The newest decisions, the newest first", media: asJSON, answer: []Decision{}, fails: unreadable, params: []param{
		{name: "rule", about: "only of this scaling block; all, if it is not given", sample: ""},
		{name: "until", about: "only up to this time", sample: "", format: "date-time"},
		{name: "limit", about: "how many at most, from 1 to 10000; 100 if it is not given", sample: 0},
	}},
	{path: "/v1/samples", summary: "What was measured, in the order of time", media: asJSON, answer: []Sample{}, fails: unreadable, params: []param{
		{name: "of", about: "only of this function, such as function.web; all, if it is not given", sample: ""},
		{name: "metric", about: "only this metric", sample: ""},
		{name: "step", about: "the time that one sample stands for; 1s, if it is not given. Seconds are kept for an hour, minutes for 30 days", sample: "", choice: []string{"1s", "1m"}},
		{name: "from", about: "from this time on; without it, an hour before the end, and a day with minutes", sample: "", format: "date-time"},
		{name: "until", about: "before this time; now, if it is not given", sample: "", format: "date-time"},
	}},
	{path: "/v1/openapi.json", summary: "This description", media: asJSON, answer: map[string]any{}},
}

// description is the OpenAPI document of routes; a test makes it, and fails while it
// is not that of the code.
//
//go:embed openapi.json
var description []byte

func describe(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", asJSON)
	w.Write(description)
}
