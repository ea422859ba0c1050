package disk

import (
	"bytes"
	"fmt"
	"math/big"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// cursor goes through the records of a span. Where Pebble cannot read a block of
// a table it skips forward to the next key that can be read, and tells damage:
// the rest is served.
type cursor struct {
	from         pebble.Reader
	lower, upper []byte
	damage       *damage
	stop         *atomic.Bool // of a View that was interrupted; else nil
	it           *pebble.Iterator
	value        []byte
	last         []byte // the last key that was read, or sought
	err          error
}

// newCursor returns a cursor over [lower, upper), before the first record.
func newCursor(from pebble.Reader, d *damage, lower, upper []byte) *cursor {
	return &cursor{from: from, damage: d, lower: lower, upper: upper}
}

func (c *cursor) open() bool {
	if c.it == nil && c.err == nil {
		c.it, c.err = c.from.NewIter(&pebble.IterOptions{LowerBound: c.lower, UpperBound: c.upper})
	}
	return c.err == nil
}

// next goes to the next record; false at the end, or after an error that has
// nothing to do with damage.
func (c *cursor) next() bool {
	if c.it == nil {
		return c.seek(c.lower)
	}
	if c.err != nil {
		return false
	}
	return c.settle(c.it.Next())
}

// seek goes to the first record that is not below key.
func (c *cursor) seek(key []byte) bool {
	if !c.open() {
		return false
	}
	c.last = append(c.last[:0], key...)
	return c.settle(c.it.SeekGE(key))
}

// settle reads the value of the record that the iterator stands at.
func (c *cursor) settle(valid bool) bool {
	if c.stop != nil && c.stop.Load() {
		c.err = errInterrupted
		return false
	}
	if valid {
		if c.value, c.err = c.it.ValueAndErr(); c.err == nil {
			c.last = append(c.last[:0], c.it.Key()...)
			return true
		}
	} else if c.err = c.it.Error(); c.err == nil {
		return false
	}
	if !pebble.IsCorruptionError(c.err) {
		c.err = fmt.Errorf("store: read: %w", c.err)
		return false
	}
	return c.skip(c.err)
}

func (c *cursor) key() []byte { return c.last }

func (c *cursor) close() error {
	if c.it != nil {
		// What it met has been dealt with.
		_ = c.it.Close()
		c.it = nil
	}
	return c.err
}

// skip finds the first key behind the damage that can be read. Blocks do not say
// which keys they end with when they cannot be read, so that it tries: further
// and further until one can be, and then halving between that and the last one
// that could not. To read a damaged block takes milliseconds, since Pebble looks
// for the bit that might have flipped; to halve among good ones costs little.
func (c *cursor) skip(why error) bool {
	// Keys are taken as fractions: numbers of so many bytes.
	size := max(len(c.last), len(c.lower))
	number := func(key []byte) *big.Int {
		b := make([]byte, size)
		copy(b, key)
		return new(big.Int).SetBytes(b)
	}
	bad, end, one := number(c.last), number(c.upper), big.NewInt(1)
	var good *big.Int
	for step := big.NewInt(1); ; step.Lsh(step, 8) {
		try := new(big.Int).Add(bad, step)
		if try.Cmp(end) >= 0 {
			break
		}
		if c.reads(try, size) {
			good = try
			break
		}
		bad = try
	}
	if good == nil {
		c.damage.span(c.last, c.upper, why)
		c.err = nil
		return false
	}
	for new(big.Int).Sub(good, bad).Cmp(one) > 0 {
		mid := new(big.Int).Add(bad, good)
		if mid.Rsh(mid, 1); c.reads(mid, size) {
			good = mid
		} else {
			bad = mid
		}
	}
	to := good.FillBytes(make([]byte, size))
	c.damage.span(c.last, to, why)
	_ = c.it.Close()
	c.it, c.err = nil, nil
	return c.seek(bytes.Clone(to))
}

// reads reports whether what begins at a key can be read.
func (c *cursor) reads(at *big.Int, size int) bool {
	_ = c.it.Close()
	if c.it, c.err = c.from.NewIter(&pebble.IterOptions{LowerBound: c.lower, UpperBound: c.upper}); c.err != nil {
		return false
	}
	if !c.it.SeekGE(at.FillBytes(make([]byte, size))) {
		return c.it.Error() == nil
	}
	_, err := c.it.ValueAndErr()
	return err == nil
}
