// Package store is where the state lives that outlives a connection or the
// process: sessions with their subscriptions and messages in both directions,
// retained messages, and small values of plugins; and the promise that it is
// safe. The queues of plugins are sessions too, as far as a Store can see.
//
// It is a seam. The broker hands every durable change to a Store and lets an
// acknowledgement go only when a Receipt, a Ticket or Sync says that the change
// is safe. Memory, the store of an embedded broker, is safe by definition as
// long as the process lives, and answers at once; core/store/disk answers when
// its group commit is through.
//
// The package knows no protocol: what may be delivered when is core/session's
// affair.
package store
