package observe

import (
	"slices"
	"testing"
	"time"

	"github.com/flowctl/flowctl/runtime/decide"
)

// Whoever has the samples keeps what he has, while others come and old ones go; and
// no more are kept than twice what a rule looks back to.
func TestSamplesStay(t *testing.T) {
	s := &series{keep: 10 * time.Second}
	at := time.Unix(1000, 0)
	var had, copies [][]decide.Sample
	for n := range 1000 {
		s.add(decide.Sample{At: at.Add(time.Duration(n) * time.Second), Value: float64(n)})
		had, copies = append(had, s.all()), append(copies, slices.Clone(s.all()))
		if len(s.all()) > 22 {
			t.Fatalf("%d samples are kept", len(s.all()))
		}
	}
	for i := range had {
		if !slices.Equal(had[i], copies[i]) {
			t.Fatalf("reading %d was changed afterwards: %v, was %v", i, had[i], copies[i])
		}
		if clear := append(had[i], decide.Sample{}); &clear[0] == &had[i][0] { // by a reader who adds to it
			t.Fatalf("reading %d shares the room behind it", i)
		}
	}
}
