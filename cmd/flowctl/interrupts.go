package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// errInterrupted is why a context ended: somebody pressed ^C, sent SIGTERM, or
// the terminal is gone.
var errInterrupted = errors.New("interrupted")

// interrupts turns signals into contexts: the first one ends soft (start nothing
// new), the second ends hard (cancel what runs), the third ends the process.
type interrupts struct {
	soft, hard context.Context
	count      atomic.Int32
	signals    chan os.Signal
	done       chan struct{}
	killed     func() // ends hard
}

// doubled is how close together two signals count as one: wrappers and terminals
// deliver the same ^C twice.
const doubled = 50 * time.Millisecond

func newInterrupts() *interrupts {
	i := &interrupts{signals: make(chan os.Signal, 4), done: make(chan struct{})}
	var stop, kill context.CancelCauseFunc
	i.soft, stop = context.WithCancelCause(context.Background())
	i.hard, kill = context.WithCancelCause(context.Background())
	i.killed = func() { kill(errInterrupted) }
	signal.Notify(i.signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signal.Notify(i.signals, syscall.SIGHUP)
	}
	go func() {
		defer close(i.done)
		var last time.Time
		for range i.signals {
			if now := time.Now(); now.Sub(last) < doubled {
				continue
			} else {
				last = now
			}
			switch i.count.Add(1) {
			case 1:
				stop(errInterrupted)
			case 2:
				kill(errInterrupted)
			default:
				os.Exit(exitInterrupted)
			}
		}
	}()
	return i
}

// graceful ends hard some time after soft has ended. The caller calls the
// returned function when the work is over.
func (i *interrupts) graceful(grace time.Duration) (stop func()) {
	over := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-i.soft.Done():
		case <-over:
			return
		}
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case <-t.C:
			i.killed()
		case <-over:
		}
	}()
	return func() { close(over); <-ended }
}

// twice reports whether the operator insisted.
func (i *interrupts) twice() bool { return i.count.Load() > 1 }

func (i *interrupts) stop() {
	signal.Stop(i.signals)
	close(i.signals)
	<-i.done
}
