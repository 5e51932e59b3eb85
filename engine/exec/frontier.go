package exec

import (
	"container/heap"
	"slices"

	"github.com/flowctl/flowctl/engine"
)

// class is what limits count: steps of one phase on one provider.
type class struct {
	phase    engine.Phase
	provider string
}

// Frontier knows which steps of a run are ready. It counts open needs, so all
// operations together cost O(V+E), and a logarithm for the order. It is not
// safe for concurrent use.
type Frontier struct {
	steps   []engine.Step
	users   [][]int32
	open    []int32
	state   []engine.StepState
	ready   map[class]*intHeap
	classes []class // in order of first use
	left    int     // steps that are neither done nor given up
}

// NewFrontier returns a frontier over steps in topological order, whose IDs are
// their places.
func NewFrontier(steps []engine.Step) *Frontier {
	f := &Frontier{
		steps: steps, users: make([][]int32, len(steps)), open: make([]int32, len(steps)),
		state: make([]engine.StepState, len(steps)), ready: map[class]*intHeap{}, left: len(steps),
	}
	for i := range steps {
		f.open[i] = int32(len(steps[i].Needs))
		for _, n := range steps[i].Needs {
			f.users[n] = append(f.users[n], int32(i))
		}
	}
	for i := range steps {
		if f.open[i] == 0 {
			f.push(i)
		}
	}
	return f
}

func (f *Frontier) push(id int) {
	c := class{f.steps[id].Phase, f.steps[id].Provider}
	h := f.ready[c]
	if h == nil {
		h = &intHeap{}
		f.ready[c] = h
		f.classes = append(f.classes, c)
	}
	heap.Push(h, id)
}

// Next takes the first ready step, in topological order, whose phase and
// provider are allowed to begin another; ok is false if there is none.
func (f *Frontier) Next(allowed func(engine.Phase, string) bool) (id int, ok bool) {
	var best *intHeap
	for _, c := range f.classes {
		h := f.ready[c]
		if h.Len() == 0 || best != nil && (*h)[0] > (*best)[0] || !allowed(c.phase, c.provider) {
			continue
		}
		best = h
	}
	if best == nil {
		return 0, false
	}
	id = heap.Pop(best).(int)
	f.state[id] = engine.Running
	return id, true
}

// Again puts a step that was taken back among the ready ones.
func (f *Frontier) Again(id int) {
	f.state[id] = engine.Pending
	f.push(id)
}

// Done marks a step as done, which may make others ready.
func (f *Frontier) Done(id int) {
	f.state[id] = engine.Done
	f.left--
	for _, u := range f.users[id] {
		if f.open[u]--; f.open[u] == 0 && f.state[u] == engine.Pending {
			f.push(int(u))
		}
	}
}

// Fail marks a step as failed and returns the steps that will therefore never
// run, in order.
func (f *Frontier) Fail(id int) []int {
	f.state[id] = engine.Failed
	f.left--
	var lost []int
	stack := slices.Clone(f.users[id])
	for len(stack) > 0 {
		u := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if f.state[u] != engine.Pending {
			continue
		}
		f.state[u] = engine.UpstreamFailed
		f.left--
		lost = append(lost, int(u))
		stack = append(stack, f.users[u]...)
	}
	slices.Sort(lost)
	return lost
}

// Cancel gives up all steps that have not begun and returns them.
func (f *Frontier) Cancel() []int {
	var lost []int
	for i := range f.state {
		if f.state[i] == engine.Pending {
			f.state[i] = engine.Cancelled
			f.left--
			lost = append(lost, i)
		}
	}
	for _, h := range f.ready {
		*h = (*h)[:0]
	}
	return lost
}

// State returns how far a step has come.
func (f *Frontier) State(id int) engine.StepState { return f.state[id] }

// Left returns the number of steps that are still to end.
func (f *Frontier) Left() int { return f.left }

// intHeap is a heap of step IDs, the smallest first.
type intHeap []int

func (h intHeap) Len() int           { return len(h) }
func (h intHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h intHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *intHeap) Push(x any)        { *h = append(*h, x.(int)) }
func (h *intHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
