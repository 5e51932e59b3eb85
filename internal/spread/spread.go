// Package spread does many small things that do not depend on each other on all
// cores.
package spread

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
)

// stretch is how many calls one goroutine makes before it takes more: enough that
// taking costs nothing.
const stretch = 64

// Each calls f with each of 0 to n-1, some at a time, and returns when all calls have.
func Each(n int, f func(i int)) {
	var next atomic.Int64
	work := func() {
		for {
			from := int(next.Add(stretch)) - stretch
			if from >= n {
				return
			}
			for i := from; i < min(from+stretch, n); i++ {
				f(i)
			}
		}
	}
	others := min(runtime.GOMAXPROCS(0), (n+stretch-1)/stretch) - 1
	var wg sync.WaitGroup
	for range others {
		wg.Go(work)
	}
	work()
	wg.Wait()
}

// Try is Each with calls that may fail. Once one has, those that have not begun are not
// made. The error joins what went wrong, in order.
func Try(n int, f func(i int) error) error {
	errs := make([]error, n)
	var failed atomic.Bool
	Each(n, func(i int) {
		if failed.Load() {
			return
		}
		if errs[i] = f(i); errs[i] != nil {
			failed.Store(true)
		}
	})
	return errors.Join(errs...)
}
