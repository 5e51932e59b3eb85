package observe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	osexec "os/exec"
	"strconv"
	"strings"
	"time"

	prometheus "github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/tidwall/gjson"
)

// ask reads a metric that is a query. The error says why there is no number, and
// nothing of the query and the endpoint: they may hold secrets.
func (m metric) ask(ctx context.Context, now time.Time) (float64, error) {
	var v float64
	var err error
	switch m.source {
	case "prometheus":
		v, err = askPrometheus(ctx, m.endpoint, m.query, now)
	case "http":
		v, err = askHTTP(ctx, m.endpoint, m.query)
	case "exec":
		v, err = askCommand(ctx, m.query)
	default:
		panic("bug: source " + m.source)
	}
	var located *url.Error
	if errors.As(err, &located) {
		err = located.Err
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", m.source, err)
	}
	return v, nil
}

// askPrometheus evaluates an instant query
// (https://prometheus.io/docs/prometheus/latest/querying/api/). Of a vector it
// takes the sum.
func askPrometheus(ctx context.Context, endpoint, query string, now time.Time) (float64, error) {
	c, err := prometheus.NewClient(prometheus.Config{Address: endpoint})
	if err != nil {
		return 0, err
	}
	got, _, _, err := promv1.NewAPI(c).Query(ctx, query, now)
	if err != nil {
		return 0, err
	}
	switch got := got.(type) {
	case *model.Scalar:
		return float64(got.Value), nil
	case model.Vector:
		if len(got) == 0 {
			return 0, errors.New("the answer is empty")
		}
		sum := 0.0
		for _, s := range got {
			sum += float64(s.Value)
		}
		return sum, nil
	default:
		return 0, fmt.Errorf("the answer is a %s, not a number", got.Type())
	}
}

// longest is how much of an answer is read.
const longest = 1 << 20

// askHTTP finds a number in a JSON document, by a path such as "queues.0.depth"
// (https://github.com/tidwall/gjson/blob/master/SYNTAX.md); without one the
// document is the number.
func askHTTP(ctx context.Context, endpoint, path string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, longest))
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("it answered %s", resp.Status)
	}
	if path == "" {
		return number(string(body))
	}
	found := gjson.GetBytes(body, path)
	if !found.Exists() {
		return 0, errors.New("the answer has nothing there")
	}
	return number(found.String())
}

// askCommand runs a command line and reads the number that it prints.
func askCommand(ctx context.Context, line string) (float64, error) {
	cmd := osexec.CommandContext(ctx, "sh", "-c", line)
	cmd.WaitDelay = time.Second // for who left the output to a child
	out, err := cmd.Output()
	var exit *osexec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return 0, fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr[:min(len(exit.Stderr), 300)])))
	}
	if err != nil {
		return 0, err
	}
	return number(string(out[:min(len(out), longest)]))
}

func number(text string) (float64, error) {
	text = strings.TrimSpace(text)
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", text[:min(len(text), 60)])
	}
	return v, nil
}
