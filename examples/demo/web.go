package main

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

//go:embed page.html
var pageText string

// page is the answer for people. Not html/template: with its reflection the
// linker keeps every method there is, and the program grows by a third.
func page(a webAnswer) string {
	ms := func(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }
	return strings.NewReplacer(
		"{greeting}", html.EscapeString(a.Greeting), "{banner}", html.EscapeString(a.Banner),
		"{web}", html.EscapeString(a.Replica), "{api}", html.EscapeString(a.API.Replica),
		"{n}", strconv.Itoa(a.N), "{result}", strconv.FormatUint(a.Result, 10),
		"{ms}", ms(a.TookMs), "{api_ms}", ms(a.API.TookMs),
	).Replace(pageText)
}

// web is the front tier.
type web struct {
	*server
	client *http.Client
}

// webAnswer is what a visitor gets, as JSON or as a page.
type webAnswer struct {
	identity
	N      int       `json:"n"`
	Result uint64    `json:"result"`
	TookMs float64   `json:"took_ms"`
	API    fibAnswer `json:"api"`
}

// addWeb adds the routes of the web tier.
func addWeb(s *server) {
	dialer := &net.Dialer{Timeout: 2 * time.Second}
	w := &web{server: s, client: &http.Client{
		Timeout: s.apiTimeout,
		Transport: &http.Transport{
			DialContext:         dialer.DialContext,
			MaxIdleConnsPerHost: 64,
			IdleConnTimeout:     30 * time.Second, // less than servers wait, so that none closes on a request
		},
	}}
	s.ready = w.apiHealth
	s.work("/{$}", w.show)
	s.work("/api", w.show)
}

func (s *web) show(w http.ResponseWriter, r *http.Request) {
	asJSON := r.URL.Path == "/api" || strings.Contains(r.Header.Get("Accept"), "application/json")
	n, err := parseN(cmp.Or(r.FormValue("n"), strconv.Itoa(s.n)))
	if err != nil {
		s.refuse(w, asJSON, http.StatusBadRequest, err)
		return
	}
	start := time.Now()
	api, err := s.ask(r.Context(), n)
	switch {
	case r.Context().Err() != nil:
		s.refuse(w, asJSON, statusClientGone, errors.New("the client left"))
		return
	case err != nil:
		s.refuse(w, asJSON, http.StatusBadGateway, err)
		return
	}
	a := webAnswer{s.identity(), api.N, api.Result, msSince(start), api}
	w.Header().Set("X-Api-Replica", api.Replica)
	if asJSON {
		s.answer(w, a)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	io.WriteString(w, page(a))
}

// refuse gives people a line of text and programs JSON.
func (s *web) refuse(w http.ResponseWriter, asJSON bool, code int, why error) {
	if asJSON {
		s.fail(w, code, why.Error())
		return
	}
	http.Error(w, fmt.Sprintf("%s: %v (web replica %s)", cmp.Or(http.StatusText(code), "Gone"), why, s.replica), code)
}

// ask calls the api tier.
func (s *web) ask(ctx context.Context, n int) (fibAnswer, error) {
	var a fibAnswer
	body, err := s.get(ctx, s.apiURL.JoinPath("fib", strconv.Itoa(n)))
	if err == nil {
		if err = json.Unmarshal(body, &a); err != nil {
			err = fmt.Errorf("the api tier's answer is not understood: %w", err)
		}
	}
	return a, err
}

func (s *web) apiHealth(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := s.get(ctx, s.apiURL.JoinPath("healthz"))
	return err
}

// get reads an answer of the api tier; its errors are for the visitor.
func (s *web) get(ctx context.Context, u *url.URL) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	res, err := s.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the api tier does not answer: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("the api tier's answer broke off: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the api tier (%s) answers %s: %s",
			cmp.Or(res.Header.Get("X-Replica"), u.Host), res.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}
