// Package access evaluates what a client may do, natively: the permissions that
// it received at authentication (allow and deny rules over Topic Filters), and
// its rate limits (token buckets).
//
// It is pure: no I/O, no knowledge of sessions or plugins. Who hands out
// permissions is a plugin's affair (see core/hook); who asks and what follows
// from a refusal is core/broker's.
package access
