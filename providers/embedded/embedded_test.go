package embedded

import (
	"reflect"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/internal/lb"
)

// A block that is left out means the same as one with nothing in it: the
// defaults that the language documents.
func TestBlocksLeftOutHaveTheDefaultsOfTheLanguage(t *testing.T) {
	e, r, q, timeout := orDefaults[engine.Eject](nil), orDefaults[engine.FrontendRetry](nil), orDefaults[engine.Queue](nil), orDefaults[engine.FrontTimeout](nil)
	var bare, empty lb.Frontend
	configure(&bare, engine.Frontend{})
	configure(&empty, engine.Frontend{Eject: &e, Retry: &r, Queue: &q, Timeout: &timeout})
	if !reflect.DeepEqual(bare, empty) {
		t.Errorf("without blocks:\n%+v\nwith their defaults:\n%+v", bare, empty)
	}
	want := lb.Frontend{
		Eject:    lb.Eject{ConsecutiveErrors: 5, BaseTime: lb.Duration(5 * time.Second), MaxPercent: 50, PanicPercent: 30},
		Retry:    lb.Retry{Attempts: 3, BudgetPercent: 20},
		Queue:    lb.Queue{Size: 1024, Timeout: lb.Duration(5 * time.Second)},
		Timeouts: lb.Timeouts{Connect: lb.Duration(2 * time.Second), Header: lb.Duration(time.Minute), Idle: lb.Duration(90 * time.Second)},
	}
	if !reflect.DeepEqual(bare, want) {
		t.Errorf("got\n%+v\nwant\n%+v", bare, want)
	}
}

func TestZeroSwitchesOff(t *testing.T) {
	f := lb.Frontend{Name: "frontend.www"}
	configure(&f, engine.Frontend{Listen: "127.0.0.1:0", Protocol: "http", Balance: "p2c", Eject: &engine.Eject{}, Retry: &engine.FrontendRetry{}, Queue: &engine.Queue{}})
	if f.Eject.ConsecutiveErrors != -1 || f.Eject.MaxPercent != -1 || f.Eject.PanicPercent != -1 || f.Retry.Attempts != 1 || f.Retry.BudgetPercent != -1 || f.Queue.Size != -1 {
		t.Errorf("%+v %+v %+v", f.Eject, f.Retry, f.Queue)
	}
	if err := (lb.Snapshot{Version: 1, Frontends: []lb.Frontend{f}}).Validate(); err != nil {
		t.Error(err)
	}
}
