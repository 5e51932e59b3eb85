package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// errRefused is for points that the store will never take.
var errRefused = errors.New("the store refuses it")

// store talks to an InfluxDB 1.x:
// docs.influxdata.com/influxdb/v1/tools/api.
type store struct {
	url, database string
	client        *http.Client
}

func newStore(o options) *store {
	return &store{o.store, o.database, &http.Client{Timeout: answerTime}}
}

// write puts points into the database. When it returns, they are in the store's log
// on the disk. A point that is there already is written over.
func (s *store) write(ctx context.Context, lines []byte) error {
	_, err := s.do(ctx, "/write", url.Values{"db": {s.database}, "precision": {"ms"}}, bytes.NewReader(lines))
	if err != nil {
		return fmt.Errorf("write into the store: %w", err)
	}
	return nil
}

// series is a part of an answer: what belongs to the same tags.
type series struct {
	Tags   map[string]string `json:"tags"`
	Values [][]*float64      `json:"values"` // the time in milliseconds, then the fields
}

// query asks several questions at once, and returns the series of each.
func (s *store) query(ctx context.Context, questions ...string) ([][]series, error) {
	form := url.Values{"db": {s.database}, "epoch": {"ms"}, "q": {strings.Join(questions, ";")}}
	body, err := s.do(ctx, "/query", nil, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("ask the store: %w", err)
	}
	var answer struct {
		Results []struct {
			Series []series `json:"series"`
			Error  string   `json:"error"`
		} `json:"results"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("ask the store: its answer is not understood: %w", err)
	}
	if len(answer.Results) != len(questions) {
		return nil, fmt.Errorf("ask the store: %d answers to %d questions", len(answer.Results), len(questions))
	}
	var all [][]series
	for i, r := range answer.Results {
		if r.Error != "" {
			return nil, fmt.Errorf("ask the store: %s: %s", questions[i], r.Error)
		}
		all = append(all, r.Series)
	}
	return all, nil
}

// do sends a request. A status of 400 says that the body is at fault; anything else,
// such as a database that is not there yet, may pass.
func (s *store) do(ctx context.Context, path string, query url.Values, body io.Reader) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+path+"?"+query.Encode(), body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	switch {
	case err != nil:
		return nil, err
	case res.StatusCode == http.StatusBadRequest:
		return nil, fmt.Errorf("%w: %s", errRefused, bytes.TrimSpace(data))
	case res.StatusCode/100 != 2:
		return nil, fmt.Errorf("it answers %s: %s", res.Status, cmp.Or(string(bytes.TrimSpace(data)), "nothing"))
	}
	return data, nil
}
