package authfile

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/sdk/password"
)

// errBusy says that too many logins wait already.
var errBusy = errors.New("too many logins at once")

// maxRemembered bounds the memory of right passwords, some 100 bytes each.
const maxRemembered = 65_536

// proof stands for a user name, a hash and a password that were held against each other.
type proof [sha256.Size]byte

// verifier verifies passwords within bounds. It is safe for concurrent use.
//
// Equal verifications that come while one is under way wait for that one: a thousand
// devices that share a user cost one verification. Right passwords are remembered for a
// while, as an HMAC with a key of this process; a changed hash makes another proof, so
// nothing has to be forgotten when users change.
type verifier struct {
	// compute holds a password against a hash.
	compute func(ctx context.Context, secret []byte, hash string) (bool, error)
	now     func() time.Time
	key     []byte

	mu       sync.Mutex
	maxQueue int
	remember time.Duration
	queued   int
	flights  map[proof]*flight
	right    map[proof]time.Time // until when
}

// flight is a verification under way.
type flight struct {
	landed  chan struct{}
	matches bool
	err     error
}

func newVerifier() *verifier {
	v := &verifier{now: time.Now, key: make([]byte, sha256.Size), flights: map[proof]*flight{}, right: map[proof]time.Time{}}
	rand.Read(v.key) // never fails
	return v
}

// configure sets the bounds.
func (v *verifier) configure(c *Config, compute func(ctx context.Context, secret []byte, hash string) (bool, error)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.compute, v.maxQueue, v.remember = compute, c.MaxQueue, c.Remember.Std()
	if v.remember == 0 {
		clear(v.right)
	}
}

// hasher is the bounded work of a process of our own.
func hasher(c *Config) func(ctx context.Context, secret []byte, hash string) (bool, error) {
	return password.New(password.Options{MaxMemory: int64(c.MaxMemory), Parallel: c.Parallel}).Verify
}

func (v *verifier) proof(name, hash string, secret []byte) (p proof) {
	mac := hmac.New(sha256.New, v.key)
	for _, part := range [][]byte{[]byte(name), []byte(hash), secret} {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		mac.Write(part)
	}
	mac.Sum(p[:0])
	return p
}

// verify reports whether secret is the password of a user with a hash. For a user that
// does not exist the hash is a decoy and unknown is set: then all goes as it would for
// another, but for the answer. Errors: errBusy, that of ctx, or what the work failed with.
func (v *verifier) verify(ctx context.Context, name, hash string, secret []byte, unknown bool) (bool, error) {
	identity := hash
	if unknown {
		identity = "" // decoys differ from time to time
	}
	p := v.proof(name, identity, secret)
	for {
		f, first, err := v.board(p)
		if err != nil || f == nil {
			return err == nil, err
		}
		if first {
			v.fly(ctx, p, f, func(ctx context.Context) (bool, error) {
				matches, err := v.work()(ctx, secret, hash)
				return matches && !unknown, err
			})
			return f.matches, f.err
		}
		select {
		case <-f.landed:
		case <-ctx.Done():
			v.leave()
			return false, ctx.Err()
		}
		v.leave()
		// If the one that did the work had no time left for it, this one tries itself.
		if f.err == nil {
			return f.matches, nil
		}
	}
}

// board returns a flight to wait for, or to do oneself if first; nil if the password is
// known to be right.
func (v *verifier) board(p proof) (f *flight, first bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if until, ok := v.right[p]; ok {
		if v.now().Before(until) {
			return nil, false, nil
		}
		delete(v.right, p)
	}
	if v.queued >= v.maxQueue {
		return nil, false, errBusy
	}
	v.queued++
	if f = v.flights[p]; f != nil {
		return f, false, nil
	}
	f = &flight{landed: make(chan struct{})}
	v.flights[p] = f
	return f, true, nil
}

func (v *verifier) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.queued--
}

func (v *verifier) work() func(ctx context.Context, secret []byte, hash string) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.compute
}

// fly does the work of a flight.
func (v *verifier) fly(ctx context.Context, p proof, f *flight, work func(context.Context) (bool, error)) {
	f.err = errors.New("the verification has panicked") // unless it comes to an end
	defer func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.queued--
		delete(v.flights, p)
		if f.err == nil && f.matches && v.remember > 0 {
			v.note(p)
		}
		close(f.landed)
	}()
	f.matches, f.err = work(ctx)
}

// note remembers a right password. It is called with mu held.
func (v *verifier) note(p proof) {
	now := v.now()
	if len(v.right) >= maxRemembered {
		for q, until := range v.right {
			if !now.Before(until) {
				delete(v.right, q)
			}
		}
	}
	for q := range v.right {
		if len(v.right) < maxRemembered {
			break
		}
		delete(v.right, q) // any
	}
	v.right[p] = now.Add(v.remember)
}
