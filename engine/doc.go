// Package engine holds the nouns of flowctl: what the spec asks for (Desired),
// what state remembers (Snapshot, Object), what is out there (Observation),
// what must change (Plan, Change) and how it is carried out (Step, Record).
//
// Nouns are values: built once, never mutated by those who receive them.
// Nothing here reads a clock, starts a goroutine, opens a file or knows HCL;
// values are cty values of a kind's Schema, and the kinds' own structs (VM,
// Replica, Frontend, …) are decoded from them once, where they are needed.
//
// Start with Address (how a thing is named), then Resource kinds in
// kinds.go, then Plan. The verbs live in the packages beneath: engine/place
// (which machine), engine/plan (what changes), engine/graph (in what order),
// engine/exec (doing it).
package engine
