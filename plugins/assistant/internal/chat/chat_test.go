package chat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// shelf is a KV in memory, for one goroutine.
type shelf struct {
	values  map[string][]byte
	version map[string]uint64
}

func newShelf() *shelf { return &shelf{map[string][]byte{}, map[string]uint64{}} }

func (s *shelf) Get(_ context.Context, key string) ([]byte, uint64, error) {
	if len(key) > 1024 {
		return nil, 0, errors.New("the key is too long")
	}
	return bytes.Clone(s.values[key]), s.version[key], nil
}

func (s *shelf) CompareAndSet(_ context.Context, key string, value []byte, _ time.Duration, old uint64) (uint64, bool, error) {
	if len(value) > maxValue {
		return 0, false, errors.New("the value is too large")
	}
	if s.version[key] != old {
		return 0, false, nil
	}
	s.values[key], s.version[key] = value, old+1
	return old + 1, true, nil
}

func (s *shelf) Delete(_ context.Context, key string) error {
	delete(s.values, key)
	delete(s.version, key)
	return nil
}

func TestStore(t *testing.T) {
	s := NewStore(newShelf(), time.Hour)
	id := ID{"main", "tenant", "ann", strings.Repeat("long/", 5000)}
	c, err := s.Load(t.Context(), id)
	if err != nil || len(c.Turns) != 0 {
		t.Fatal(c, err)
	}
	c.Turns = append(c.Turns, Turn{"hello", "hi", 5})
	if err := s.Save(t.Context(), id, c); err != nil {
		t.Fatal(err)
	}
	c.Turns = append(c.Turns, Turn{"and", "so", 5})
	if err := s.Save(t.Context(), id, c); err != nil {
		t.Fatal(err)
	}
	got, err := s.Load(t.Context(), id)
	if err != nil || len(got.Turns) != 2 || got.Turns[1] != (Turn{"and", "so", 5}) || got.Tokens() != 10 {
		t.Errorf("%+v, %v", got, err)
	}
	// The old copy is not written over the new one.
	got.Turns = nil
	if err := s.Save(t.Context(), id, got); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(t.Context(), id, c); !errors.Is(err, ErrChanged) {
		t.Error(err)
	}
	if err := s.Reset(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Load(t.Context(), id); err != nil || len(got.Turns) != 0 {
		t.Errorf("after a reset: %+v, %v", got, err)
	}
}

// No two owners have one place, however their names are cut.
func TestKeys(t *testing.T) {
	seen := map[string]ID{}
	parts := []string{"", "a", "aa", "a/a", "1:a", "a\x00"}
	for _, ns := range parts {
		for _, client := range parts {
			for _, name := range parts {
				id := ID{"x", ns, client, name}
				if other, is := seen[id.key()]; is {
					t.Errorf("%q and %q are one", id, other)
				}
				seen[id.key()] = id
			}
		}
	}
}

func TestFull(t *testing.T) {
	for _, c := range []struct {
		turns, tokens int // of the conversation
		limits        Limits
		want          int
	}{
		{3, 10, Limits{}, 0},
		{10, 10, Limits{Turns: 10}, 0},
		{11, 10, Limits{Turns: 10}, 6},
		{10, 100, Limits{Tokens: 1000}, 0},
		{11, 100, Limits{Tokens: 1000}, 6},
		{1, 5000, Limits{Tokens: 1000}, 1},
		{2, 10, Limits{Turns: 1}, 1},
	} {
		var conv Conversation
		for range c.turns {
			conv.Turns = append(conv.Turns, Turn{"q", "a", c.tokens})
		}
		n := conv.Full(c.limits)
		if n != c.want {
			t.Errorf("%+v: %d", c, n)
		}
		if conv.Fold(n, "", 0); n > 0 && conv.Full(c.limits) != 0 {
			t.Errorf("%+v: still full", c)
		}
	}
	// A summary that is too long itself takes turns with it, and comes to an end.
	conv := Conversation{Summary: "s", SummaryTokens: 5000, Turns: []Turn{{"q", "a", 1}, {"q", "a", 1}}}
	for n := conv.Full(Limits{Tokens: 100}); n > 0 && len(conv.Turns) > 0; n = conv.Full(Limits{Tokens: 100}) {
		conv.Fold(n, "s", 5000)
	}
}

// What the storage cannot take is made smaller, not lost.
func TestTooLarge(t *testing.T) {
	s, id := NewStore(newShelf(), 0), ID{"x", "", "a", "b"}
	c, err := s.Load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		c.Turns = append(c.Turns, Turn{fmt.Sprint(i), strings.Repeat("x", 100_000), 25_000})
	}
	if err := s.Save(t.Context(), id, c); err != nil {
		t.Fatal(err)
	}
	got, err := s.Load(t.Context(), id)
	if err != nil || len(got.Turns) == 0 || got.Turns[len(got.Turns)-1].Question != "39" {
		t.Errorf("%d turns, %v", len(got.Turns), err)
	}
}

// A stored value of another shape is an empty conversation that can be written.
func TestUnreadable(t *testing.T) {
	kv, id := newShelf(), ID{"x", "", "a", "b"}
	for _, v := range []string{"{", `{"turns":7}`, `{"name":"other","turns":[{"q":"secret"}]}`, "null"} {
		kv.values[id.key()], kv.version[id.key()] = []byte(v), 3
		s := NewStore(kv, 0)
		c, err := s.Load(t.Context(), id)
		if err != nil || len(c.Turns) != 0 || s.Save(t.Context(), id, c) != nil {
			t.Errorf("%s: %+v, %v", v, c, err)
		}
	}
}
