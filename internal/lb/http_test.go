package lb

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// echoHead answers with the request's head as JSON.
var echoHead = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	json.NewEncoder(w).Encode(head{r.Method, r.RequestURI, r.Host, r.Proto, r.Header, string(body), r.Trailer})
})

type head struct {
	Method, URI, Host, Proto string
	Header                   http.Header
	Body                     string
	Trailer                  http.Header
}

// seen sends a request through a frontend and returns what the backend saw.
func seen(t *testing.T, req *http.Request) head {
	t.Helper()
	res, err := newHTTPClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var h head
	if err := json.NewDecoder(res.Body).Decode(&h); err != nil {
		t.Fatalf("%s: %v", res.Status, err)
	}
	return h
}

func newRequest(t *testing.T, method, url string, body io.Reader, header ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return req
}

func TestForwardedFieldsSayWhatTheDataPlaneKnows(t *testing.T) {
	b := newBackend(t, "b", echoHead)
	tp := newTestPlane(t)
	f := Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(b), TrustedProxies: []string{"10.0.0.0/8", "::1/128"}}
	url := "http://" + tp.apply(f)[0] + "/p?a=1;b=%zz&c"
	lies := []string{
		"X-Forwarded-For", "6.6.6.6", "X-Forwarded-Host", "evil", "X-Forwarded-Proto", "https", "Forwarded", "for=6.6.6.6",
		"X-Real-Ip", "6.6.6.6", "X-Forwarded-Port", "1", "Proxy", "evil:80",
		"Connection", "X-Forwarded-For, x-secret, keep-alive", "X-Secret", "1", "Keep-Alive", "timeout=5", "Te", "gzip", "Proxy-Authorization", "x",
	}
	req := newRequest(t, "GET", url, nil, lies...)
	req.Host = "www.example.com"
	h := seen(t, req)
	if h.URI != "/p?a=1;b=%zz&c" || h.Host != "www.example.com" {
		t.Errorf("target %q of host %q", h.URI, h.Host)
	}
	for name, want := range map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "www.example.com", "X-Forwarded-Proto": "http",
		"Forwarded": "", "X-Real-Ip": "", "X-Forwarded-Port": "", "Proxy": "", "X-Secret": "", "Keep-Alive": "", "Te": "",
		"Connection": "", "Proxy-Authorization": "",
	} {
		if got := strings.Join(h.Header[name], "|"); got != want {
			t.Errorf("untrusted client: %s = %q, want %q", name, got, want)
		}
	}
	f.TrustedProxies = []string{"127.0.0.0/8"}
	tp.apply(f)
	h = seen(t, newRequest(t, "GET", url, nil, lies[:len(lies)-12]...))
	for name, want := range map[string]string{
		"X-Forwarded-For": "6.6.6.6, 127.0.0.1", "X-Forwarded-Host": "evil", "X-Forwarded-Proto": "https",
		"Forwarded": "for=6.6.6.6, for=127.0.0.1", "X-Real-Ip": "6.6.6.6", "Proxy": "",
	} {
		if got := strings.Join(h.Header[name], "|"); got != want {
			t.Errorf("trusted proxy: %s = %q, want %q", name, got, want)
		}
	}
}

func TestRoutesOnTheWire(t *testing.T) {
	blue, green := newBackend(t, "blue", echoHead), newBackend(t, "green", nil)
	blue.Group, green.Group = "blue", "green"
	tp := newTestPlane(t)
	at := tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(blue, green), Routes: []Route{
		{Path: "/api", StripPrefix: true, Targets: []Target{{"blue", 1}}},
		{Host: "green.example.com", Targets: []Target{{"green", 1}}},
	}})
	url := "http://" + at[0]
	if h := seen(t, newRequest(t, "GET", url+"/api/a%2Fb?q", nil)); h.URI != "/a%2Fb?q" {
		t.Errorf("stripped target = %q", h.URI)
	}
	req := newRequest(t, "GET", url, nil)
	req.Host = "green.example.com:99"
	res, err := newHTTPClient(t).Do(req)
	if err != nil || res.StatusCode != 200 {
		t.Error(res, err)
	}
	res.Body.Close()
	if status, body := get(newHTTPClient(t), url+"/"); status != 404 || body != "404 no route\n" {
		t.Errorf("no route: %d %q", status, body)
	}
	if s := tp.frontendStats(); s.Errors.NoRoute != 1 || s.Status.C4xx != 0 {
		t.Errorf("an own 404 is counted as %+v, %+v", s.Errors, s.Status)
	}
}

func TestBodiesAndTrailersGoBothWays(t *testing.T) {
	b := newBackend(t, "b", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex() // answers while the body still comes
		w.Header().Set("Trailer", "X-Sum")
		n, _ := io.Copy(w, r.Body)
		w.Header().Set("X-Sum", fmt.Sprint(n, " ", r.Trailer.Get("X-Client")))
	}))
	tp := newTestPlane(t)
	url := "http://" + tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(b)})[0]
	big := bytes.Repeat([]byte("0123456789"), 300_000)
	req := newRequest(t, "POST", url, io.MultiReader(bytes.NewReader(big))) // of unknown length
	req.Trailer = http.Header{"X-Client": {"yes"}}
	res, err := newHTTPClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil || !bytes.Equal(got, big) {
		t.Errorf("%d of %d bytes came back, %v", len(got), len(big), err)
	}
	if sum := res.Trailer.Get("X-Sum"); sum != "3000000 yes" {
		t.Errorf("trailer = %q", sum)
	}
	s := tp.frontendStats()
	if s.BytesIn < 3e6 || s.BytesOut < 3e6 || s.Backends[0].BytesIn < 3e6 || s.Backends[0].BytesOut < 3e6 {
		t.Errorf("bytes: %+v", s)
	}
}

func TestInterimAnswersPass(t *testing.T) {
	refuse := new(atomic.Bool)
	b := newBackend(t, "b", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		if refuse.Load() {
			w.WriteHeader(http.StatusExpectationFailed)
			return
		}
		io.Copy(w, r.Body)
	}))
	tp := newTestPlane(t)
	url := "http://" + tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(b)})[0]
	var hints, cont atomic.Int64
	c := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: 20 * time.Second, DisableKeepAlives: true}}
	send := func() (int, string) {
		req := newRequest(t, "POST", url, strings.NewReader("payload"), "Expect", "100-continue")
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			Got100Continue: func() { cont.Add(1) },
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				if code == http.StatusEarlyHints && h.Get("Link") != "" {
					hints.Add(1)
				}
				return nil
			},
		}))
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(body)
	}
	if status, body := send(); status != 200 || body != "payload" || hints.Load() != 1 || cont.Load() != 1 {
		t.Errorf("accepted: %d %q, %d early hints, %d continues", status, body, hints.Load(), cont.Load())
	}
	refuse.Store(true)
	if status, _ := send(); status != http.StatusExpectationFailed {
		t.Errorf("refused: %d", status)
	}
}

func TestStickyCookie(t *testing.T) {
	a, b := newBackend(t, "a", nil), newBackend(t, "b", nil)
	tp := newTestPlane(t)
	f := Frontend{Name: "www", Listen: "127.0.0.1:0", Balance: RoundRobin, Backends: backends(a, b), Sticky: &Sticky{Cookie: "sid", TTL: seconds(60)}}
	url := "http://" + tp.apply(f)[0]
	res, err := newHTTPClient(t).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	set := res.Cookies()
	if len(set) != 1 || set[0].Name != "sid" || !set[0].HttpOnly || set[0].SameSite != http.SameSiteLaxMode || set[0].MaxAge != 60 || set[0].Path != "/" {
		t.Fatalf("cookies = %v", set)
	}
	_, port, _ := net.SplitHostPort(a.Address)
	if strings.Contains(set[0].Value, port) || len(set[0].Value) < 12 {
		t.Errorf("cookie value %q", set[0].Value)
	}
	home := string(body)
	again := func(value string) (string, []*http.Cookie) {
		res, err := newHTTPClient(t).Do(newRequest(t, "GET", url, nil, "Cookie", "sid="+value))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return string(body), res.Cookies()
	}
	for range 4 {
		if body, set := again(set[0].Value); body != home || len(set) != 0 {
			t.Errorf("session went to %s, cookies %v", body, set)
		}
	}
	if _, set := again("made-up"); len(set) != 1 {
		t.Errorf("made-up session: cookies %v", set)
	}
	for i := range f.Backends {
		f.Backends[i].Draining = f.Backends[i].ID == home
	}
	tp.apply(f)
	if body, moved := again(set[0].Value); body == home || len(moved) != 1 || moved[0].Value == set[0].Value {
		t.Errorf("session of a draining backend: %s %v", body, moved)
	}
}

func TestABusySessionIsNotMoved(t *testing.T) {
	entered, leave := make(chan struct{}, 1), make(chan struct{})
	h := func(id string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/block" {
				entered <- struct{}{}
				<-leave
			}
			io.WriteString(w, id)
		})
	}
	a, b := newBackend(t, "a", h("a")), newBackend(t, "b", h("b"))
	tp := newTestPlane(t)
	url := "http://" + tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0", Balance: RoundRobin, MaxInFlight: 1, Backends: backends(a, b), Sticky: &Sticky{}})[0]
	res, err := newHTTPClient(t).Get(url) // to a
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	session := res.Cookies()[0]
	with := func(path string) *http.Request {
		req := newRequest(t, "GET", url+path, nil)
		req.AddCookie(session)
		return req
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if res, err := newHTTPClient(t).Do(with("/block")); err == nil {
			res.Body.Close()
		}
	}()
	<-entered
	res, err = newHTTPClient(t).Do(with("/"))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if string(body) != "b" || len(res.Cookies()) != 0 {
		t.Errorf("while a is busy: answered by %s, cookies %v", body, res.Cookies())
	}
	close(leave)
	<-ended
}
