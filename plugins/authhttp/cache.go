package authhttp

import (
	"container/list"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

// cache remembers who was let in. Passwords are not in it, but as codes with a key that
// ends with the process. It is safe for concurrent use.
type cache struct {
	ttl  time.Duration
	size int
	key  [32]byte

	mu      sync.Mutex
	epoch   uint64 // changes when answers are taken back
	entries map[code]*list.Element
	recent  list.List // of *remembered, the one used last in front
}

type code [sha256.Size]byte

// remembered is somebody who was let in.
type remembered struct {
	code                          code
	namespace, clientID, username string
	answer                        answer
	until                         time.Time
}

func newCache(ttl time.Duration, size int) *cache {
	c := &cache{ttl: ttl, size: size, entries: map[code]*list.Element{}}
	rand.Read(c.key[:])
	return c
}

func (c *cache) code(q *question) (out code) {
	mac := hmac.New(sha256.New, c.key[:])
	mac.Write(q.login())
	mac.Sum(out[:0])
	return out
}

// find returns the answer to the same question. The epoch goes with keep.
func (c *cache) find(q *question, now time.Time) (a answer, epoch uint64, found bool) {
	k := c.code(q)
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[k]
	if e == nil {
		return answer{}, c.epoch, false
	}
	l := e.Value.(*remembered)
	if !now.Before(l.until) {
		c.remove(e)
		return answer{}, c.epoch, false
	}
	c.recent.MoveToFront(e)
	return l.answer, c.epoch, true
}

// keep remembers an answer, unless answers were taken back since the question was put.
func (c *cache) keep(q *question, a answer, epoch uint64, now time.Time) {
	ttl := c.ttl
	if a.ttl >= 0 {
		ttl = a.ttl
	}
	until := now.Add(ttl)
	if ms := a.identity.ExpiresAtMs; ms != 0 && time.UnixMilli(ms).Before(until) {
		until = time.UnixMilli(ms)
	}
	if !now.Before(until) {
		return
	}
	l := &remembered{c.code(q), q.client.Namespace, q.client.ClientID, q.client.Username, a, until}
	c.mu.Lock()
	defer c.mu.Unlock()
	if epoch != c.epoch {
		return
	}
	if old := c.entries[l.code]; old != nil {
		c.remove(old)
	}
	c.entries[l.code] = c.recent.PushFront(l)
	if c.recent.Len() > c.size {
		c.remove(c.recent.Back())
	}
}

// forget takes answers back: those about clients that fit all that is given, by the names
// that they came with or got.
func (c *cache) forget(r *sdk.InvalidateDecisionsRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	for e := c.recent.Front(); e != nil; {
		next := e.Next()
		l := e.Value.(*remembered)
		id := &l.answer.identity
		fits := func(want string, names ...string) bool {
			for _, name := range names {
				if want == "" || want == name {
					return true
				}
			}
			return false
		}
		space := r.AllNamespaces || r.Namespace == l.namespace || r.Namespace == id.Namespace && id.Namespace != ""
		if space && fits(r.ClientID, l.clientID, id.ClientID) && fits(r.Username, l.username, id.Username) {
			c.remove(e)
		}
		e = next
	}
}

// remove is called with mu held.
func (c *cache) remove(e *list.Element) {
	delete(c.entries, e.Value.(*remembered).code)
	c.recent.Remove(e)
}
