package libvirt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// real stands for a hypervisor with machines, of which nothing is asked.
type real struct{ hypervisor }

func (real) Simulated() bool { return false }

// publisher serves an image, in ways that a test sets.
type publisher struct {
	content []byte
	cutAt   int  // break the next answer off after so many bytes; 0 for never
	plain   bool // know of no ranges
	status  int  // answer this, if it is not 0

	mu     sync.Mutex
	ranges []string // of each request
}

func (p *publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ranges = append(p.ranges, r.Header.Get("Range"))
	if p.status != 0 {
		w.WriteHeader(p.status)
		return
	}
	if p.plain {
		r.Header.Del("Range")
	}
	if cut := p.cutAt; cut > 0 {
		p.cutAt = 0
		w.Header().Set("Content-Length", fmt.Sprint(len(p.content)))
		w.Write(p.content[:cut])
		panic(http.ErrAbortHandler)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(p.content))
}

func sumOf(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// fetching serves content and returns how a machine that starts from it is fetched.
func fetching(t *testing.T, p *publisher, sum string) (string, func(context.Context) error) {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	l := New(providers.Settings{
		Name: Name, Flow: "shop", Dir: t.TempDir(), SpecDir: "/", Log: slog.New(slog.DiscardHandler), Config: engine.Encode(Config{}),
	})
	file, err := fetchedAt(strings.ToLower(sum))
	if err != nil {
		t.Fatal(err)
	}
	return file, func(ctx context.Context) error {
		return l.fetch(ctx, real{}, engine.VM{Image: s.URL + "/disk.qcow2", SHA256: sum})
	}
}

// image is what is published: large enough to be cut.
func image() []byte { return bytes.Repeat([]byte("an image "), 200_000) }

func TestImagesAreFetchedOnce(t *testing.T) {
	p := &publisher{content: image()}
	file, fetch := fetching(t, p, strings.ToUpper(sumOf(image())))
	var notes []string
	ctx := engine.WithNotes(t.Context(), func(text string) { notes = append(notes, text) })
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := fetch(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, image()) {
		t.Errorf("what is here is not what was published: %d bytes, %v", len(got), err)
	}
	if len(p.ranges) != 1 {
		t.Errorf("it was asked for %d times, not once", len(p.ranges))
	}
	if len(notes) < 10 || !strings.HasPrefix(notes[0], "fetched ") {
		t.Errorf("of its progress was told %q", notes)
	}
	if left, _ := filepath.Glob(file + "?*"); left != nil {
		t.Errorf("beside it are %v", left)
	}
}

func TestFetchesGoOnWhereTheyBrokeOff(t *testing.T) {
	for _, c := range []struct {
		name  string
		p     *publisher
		spoil bool // what has come of it is from another image
		want  []string
	}{
		{name: "the rest is fetched", p: &publisher{cutAt: 700_000}, want: []string{"", "bytes=700000-"}},
		{name: "all of it, from a server without ranges", p: &publisher{cutAt: 700_000, plain: true}, want: []string{"", "bytes=700000-"}},
		{name: "all of it, when it was replaced meanwhile", p: &publisher{cutAt: 700_000}, spoil: true, want: []string{"", "bytes=700000-", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := c.p
			p.content = image()
			file, fetch := fetching(t, p, sumOf(image()))
			if err := fetch(t.Context()); !providers.Retryable(err) {
				t.Fatalf("a download that breaks off is no passing fault: %v", err)
			}
			if c.spoil {
				if err := os.WriteFile(file+".part", make([]byte, 700_000), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := fetch(t.Context()); !providers.Retryable(err) {
					t.Fatalf("parts that do not fit are no passing fault: %v", err)
				}
			}
			if err := fetch(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got, _ := os.ReadFile(file); !bytes.Equal(got, image()) {
				t.Errorf("what is here is not what was published: %d bytes", len(got))
			}
			if fmt.Sprint(p.ranges) != fmt.Sprint(c.want) {
				t.Errorf("asked for were %q, not %q", p.ranges, c.want)
			}
		})
	}
}

func TestImagesThatAreNotTheOnesMeant(t *testing.T) {
	other := sumOf([]byte("another"))
	for _, c := range []struct {
		name    string
		status  int
		passing bool
		want    []string // parts of the error
	}{
		{"another content", 0, false, []string{"/disk.qcow2 has the SHA-256 " + sumOf(image()), "but " + other + " was expected", "correct sha256"}},
		{"nothing there", http.StatusNotFound, false, []string{"/disk.qcow2", "404", "correct image"}},
		{"a server that is away", http.StatusServiceUnavailable, true, []string{"/disk.qcow2", "503"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			file, fetch := fetching(t, &publisher{content: image(), status: c.status}, other)
			err := fetch(t.Context())
			if err == nil || providers.Retryable(err) != c.passing {
				t.Fatalf("the error is %v, to be tried again %t", err, providers.Retryable(err))
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error %q lacks %q", err, want)
				}
			}
			if _, err := os.Stat(file); err == nil {
				t.Error("what was not meant is taken for the image")
			}
		})
	}
}

func TestChecksumsOfImages(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(file, image(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, image, sum string
		want             string // part of the error, "" for none
	}{
		{"a file that is as told", file, sumOf(image()), ""},
		{"a file that is not", file, sumOf(nil), "correct sha256"},
		{"no checksum of a file", file, "", ""},
		{"no checksum of what is fetched", "https://example.com/disk.qcow2", "", "write sha256 beside image"},
		{"a checksum that is none", file, "abc", "64 hexadecimal digits"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := New(providers.Settings{Name: Name, Flow: "shop", Dir: t.TempDir(), SpecDir: "/", Config: engine.Encode(Config{})})
			err := l.fetch(t.Context(), real{}, engine.VM{Image: c.image, SHA256: c.sum})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("the error is %v, not %q", err, c.want)
			}
		})
	}
}
