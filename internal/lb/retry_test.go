package lb

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestWhatMayBeRetried(t *testing.T) {
	for _, c := range []struct {
		name       string
		failure    failure
		method     string
		replayable bool
		want       bool
	}{
		{"GET, not sent", failedConnect, "GET", true, true},
		{"POST, not sent", failedConnect, "POST", true, true},
		{"POST, not sent but body begun", failedConnect, "POST", false, false},
		{"GET, connection lost", failedReset, "GET", true, true},
		{"PUT, connection lost, body kept", failedReset, "PUT", true, true},
		{"PUT, connection lost, body gone", failedReset, "PUT", false, false},
		{"POST, connection lost", failedReset, "POST", true, false},
		{"PATCH, connection lost", failedReset, "PATCH", true, false},
		{"GET, too slow", failedTimeout, "GET", true, false},
		{"GET, part of an answer came", failedBroken, "GET", true, false},
		{"GET, client's fault", failedOurs, "GET", true, false},
	} {
		if got := mayRetry(c.failure, c.method, c.replayable); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

func TestRetryBudget(t *testing.T) {
	for _, c := range []struct {
		name              string
		requests, retries uint64
		r                 Retry
		want              bool
	}{
		{"within 20 percent", 1000, 199, Retry{BudgetPercent: 20, MinPerSecond: -1}, true},
		{"above 20 percent", 1000, 200, Retry{BudgetPercent: 20, MinPerSecond: -1}, false},
		{"minimum on an idle frontend", 1, 99, Retry{BudgetPercent: 20, MinPerSecond: 10}, true},
		{"above the minimum", 1, 100, Retry{BudgetPercent: 20, MinPerSecond: 10}, false},
		{"no budget at all", 1000, 0, Retry{BudgetPercent: -1, MinPerSecond: -1}, false},
	} {
		if got := withinBudget(c.requests, c.retries, c.r); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
	f := &frontend{clock: newClock()}
	r := Retry{BudgetPercent: 20, MinPerSecond: -1}
	for range 10 {
		f.counters.requests.add(f.clock.now())
	}
	if a, b, c := f.spendRetry(r), f.spendRetry(r), f.spendRetry(r); !a || !b || c {
		t.Errorf("3 retries for 10 requests: %t %t %t", a, b, c)
	}
}

func TestABodyGoesToOneTryAtATime(t *testing.T) {
	s := &bodyShare{src: strings.NewReader("hello")}
	first := s.next()
	second := s.next()
	if first == nil || second == nil || !s.whole() {
		t.Fatal("an untouched body is there again")
	}
	if _, err := first.Read(make([]byte, 2)); !errors.Is(err, errGivenUp) {
		t.Errorf("the try that was given up read on: %v", err)
	}
	if b, err := io.ReadAll(second); string(b) != "hello" || err != nil {
		t.Errorf("second try read %q, %v", b, err)
	}
	if s.next() != nil || s.whole() {
		t.Error("a touched body came again")
	}
}

func TestIdempotentMethods(t *testing.T) {
	for _, m := range []string{http.MethodPost, http.MethodPatch, http.MethodConnect, "MOVE", ""} {
		if idempotent(m) {
			t.Errorf("%q", m)
		}
	}
}
