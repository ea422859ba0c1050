package store

import "sync/atomic"

// Receipt tells when everything is safe that belongs to one publication: its
// publisher may be answered then. Each change that is handed to a Store with a
// Receipt is one thing to wait for; it is done when it is safe, or when it does
// not matter any more because the message has been settled. A nil Receipt waits
// for nothing.
type Receipt struct {
	open atomic.Int32
	err  atomic.Pointer[error]
	done func(error)
}

// NewReceipt returns a Receipt that is open until Wait.
func NewReceipt() *Receipt {
	r := new(Receipt)
	r.open.Store(1)
	return r
}

// Add is called by a Store for each thing to wait for.
func (r *Receipt) Add() {
	if r != nil {
		r.open.Add(1)
	}
}

// Done is called by a Store when one of these things is safe, or with the reason
// why it never will be. It may call the function given to Wait: no lock that
// this one takes may be held.
func (r *Receipt) Done(err error) {
	if r == nil {
		return
	}
	if err != nil {
		first := err // err itself would be allocated in each call
		r.err.CompareAndSwap(nil, &first)
	}
	if r.open.Add(-1) == 0 {
		r.done(r.result())
	}
}

// Wait ends the adding. If everything is settled already, it returns true and
// the result; else false, and done is called later, once, from any goroutine.
func (r *Receipt) Wait(done func(error)) (settled bool, err error) {
	r.done = done
	if r.open.Add(-1) == 0 {
		return true, r.result()
	}
	return false, nil
}

func (r *Receipt) result() error {
	if p := r.err.Load(); p != nil {
		return *p
	}
	return nil
}
