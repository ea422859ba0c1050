package disk

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk/internal/format"
)

// again reads all that was popped and not settled, a few at a time; what cannot be
// read is "-".
func (c *client) again(t testing.TB, after uint64, max, maxBytes int) (texts []string, positions []uint64) {
	t.Helper()
	for {
		var list []store.Entry
		c.wait(t, "again", func() (ok bool) {
			list, ok = c.Again(after, max, maxBytes)
			return ok
		})
		if len(list) == 0 {
			return texts, positions
		}
		if len(list) > max {
			t.Fatalf("%d messages, at most %d were wanted", len(list), max)
		}
		for _, e := range list {
			text := "-"
			if e.Message != nil {
				text = string(e.Message.Payload)
				e.Message.Unref()
			}
			texts, positions, after = append(texts, text), append(positions, e.Pos), e.Pos
		}
	}
}

func (c *client) pop(t testing.TB, n int) {
	t.Helper()
	for range n {
		c.wait(t, "pop", func() bool {
			e, ok := c.Pop()
			if ok {
				e.Message.Unref()
			}
			return ok
		})
	}
}

func TestAgain(t *testing.T) {
	for _, online := range []bool{true, false} {
		t.Run(fmt.Sprint("online ", online), func(t *testing.T) {
			s := open(t, Options{})
			load(t, s)
			c := create(s, "c", online)
			if list, ok := c.Again(0, 10, 10); len(list) > 0 || !ok {
				t.Fatalf("of nothing: %v %v", list, ok)
			}
			const n = 500
			var receipts []*store.Receipt
			for _, text := range numbers(n) {
				receipts = append(receipts, c.add(text, false))
			}
			safe(t, receipts...)
			c.pop(t, 400)
			texts, positions := c.again(t, 0, 50, 1<<20)
			if want := numbers(n)[:400]; !slices.Equal(texts, want) {
				t.Fatalf("again %q", texts)
			}
			for i, pos := range positions {
				if i%3 > 0 {
					c.Lock()
					c.Settle(pos, 0)
					c.Unlock()
				}
			}
			texts, _ = c.again(t, positions[299], 7, 20)
			var want []string
			for i := 300; i < 400; i += 3 {
				want = append(want, fmt.Sprint(i))
			}
			if !slices.Equal(texts, want) {
				t.Fatalf("again from the middle: %q, want %q", texts, want)
			}
			// What was not popped comes once, and in order.
			if rest := c.drain(t); !slices.Equal(rest, numbers(n)[400:]) {
				t.Fatalf("then %q", rest)
			}
			for i, pos := range positions {
				if i%3 == 0 {
					c.Settle(pos, 0)
				}
			}
			if list, ok := c.Again(0, 10, 10); len(list) > 0 || !ok {
				t.Fatalf("of nothing: %v %v", list, ok)
			}
			s.syncNow(t)
			c.End(func(store.Entry) {})
			until(t, "nothing is left", func() bool { return s.empty(t) })
		})
	}
}

// A message that is being committed when it is wanted again is waited for, and one
// that is not there any more is said to be gone.
func TestAgainWhatIsGone(t *testing.T) {
	s := open(t, Options{})
	load(t, s)
	c := create(s, "c", true)
	for _, text := range numbers(20) {
		r := c.add(text, false)
		c.pop(t, 1)
		if texts, _ := c.again(t, 0, 100, 1<<20); texts[len(texts)-1] != text {
			t.Fatalf("again %q", texts)
		}
		safe(t, r)
	}
	_, positions := c.again(t, 0, 100, 1<<20)
	key := format.AppendPairKey(nil, format.Contents, c.key, positions[3])
	if err := s.db.Delete(key, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	want := numbers(20)
	want[3] = "-"
	if texts, _ := c.again(t, 0, 6, 1<<20); !slices.Equal(texts, want) {
		t.Fatalf("again %q", texts)
	}
}
