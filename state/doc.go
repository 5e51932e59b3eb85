// Package state remembers what flowctl believes to exist: the objects of a
// flow with their revisions, its outputs, the journal of operations, the runs
// with their tasks and attempts, and who holds the lock.
//
// Invariants:
//
//   - Append returns when its batch is on disk (SQLite in WAL mode with
//     synchronous=FULL). Batches that wait together share one transaction: one
//     goroutine writes.
//   - An operation is recorded before a provider is called for it, and its
//     outcome together with the object that it made, in one transaction. So
//     after a crash the open operations, and only those, are unknown.
//   - Every write checks the epoch of the writer's lease: who lost the lock can
//     change nothing any more.
//   - A file that is damaged, of another program, or of a newer flowctl is left
//     as it is.
//
// Start with Open. What the records mean is decided elsewhere.
package state
