package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Config says what to send, when, and how much at once.
type Config struct {
	Request        Request
	Shape          Shape
	Poisson        bool          // arrivals at random, of the same rate, instead of evenly spaced
	Rand           *rand.Rand    // for Poisson and {n}; used until Run returns; nil = a fixed seed
	MaxInFlight    int           // requests out at once; arrivals beyond are dropped; 0 = 256
	Grace          time.Duration // how long requests may go on when ctx ends; then they are cut; 0 = 2 s
	NewConnections bool          // one connection for each request, instead of keep-alive
	AllowRemote    bool          // private addresses too, not loopback alone
	SkipVerify     bool          // take any certificate of an https target
}

// Request says what one request looks like.
type Request struct {
	URL     string        // http or https; "{n}" in its path or query becomes a number out of N
	N       Range         // what {n} is drawn from
	Method  string        // "" = GET
	Header  http.Header   // sent as it is; Host sets the host
	Body    []byte        // sent each time
	Timeout time.Duration // for connecting, sending and reading the whole answer; 0 = 10 s
}

// Range is the whole numbers from Lo to Hi, both included.
type Range struct {
	Lo, Hi int
}

func (r Range) String() string { return fmt.Sprintf("%d..%d", r.Lo, r.Hi) }

// ParseRange reads "15..25" or "20".
func ParseRange(text string) (Range, error) {
	lo, hi, both := strings.Cut(text, "..")
	if !both {
		hi = lo
	}
	a, errA := strconv.Atoi(lo)
	b, errB := strconv.Atoi(hi)
	if errA != nil || errB != nil || a > b {
		return Range{}, fmt.Errorf("range %q is not of the form 15..25", text)
	}
	return Range{Lo: a, Hi: b}, nil
}

// Defaults of Config and Request.
const (
	defaultInFlight = 256
	defaultTimeout  = 10 * time.Second
	defaultGrace    = 2 * time.Second
)

// Preset is the usual Config of a mode; the caller adds the URL and overrides
// what it likes. Low and High are the two clients of the autoscaler study from
// which the demo descends: 5 workers asking for Fibonacci numbers of 15 to 25,
// and 60 asking for 30 to 33. Here a worker is one request a second and one
// request at a time at most (MaxInFlight). No preset ends by itself but Replay.
func Preset(m Mode) Config {
	c := Config{
		Request:     Request{Method: http.MethodGet, N: Range{20, 25}, Timeout: defaultTimeout},
		Shape:       Shape{Mode: m, BaseRPS: 10, PeakRPS: 100, At: 30 * time.Second, Period: time.Minute},
		MaxInFlight: defaultInFlight,
		Grace:       defaultGrace,
	}
	switch m {
	case Low:
		c.Shape.BaseRPS, c.MaxInFlight, c.Request.N = 5, 5, Range{15, 25}
	case High:
		c.Shape.BaseRPS, c.MaxInFlight, c.Request.N = 60, 60, Range{30, 33}
	}
	return c
}

// Validate says what is wrong with the config, all of it at once. It does no
// I/O, so it cannot tell where the host of the URL is.
func (c Config) Validate() error {
	var errs []error
	if err := c.Shape.Validate(); err != nil {
		errs = append(errs, err)
	}
	if _, err := c.Request.template(); err != nil {
		errs = append(errs, err)
	}
	if c.Request.N.Lo > c.Request.N.Hi {
		errs = append(errs, fmt.Errorf("range %v is empty", c.Request.N))
	}
	if c.MaxInFlight < 0 || c.Request.Timeout < 0 || c.Grace < 0 {
		errs = append(errs, errors.New("limits and times must not be negative"))
	}
	return errors.Join(errs...)
}

// template parses the URL with {n} filled in, to see that it is one.
func (r Request) template() (*url.URL, error) {
	u, err := r.target(r.N.Lo)
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return nil, fmt.Errorf("target %q is not of the form http://host:port/path", r.URL)
	}
	if again, err := r.target(r.N.Lo + 1); err != nil || again.Host != u.Host {
		return nil, fmt.Errorf("target %q has {n} in its host; only path and query may have it", r.URL)
	}
	return u, nil
}

// target is the URL of one request.
func (r Request) target(n int) (*url.URL, error) {
	return url.Parse(strings.ReplaceAll(r.URL, "{n}", strconv.Itoa(n)))
}

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	if c.MaxInFlight == 0 {
		c.MaxInFlight = defaultInFlight
	}
	if c.Request.Timeout == 0 {
		c.Request.Timeout = defaultTimeout
	}
	if c.Grace == 0 {
		c.Grace = defaultGrace
	}
	if c.Rand == nil {
		c.Rand = rand.New(rand.NewPCG(1, 1))
	}
	return c
}
