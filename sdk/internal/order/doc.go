// Package order runs tasks on a bounded number of goroutines, so that tasks which share
// a key run one after the other, in the order in which they were given.
//
// A task may have several keys (a batch with events of several clients): it then waits
// for what came before it under each of them. It knows nothing of plugins; package sdk
// gives it the connections of a batch as keys. Entry point: New.
package order
