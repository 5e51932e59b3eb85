package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/docker/docker/client"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// daemon is one engine.
type daemon struct {
	*engineClient
	id      string // of the host: where the engine answers, and the host's address
	place   string // where the engine answers
	machine string // the host's address
	address string // where the ports that it publishes are reached
	local   bool   // it is on this machine
}

// daemon returns the engine of a host. It is not asked anything yet.
func (d *Docker) daemon(id string) (*daemon, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dm, ok := d.daemons[id]; ok {
		return dm, nil
	}
	if id == "" {
		return nil, providers.Permanent(errors.New("no host is named: write host = host.NAME, a host of the docker provider"))
	}
	dm, err := connect(id)
	if err != nil {
		return nil, providers.Permanent(fmt.Errorf("container engine %s: %w", id, err))
	}
	d.daemons[id] = dm
	return dm, nil
}

// connect prepares the way to an engine.
func connect(id string) (*daemon, error) {
	u, err := url.Parse(id)
	if err != nil {
		return nil, err
	}
	dm := &daemon{id: id, machine: u.Fragment}
	bare := *u
	bare.Fragment = ""
	dm.place = bare.String()
	transport := &http.Transport{}
	opts := []client.Opt{client.WithHTTPClient(&http.Client{Transport: transport, CheckRedirect: client.CheckRedirect}), client.WithAPIVersionNegotiation()}
	way := &dialer{dial: new(net.Dialer).DialContext}
	switch u.Scheme {
	case "unix":
		dm.address, dm.local = "127.0.0.1", true
		// An engine that is about to end still reads from connections that it has,
		// and never answers; new ones cost nothing here.
		transport.DisableKeepAlives = true
		way.dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", u.Path)
		}
		opts = append(opts, client.WithHost("unix://"+u.Path))
	case "tcp":
		dm.address = u.Hostname()
		dm.local = isLoopback(dm.address)
		opts = append(opts, client.WithHost("tcp://"+u.Host))
		if q := u.Query(); len(q) > 0 {
			opts = append(opts, client.WithTLSClientConfig(q.Get("ca"), q.Get("cert"), q.Get("key")))
		}
	case "ssh":
		dm.address = u.Hostname()
		dm.local = isLoopback(dm.address)
		// The name is never looked up: connections go to ssh.
		way.dial = sshDialer(u)
		opts = append(opts, client.WithHost("http://engine"))
	default:
		return nil, fmt.Errorf("%q is no way to reach an engine: write unix:///path, tcp://box:2376 or ssh://user@box", id)
	}
	c, err := client.NewClientWithOpts(append(opts, client.WithDialContext(way.DialContext))...)
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 16, 16 // about as many calls as are under way
	dm.engineClient = newEngineClient(c)
	return dm, err
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// hostID says where a host's engine answers and which host it is: the id of the
// host.
func (d *Docker) hostID(a engine.Address, h engine.Host) (string, error) {
	place, tls := h.Engine, h.TLS
	if place == "" {
		place = os.Getenv("DOCKER_HOST")
		if dir := os.Getenv("DOCKER_CERT_PATH"); dir != "" && os.Getenv("DOCKER_TLS_VERIFY") != "" {
			tls = &engine.EngineTLS{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
		}
	}
	if place == "" {
		place = "unix:///var/run/docker.sock"
	}
	u, err := url.Parse(place)
	if err != nil || !slices.Contains([]string{"unix", "tcp", "ssh"}, u.Scheme) || u.Scheme == "unix" && u.Path == "" || u.Scheme != "unix" && u.Host == "" {
		return "", fmt.Errorf("engine = %q is no way to reach an engine: write unix:///path, tcp://box:2376 or ssh://user@box", place)
	}
	u.Fragment = a.String()
	if tls == nil {
		return u.String(), nil
	}
	if u.Scheme != "tcp" {
		return "", fmt.Errorf("tls is for engines at tcp://, but the engine is %s: remove the block", place)
	}
	q := url.Values{}
	for name, file := range map[string]string{"ca": tls.CA, "cert": tls.Cert, "key": tls.Key} {
		if file == "" {
			continue
		}
		file = d.path(file)
		if _, err := os.Stat(file); err != nil {
			return "", fmt.Errorf("tls.%s: %w", name, err)
		}
		q.Set(name, file)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// path resolves a path of the spec.
func (d *Docker) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(d.settings.SpecDir, p)
}

// The hosts that the flow has, and their engines, are noted in the provider's
// folder, one file each, so that what an interrupted run left is looked for on all
// of them.

// note is one host.
type note struct {
	Host   engine.Address `json:"host"`
	Engine string         `json:"engine"` // the host's id
}

func (d *Docker) notePath(r providers.Ref) string {
	return filepath.Join(d.settings.Dir, "host-"+providers.Name(r.Address, 1)+".json")
}

func (d *Docker) note(r providers.Ref, id string) error {
	if err := os.MkdirAll(d.settings.Dir, 0o700); err != nil {
		return err
	}
	text, err := json.Marshal(note{r.Address, id})
	if err != nil {
		return err
	}
	return os.WriteFile(d.notePath(r), text, 0o600)
}

func (d *Docker) forget(r providers.Ref) error {
	if err := os.Remove(d.notePath(r)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	os.Remove(d.settings.Dir) // once it is empty
	return nil
}

func (d *Docker) notes() ([]note, error) {
	files, err := filepath.Glob(filepath.Join(d.settings.Dir, "host-*.json"))
	if err != nil {
		return nil, err
	}
	var all []note
	for _, f := range files {
		text, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) {
			continue // its host is being removed
		}
		var n note
		if err == nil {
			err = json.Unmarshal(text, &n)
		}
		if err != nil {
			return nil, fmt.Errorf("read which hosts there are: %s: %w", f, err)
		}
		all = append(all, n)
	}
	return all, nil
}

// noted returns the engines that the flow has hosts on, each once.
func (d *Docker) noted() ([]*daemon, error) {
	notes, err := d.notes()
	if err != nil {
		return nil, err
	}
	var all []*daemon
	for _, n := range notes {
		dm, err := d.daemon(n.Engine)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(all, func(o *daemon) bool { return o.place == dm.place }) {
			all = append(all, dm)
		}
	}
	return all, nil
}

// candidates returns the engines where something may be: the recorded one, or
// after a crash all.
func (d *Docker) candidates(id string) ([]*daemon, error) {
	if id == "" {
		return d.noted()
	}
	dm, err := d.daemon(id)
	return []*daemon{dm}, err
}

// short is a part of a hash that is long enough to tell a flow's things apart.
func short(hash string) string { return hash[:min(len(hash), 16)] }

func hashOf(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}
