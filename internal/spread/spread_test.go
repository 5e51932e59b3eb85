package spread_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/flowctl/flowctl/internal/spread"
)

func TestEach(t *testing.T) {
	for _, n := range []int{0, 1, 63, 64, 65, 1000} {
		calls := make([]atomic.Int64, n)
		spread.Each(n, func(i int) { calls[i].Add(1) })
		for i := range calls {
			if c := calls[i].Load(); c != 1 {
				t.Errorf("of %d, %d was called %d times", n, i, c)
			}
		}
	}
}

func TestTry(t *testing.T) {
	bad := errors.New("bad")
	if err := spread.Try(1000, func(int) error { return nil }); err != nil {
		t.Error(err)
	}
	if err := spread.Try(1000, func(i int) error {
		if i == 700 {
			return bad
		}
		return nil
	}); !errors.Is(err, bad) {
		t.Errorf("err = %v", err)
	}
}
