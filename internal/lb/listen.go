package lb

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// listening is one open address of a frontend.
type listening struct {
	l     *net.TCPListener
	ended chan struct{} // closed when its accept loop has returned
}

// listen opens bind, or the address asked for, and starts to accept.
func (f *frontend) listen(asked, bind string) error {
	l, err := net.Listen("tcp", cmp.Or(bind, asked))
	if err != nil {
		return listenError(err, cmp.Or(bind, asked))
	}
	on := &listening{l: l.(*net.TCPListener), ended: make(chan struct{})}
	go func() {
		defer close(on.ended)
		f.acceptLoop(on.l)
	}()
	f.on, f.asked = on, asked
	return nil
}

// listenError says who has the address, if that can be found out.
func listenError(err error, addr string) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	if who := holderOf(addr); who != "" {
		return fmt.Errorf("address %s is in use by %s", addr, who)
	}
	return fmt.Errorf("address %s is in use", addr)
}

// acceptLoop takes connections until l is closed or past its deadline.
func (f *frontend) acceptLoop(l *net.TCPListener) {
	defer l.Close()
	for f.gate.enter() {
		c, err := l.AcceptTCP()
		if err == nil {
			f.take(c)
			continue
		}
		f.gate.leave()
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		f.log.Warn("accept failed", "err", err) // out of descriptors, most likely
		select {
		case <-f.ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// backlogTime is how long a listener that is to be closed still accepts: closing
// it resets the connections that wait in the kernel.
const backlogTime = 10 * time.Millisecond

// close stops listening and returns when the address is free.
func (on *listening) close() {
	on.l.SetDeadline(time.Now().Add(backlogTime))
	select {
	case <-on.ended:
	case <-time.After(5 * backlogTime): // held up at the gate
		on.l.Close()
	}
}
