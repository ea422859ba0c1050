package guard

import (
	"strings"
	"time"
)

// kind is what failed logins are counted of.
type kind uint8

const (
	byPair kind = iota // a user from an address
	byAddress
	byUser
	kinds
)

func (k kind) String() string { return [...]string{"pair", "address", "user"}[k] }

// limit is how many failed logins a kind may have before pauses begin; 0 is any number.
func (c *LoginsConfig) limit(k kind) int {
	switch {
	case k == byAddress:
		return c.PerAddress
	case k == byPair && c.PerUser == 0:
		return c.PerAddress
	}
	return c.PerUser
}

// pause is how long nobody may try after a number of failed logins.
func (c *LoginsConfig) pause(failures, limit int) time.Duration {
	if limit == 0 || failures < limit {
		return 0
	}
	d := c.Pause.Std()
	for range failures - limit {
		if d >= c.MaxPause.Std()/2 {
			return c.MaxPause.Std()
		}
		d *= 2
	}
	return d
}

// tally is the failed logins of an address, of a user, or of a user from an address. Times
// are Unix milliseconds.
type tally struct {
	kind     kind
	key      string
	failures int
	last     int64 // failed login
	until    int64 // the end of the pause
	// ok is when the user got in from the address, for a pair.
	ok int64
	// wrong stands for the password that failed last, for a pair; 0 is none.
	wrong uint64
	// pending are logins that have been let through and not been decided about.
	pending int
	// waiting are logins that are not let through yet, the last one came last.
	waiting []*attempt
}

func (t *tally) busy() bool { return t.pending > 0 || len(t.waiting) > 0 }

// known reports whether the user of a pair has got in from its address not long ago.
func (t *tally) known(c *LoginsConfig, now int64) bool {
	return t.ok != 0 && now-t.ok < c.KnownFor.Std().Milliseconds()
}

// forgive forgets the failures.
func (t *tally) forgive() { t.failures, t.last, t.until, t.wrong = 0, 0, 0, 0 }

// age forgets what is over.
func (t *tally) age(c *LoginsConfig, now int64) {
	if t.failures > 0 && now-t.last >= c.Forget.Std().Milliseconds() {
		t.forgive()
	}
	if t.ok != 0 && !t.known(c, now) {
		t.ok = 0
	}
}

// empty reports whether there is nothing to remember.
func (t *tally) empty() bool { return t.failures == 0 && t.ok == 0 && !t.busy() }

// room reports whether one more login may be under way: no more than may fail before
// pauses begin, and one where that number has been reached.
func (t *tally) room(c *LoginsConfig) bool {
	limit := c.limit(t.kind)
	return limit == 0 || t.pending < max(1, limit-t.failures)
}

// count counts a failed login.
func (t *tally) count(c *LoginsConfig, now int64) {
	t.failures++
	t.last = now
	if d := c.pause(t.failures, c.limit(t.kind)); d > 0 {
		t.until = now + d.Milliseconds()
	}
}

// maxKey is the longest name that is kept as it is.
const maxKey = 128

// separator is in no user name: MQTT has no U+0000 in strings.
const separator = "\x00"

// keys are the names of the tallies of a login, "" for one that it has not.
func keys(network, user string, named bool) (k [kinds]string) {
	if len(user) > maxKey {
		user = digest(user)
	}
	k[byAddress] = network
	if named {
		k[byUser] = user
	}
	k[byPair] = network + separator + user
	if !named {
		k[byPair] = network + separator + separator
	}
	return k
}

// subject says whose failures are counted, "" for what does not matter.
func (t *tally) subject() (network, user string) {
	switch t.kind {
	case byAddress:
		return t.key, ""
	case byUser:
		return "", t.key
	}
	network, user, _ = strings.Cut(t.key, separator)
	return network, strings.Trim(user, separator)
}
