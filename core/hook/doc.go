// Package hook is the one interface by which the broker calls out: the points at
// which somebody else may decide, and the events that it tells.
//
// Points come in three modes, because they cost differently. A decision may veto
// or change what happens, and the connection waits for it (paused, never with a
// blocked goroutine). A gate holds back an acknowledgement. An observation never
// slows anything down.
//
// The broker looks at Chain.Wants before each call: a point that nobody wants
// costs one atomic load. It works the same with no Host installed.
//
// The package does not know how a Host loads plugins, and not what a session or
// a connection is; it sees Client, an immutable description. The host of plugins
// implements Host; core/broker calls it.
package hook
