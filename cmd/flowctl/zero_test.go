package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/flowctl/flowctl/runtime/api"
)

// restFlow is a function that rests until somebody asks for it.
const restFlow = `
flow "rest" {}

vm "node" {
  cpus   = 4
  memory = "1GiB"
}

function "web" {
  on    = vm.node
  exec  = ["flowctl-demo", "api"]
  drain = "1s"
  health {
    http = "/healthz"
  }
}

frontend "www" {
  listen = "127.0.0.1:0"
  to     = function.web
  queue {
    timeout = "2m"
  }
}

scaling "web" {
  target = function.web
  min    = 0
  max    = 3
  metric "rps" {
    target = 50
    window = "3s"
    burst {
      hold = "1s"
    }
  }
  zero {
    after = "2s"
  }
  down {
    stabilise = "1s"
    cooldown  = "1s"
    limit {
      percent = 100
      per     = "1s"
    }
  }
}

output "url" {
  value = frontend.www.url
}
`

// A function that rests is woken by the first requests, which wait until it
// answers, and rests again when nobody asks any more.
func TestFunctionsRestAndAreWoken(t *testing.T) {
	t.Parallel()
	f, url := spiked(t, "rest", restFlow)
	resting := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		var last api.Status
		f.Follow(ctx, 100*time.Millisecond, func(s api.Status) {
			last = s
			if len(s.Rules) == 1 && len(s.Running) == 0 && s.Rules[0].Decision.Ready == 0 && s.Rules[0].Decision.To == 0 && !s.Rules[0].Decision.At.IsZero() {
				cancel()
			}
		})
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Fatalf("it does not rest: %+v", last)
		}
	}
	for round := range 2 {
		resting()
		var wg sync.WaitGroup
		for n := range 20 {
			wg.Go(func() {
				if err := answered(t.Context(), url+"/fib/5"); err != nil {
					t.Errorf("round %d, request %d: %v", round, n, err)
				}
			})
		}
		wg.Wait()
	}
	resting()
	flowctl{t: t, dir: filepath.Dir(f.Spec), name: "rest"}.must("plan", "-detailed-exitcode")
	if err := f.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
}

// answered sends one request and waits for its answer.
func answered(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d, %v", resp.StatusCode, err)
	}
	return nil
}
