package load

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	osexec "os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be the server that the benchmark drives, so
// that the processor time of the driver can be told from the server's.
func TestMain(m *testing.M) {
	if os.Getenv("LOAD_TEST_SERVER") == "" {
		os.Exit(m.Run())
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	panic(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(ReplicaHeader, "bench")
		w.Write([]byte("ok"))
	})))
}

func trivialServer(b *testing.B) string {
	cmd := osexec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LOAD_TEST_SERVER=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return "http://" + strings.TrimSpace(addr) + "/"
}

// BenchmarkRun drives for two seconds at a time. Look at rps (it should be the
// rate of the name) and cpu-us/req, the driver's own.
func BenchmarkRun(b *testing.B) {
	url := trivialServer(b)
	for _, rate := range []float64{100, 2000, 8000, 16000, 1e6} {
		b.Run(fmt.Sprintf("wanted=%g", rate), func(b *testing.B) {
			var rep Report
			var err error
			before := cpu()
			for b.Loop() {
				c := Preset(Steady)
				c.Request.URL = url
				c.Shape.BaseRPS, c.Shape.Duration = rate, 2*time.Second
				if rep, err = Run(b.Context(), c, nil); err != nil || rep.Failed() > 0 {
					b.Fatal(err, Summary(rep))
				}
			}
			b.ReportMetric(rep.RPS, "rps")
			b.ReportMetric(rep.P50Ms*1000, "p50-us")
			b.ReportMetric(rep.P99Ms*1000, "p99-us")
			b.ReportMetric(float64((cpu()-before).Microseconds())/float64(rep.Done)/float64(b.N), "cpu-us/req")
		})
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
