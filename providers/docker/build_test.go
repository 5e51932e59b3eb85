package docker_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/flowctl/flowctl/engine"
)

// An engine that takes a step from its cache does not keep it: when a flow removes
// its image just then, the build of another fails, with what the engine says here.
func TestBuildLosesCachedStep(t *testing.T) {
	l := newLab(t)
	var builds atomic.Int32
	through := throughProxy(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/build") {
			return false
		}
		if builds.Add(1) > 1 {
			if r.URL.Query().Get("nocache") != "1" {
				t.Error("the second build takes from the cache again")
			}
			return false
		}
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, `{"stream":" ---> Using cache\n"}`+"\n"+`{"error":"failed to get digest sha256:fb7b: open /var/lib/docker/image/sha256/fb7b: no such file or directory"}`+"\n")
		return true
	})
	host := l.make(t, engine.Addr(engine.KindHost, "through"), engine.Host{Engine: through})
	l.make(t, engine.Addr(engine.KindImage, "lost"), engine.Image{Build: probeBuild(t, dockerfile), Host: engine.HostLink{ID: host.ID()}})
	if n := builds.Load(); n != 2 {
		t.Errorf("%d builds, want 2", n)
	}
}

// Two flows on one engine have the same image. When one gives up former contents, the
// name that its container was made by stays, so that the other can go.
func TestFlowsShareAnImage(t *testing.T) {
	other := newLab(t)
	saved, err := other.engine.ImageSave(t.Context(), []string{other.image.ID()})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	archive, err := io.ReadAll(saved)
	if err := errors.Join(err, saved.Close(), os.WriteFile(file, archive, 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Run("one", func(t *testing.T) {
		l := newLabAlone(t)
		here := engine.HostLink{ID: l.host.ID()}
		shared := l.make(t, engine.Addr(engine.KindImage, "shared"), engine.Image{Archive: file, Host: here})
		r := l.replica()
		r.Image = shared.ID()
		l.make(t, function(0), r)
		o := l.make(t, shared.Address, engine.Image{Build: probeBuild(t, dockerfile), Host: here})
		if err := l.Delete(t.Context(), o, "r1"); err != nil {
			t.Fatal(err)
		}
		if _, err := l.engine.ImageInspect(t.Context(), shared.ID()); err != nil {
			t.Errorf("the container's image has lost its name: %v", err)
		}
		if err := other.Delete(t.Context(), other.image, "r1"); err != nil {
			t.Errorf("the other flow's image cannot go: %v", err)
		}
	})
}

// A build of somebody else has a container of our image for a moment.
func TestAnImageThatABuildIsAt(t *testing.T) {
	l := newLab(t)
	var refused atomic.Int32
	through := throughProxy(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodDelete || refused.Add(1) > 2 {
			return false
		}
		w.WriteHeader(http.StatusConflict)
		io.WriteString(w, `{"message":"conflict: unable to remove repository reference \"flowctl/x\" (must force) - container a75e6e4fb3dc is using its referenced image 8ecad1846fed"}`)
		return true
	})
	host := l.make(t, engine.Addr(engine.KindHost, "through"), engine.Host{Engine: through})
	o := l.make(t, engine.Addr(engine.KindImage, "busy"), engine.Image{Build: probeBuild(t, dockerfile), Host: engine.HostLink{ID: host.ID()}})
	if err := l.Delete(t.Context(), o, "r1"); err != nil || refused.Load() < 3 {
		t.Errorf("asked %d times: %v", refused.Load(), err)
	}
}

// throughProxy is another address of the engine. What it is asked goes to the engine
// unless answered before.
func throughProxy(t *testing.T, answered func(http.ResponseWriter, *http.Request) bool) string {
	t.Helper()
	proxy := toEngine(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !answered(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return "tcp://" + s.Listener.Addr().String()
}

// toEngine passes requests on to the engine.
func toEngine(t *testing.T) http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "engine"})
	socket := strings.TrimPrefix(os.Getenv(engineVar), "unix://")
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	proxy.Transport = transport
	return proxy
}
