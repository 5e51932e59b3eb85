package runtime

import (
	goruntime "runtime"
	"sync"
	"sync/atomic"
)

// stretch is how many calls one goroutine makes before it takes more: enough that
// taking costs nothing.
const stretch = 32

// spread calls f with each of 0 to n-1, on all cores, and returns when all calls
// have.
func spread(n int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(goruntime.GOMAXPROCS(0), (n+stretch-1)/stretch) {
		wg.Go(func() {
			for {
				from := int(next.Add(stretch)) - stretch
				if from >= n {
					return
				}
				for i := from; i < min(from+stretch, n); i++ {
					f(i)
				}
			}
		})
	}
	wg.Wait()
}
