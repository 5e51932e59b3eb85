package view

import (
	"strings"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

func TestTopTellsOfDisksAndNetworksWhereAProviderDoes(t *testing.T) {
	row := func(io *providers.IO) ResourceStatus {
		o := engine.Object{Address: engine.Addr(engine.KindVM, "node").At(0), Gen: 1, Value: engine.Encode(engine.VM{})}
		return ResourceStatus{Object: o, Usage: &providers.Usage{State: "running", IO: io}}
	}
	for _, c := range []struct {
		io   *providers.IO
		want string
	}{
		{nil, ""},
		{&providers.IO{DiskRead: 3 << 20, DiskWritten: 1 << 20, NetworkReceived: 5 << 20, NetworkSent: 2 << 30}, "3.0MiB / 1.0MiB 5.0MiB / 2048MiB"},
	} {
		top := TopOf(FlowStatus{Resources: []ResourceStatus{row(c.io)}}, time.Time{})
		text := top.Text("cpu", time.Time{}, Style{})
		if got := strings.Contains(text, "DISK R/W"); got != (c.io != nil) || !strings.Contains(strings.Join(strings.Fields(text), " "), c.want) {
			t.Errorf("%v:\n%s", c.io, text)
		}
	}
}
