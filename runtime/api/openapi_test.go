package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime/control"
	"github.com/flowctl/flowctl/runtime/decide"
	"github.com/flowctl/flowctl/state"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/openapi3gen"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

var update = flag.Bool("update", false, "rewrite openapi.json, and its copy under docs")

// places are where the description lies: what is served, and what is read.
var places = []string{"openapi.json", "../../docs/openapi.json"}

// document makes the description of routes.
func document(t *testing.T) *openapi3.T {
	t.Helper()
	doc := &openapi3.T{
		OpenAPI: "3.0.3",
		Info: &openapi3.Info{Title: "flowctl controller", Version: "1", Description: "What the controller of a flow does and has measured. It only reads. " +
			"It answers on a private socket in the folder of the controller, and over TCP where flowctl serve -listen says."},
		Paths: openapi3.NewPaths(), Components: &openapi3.Components{Schemas: openapi3.Schemas{}},
	}
	gen := openapi3gen.NewGenerator(openapi3gen.SchemaCustomizer(describeField), openapi3gen.CreateComponentSchemas(openapi3gen.ExportComponentSchemasOptions{ExportComponentSchemas: true, ExportTopLevelSchema: true}))
	for _, r := range routes {
		op := openapi3.NewOperation()
		op.OperationID = strings.Trim(strings.NewReplacer("/v1/", "", "/", "", ".json", "").Replace(r.path), "_")
		op.Summary, op.Description = r.summary, r.about
		for _, p := range r.params {
			op.AddParameter(parameter(p))
		}
		var schema *openapi3.SchemaRef
		switch answer := r.answer.(type) {
		case string:
			schema = openapi3.NewStringSchema().NewRef()
		case map[string]any:
			schema = openapi3.NewObjectSchema().WithAnyAdditionalProperties().NewRef()
		default:
			var err error
			if schema, err = gen.NewSchemaRefForValue(answer, doc.Components.Schemas); err != nil {
				t.Fatal(err)
			}
		}
		op.AddResponse(http.StatusOK, openapi3.NewResponse().WithDescription(r.summary).WithContent(openapi3.Content{r.media: &openapi3.MediaType{Schema: schema}}))
		for status, when := range r.fails {
			op.AddResponse(status, openapi3.NewResponse().WithDescription(when).WithContent(openapi3.Content{plain: &openapi3.MediaType{Schema: openapi3.NewStringSchema().NewRef()}}))
		}
		op.Responses.Delete("default")
		doc.Paths.Set(r.path, &openapi3.PathItem{Get: op})
	}
	return doc
}

// describeField takes up what the tags of a field say, and which fields are always
// there.
func describeField(_ string, t reflect.Type, tag reflect.StructTag, schema *openapi3.Schema) error {
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Time]() {
		schema.Description = tag.Get("doc")
		return nil
	}
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if options == "" {
			schema.Required = append(schema.Required, name)
		}
	}
	slices.Sort(schema.Required)
	return nil
}

func parameter(p param) *openapi3.Parameter {
	schema := openapi3.NewStringSchema()
	if _, number := p.sample.(int); number {
		schema = openapi3.NewIntegerSchema().WithMin(1).WithMax(most)
	}
	schema.Format = p.format
	for _, c := range p.choice {
		schema.Enum = append(schema.Enum, c)
	}
	return openapi3.NewQueryParameter(p.name).WithDescription(p.about).WithSchema(schema)
}

// The description that is served, and its copy under docs, is that of the code.
func TestTheDescriptionIsThatOfTheCode(t *testing.T) {
	text, err := json.MarshalIndent(document(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	for _, path := range places {
		if *update {
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if was, err := os.ReadFile(path); err != nil || !bytes.Equal(was, text) {
			t.Errorf("%s is not what the code says (%v): go test ./runtime/api -update", path, err)
		}
	}
}

// busy is a controller with everything in it that can be told.
func busy() Source {
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	web := engine.Addr(engine.KindFunction, "web")
	d := decide.Decision{Rule: "web", Target: web, At: at, From: 2, Ready: 2, Want: 7, To: 6, Act: true, Why: "rps is 300", Blocked: "queue is missing",
		Wishes: []decide.Wish{{Name: "rps", Value: 300, Samples: 15, Target: 50, Each: true, Burst: 310, Ratio: 3, Ahead: 320, Newest: at, Want: 7, Voted: true}, {Name: "queue", Missing: true}},
		Limits: []decide.Limit{{By: decide.ByRate, What: "x", From: 7, To: 6, Until: at.Add(time.Minute)}}}
	body, _ := json.Marshal(d)
	return Source{
		Flow: "test",
		Status: func() control.Status {
			return control.Status{At: at, Waiting: "w", Held: "h", Failed: "f", Again: at, Running: map[engine.Address]int{web: 6}, Sources: map[string]string{"a": "b"},
				Rules: []control.RuleStatus{{Rule: "web", Target: web, Min: 1, Max: 9, Mode: "on", Decision: d}}}
		},
		Usage: func() map[engine.Address]providers.Usage {
			return map[engine.Address]providers.Usage{web.At(0): {CPUCores: 0.5}}
		},
		Decisions: func(context.Context, string, time.Time, int) ([]state.Decision, error) {
			return []state.Decision{{Rule: "web", At: at, Run: 4, Body: body}}, nil
		},
		Samples: func(_ context.Context, q state.Span) ([]state.Rollup, error) {
			return []state.Rollup{{Series: state.Series{Of: "function.web", Metric: "rps"}, At: q.From, Step: q.Step, Count: 3, Min: 1, Max: 3, Mean: 2, Last: 3, Units: 1}}, nil
		},
	}
}

// strict is the description that is served, but with nothing besides it: clients
// are to pass over fields that are added later.
func strict(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(description)
	if err != nil {
		t.Fatal(err)
	}
	no := false
	for _, s := range doc.Components.Schemas {
		s.Value.AdditionalProperties = openapi3.AdditionalProperties{Has: &no}
	}
	return doc
}

// Every route is described, and every answer is as its description says: of each
// route with its parameters, with ones that make no sense, and without any.
func TestAnswersAreAsDescribed(t *testing.T) {
	doc := strict(t)
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(Handler(busy(), func() time.Time { return time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC) }))
	defer server.Close()
	doc.Servers = openapi3.Servers{{URL: server.URL}}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	openapi3filter.RegisterBodyDecoder("text/event-stream", openapi3filter.FileBodyDecoder)
	good := map[string]string{"rule": "web", "until": "2026-07-01T12:00:00Z", "from": "2026-07-01T11:00:00Z", "limit": "3", "of": "function.web", "metric": "rps", "step": "1m"}
	bad := map[string]string{"until": "noon", "from": "dawn", "limit": "0", "step": "1h"}
	for _, r := range routes {
		queries := map[string]int{"": http.StatusOK}
		all := ""
		for _, p := range r.params {
			all += p.name + "=" + good[p.name] + "&"
			if b := bad[p.name]; b != "" {
				queries[p.name+"="+b] = http.StatusBadRequest
			}
		}
		queries[all] = http.StatusOK
		for query, status := range queries {
			ask(t, router, server.URL+r.path+"?"+query, status)
		}
	}
}

// ask checks one answer; of a stream, its first event.
func ask(t *testing.T, router routers.Router, url string, status int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	found, params, err := router.FindRoute(req)
	if err != nil {
		t.Fatalf("%s is not described: %v", url, err)
	}
	in := &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: found}
	if err := openapi3filter.ValidateRequest(ctx, in); (err == nil) != (status == http.StatusOK) {
		t.Errorf("%s: what may be asked, and what is answered, differ: %v", url, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body := io.Reader(resp.Body)
	if strings.HasPrefix(resp.Header.Get("Content-Type"), stream) {
		body = strings.NewReader(firstEvent(t, resp.Body))
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status {
		t.Errorf("%s answers %s, want %d: %s", url, resp.Status, status, text)
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: resp.StatusCode, Header: resp.Header, Options: &openapi3filter.Options{IncludeResponseStatus: true}}
	if err := openapi3filter.ValidateResponse(ctx, out.SetBodyBytes(text)); err != nil {
		t.Errorf("%s: %v\n%s", url, err, text)
	}
}

// firstEvent reads the first server-sent event, and checks that its data is a
// status.
func firstEvent(t *testing.T, r io.Reader) string {
	t.Helper()
	lines := bufio.NewScanner(r)
	var text strings.Builder
	for lines.Scan() && lines.Text() != "" {
		text.WriteString(lines.Text() + "\n")
	}
	kind, data, _ := strings.Cut(text.String(), "\ndata: ")
	var st Status
	strict := json.NewDecoder(strings.NewReader(data))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&st); err != nil || kind != "event: status" || st.Flow != "test" {
		t.Errorf("the first event: %v\n%s", err, text.String())
	}
	return text.String()
}

// A field that is not described, or that is missing, is noticed.
func TestWhatIsNotDescribedIsNoticed(t *testing.T) {
	doc := strict(t)
	size := doc.Components.Schemas["Size"].Value
	for text, want := range map[string]bool{`{"target":"function.web","size":3}`: true, `{"target":"function.web"}`: false, `{"target":"function.web","size":"3"}`: false, `{"target":"function.web","size":3,"x":1}`: false} {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		if err := size.VisitJSON(v); (err == nil) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}
