// Package observe measures what scaling rules decide by. Each source (what one
// provider reports, one query, one command) is read in a goroutine of its own,
// with its own deadline: one that hangs or lies leaves its metrics missing, and
// harms no other.
//
// Samples are kept in memory, as long as the rules look back; who keeps them longer
// is told of each. Start with Collector.
package observe
