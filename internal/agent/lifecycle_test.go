package agent

import (
	"testing"
	"time"
)

// What a replica held is given back beside a change of it that is just done, when the
// agent shuts down meanwhile: they share nothing.
func TestReleaseBesideAChange(t *testing.T) {
	s := newSupervisor(host{now: time.Now, table: &procTable{}}, Machine{})
	r := &replica{spec: ReplicaSpec{Name: "r"}, res: &resources{}}
	s.release(r)
	r.spec = ReplicaSpec{Name: "r", CPU: 2}
	close(s.done)
	s.workers.Wait()
}
