package engine

import "time"

// Batch is what one durable write of the journal holds: outcomes first, then the
// intents of what they allow to begin. It is written whole or not at all.
type Batch struct {
	Run      int64
	Outcomes []Outcome
	Intents  []Intent
	Tasks    []TaskRecord // progress of the run's tasks, for its history
}

// Empty reports whether there is nothing to write.
func (b Batch) Empty() bool { return len(b.Outcomes)+len(b.Intents)+len(b.Tasks) == 0 }

// TaskRecord is one attempt at a step, or the news that a step never ran.
type TaskRecord struct {
	Step    Step
	State   StepState
	Attempt int // from 1; 0 if it never ran
	Started time.Time
	Ended   time.Time
	Err     string
}

// Result is what one attempt at a step achieved. With an error it still tells
// what exists.
type Result struct {
	Object    *Object // what exists now; nil if nothing does
	Unchanged bool    // nothing had to be done
	Note      string  // what it found out: "12 requests only"
	Unknown   bool    // with an error: nobody could say what exists
	Taken     *Key    // what Object was before, and is no more; nil if it was made
}
