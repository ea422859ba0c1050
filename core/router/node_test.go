package router

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"
)

// Sizes that the comments speak of. There may be millions of nodes and targets.
func TestSizes(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("for 64-bit systems")
	}
	for name, size := range map[string][2]uintptr{
		"node":   {unsafe.Sizeof(node{}), 64},
		"Target": {unsafe.Sizeof(Target{}), 56},
		"slot":   {unsafe.Sizeof(slot{}), 16},
		"entry":  {unsafe.Sizeof(entry{}), 88},
		"Last":   {unsafe.Sizeof(Last{}), 80},
	} {
		if size[0] != size[1] {
			t.Errorf("%s has %d bytes, not %d", name, size[0], size[1])
		}
	}
}

// Children against a map, with hashes that collide a lot and with ones that do not.
func TestChildren(t *testing.T) {
	for _, hashes := range []uint32{1, 3, 50, 1 << 30} {
		for _, names := range []int{1, 2, 3, 10, 200, 5000} {
			if uint32(names) > min(hashes, 1000)*50 { // longer chains only take longer
				continue
			}
			parent := &node{}
			have := map[int]*node{}
			key := func(i int) (uint32, string) { return uint32(mix(uint64(i)))%hashes + 1, fmt.Sprint(i) }
			check := func(i int) {
				hash, level := key(i)
				if got := child(parent, hash, level); got != have[i] {
					t.Fatalf("%d hashes, %d names: child %d is %v, want %v", hashes, names, i, got, have[i])
				}
				if got := child(parent, hash, []byte(level)); got != have[i] {
					t.Fatalf("%d hashes, %d names: child %d by bytes is %v, want %v", hashes, names, i, got, have[i])
				}
			}
			for step := range 10 * names {
				i := rand.IntN(names)
				growing := step/names%2 == 0
				if c := have[i]; c != nil && !growing {
					parent.removeChild(c)
					delete(have, i)
				} else if c == nil && growing {
					hash, level := key(i)
					have[i] = &node{hash: hash, level: level}
					parent.addChild(have[i])
				}
				check(i)
				check(rand.IntN(names))
			}
			for i := range names {
				check(i)
			}
			for i, c := range have {
				parent.removeChild(c)
				delete(have, i)
				check(i)
			}
			if !parent.empty() {
				t.Errorf("%d hashes, %d names: not empty afterwards", hashes, names)
			}
		}
	}
}

// A child that stays is found at every moment, while the table around it grows, shrinks and fills with tombstones.
func TestChildrenConcurrent(t *testing.T) {
	for _, hashes := range []uint32{2, 1 << 30} {
		parent := &node{}
		stable := []*node{{hash: 1, level: "s1"}, {hash: 2, level: "s2"}}
		parent.addChild(stable[0])
		var stop atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			for !stop.Load() {
				if child(parent, 1, "s1") != stable[0] {
					t.Error("the child is missing")
					return
				}
			}
		})
		for range 300 {
			var others []*node
			for i := range 1 + rand.IntN(40) {
				others = append(others, &node{hash: uint32(mix(uint64(i)))%hashes + 1, level: fmt.Sprint(i)})
			}
			for _, c := range append(others, stable[1]) {
				parent.addChild(c)
			}
			if child(parent, 2, "s2") != stable[1] {
				t.Fatal("the child that was just added is missing")
			}
			for _, c := range append(others, stable[1]) {
				parent.removeChild(c)
			}
			if parent.table.Load() != nil && parent.table.Load().live != 1 {
				t.Fatal("something is left")
			}
		}
		stop.Store(true)
		wg.Wait()
	}
}

// The first child stays found while the second one brings a table.
func TestSecondChildConcurrent(t *testing.T) {
	first, second := &node{hash: 1, level: "first"}, &node{hash: 2, level: "second"}
	var parent atomic.Pointer[node]
	parent.Store(&node{})
	parent.Load().addChild(first)
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			if child(parent.Load(), 1, "first") != first {
				t.Error("the first child is missing")
				return
			}
		}
	})
	for range many(300_000) {
		n := &node{}
		n.addChild(first)
		parent.Store(n)
		n.addChild(second)
	}
	stop.Store(true)
	wg.Wait()
}

// A table that was large once does not stay so.
func TestTableShrinks(t *testing.T) {
	parent := &node{}
	var children []*node
	for i := range 10_000 {
		c := &node{hash: uint32(mix(uint64(i + 1))), level: fmt.Sprint(i)}
		children = append(children, c)
		parent.addChild(c)
	}
	if n := len(parent.table.Load().slots); n > 4*len(children) {
		t.Errorf("%d slots for %d children", n, len(children))
	}
	for _, c := range children[10:] {
		parent.removeChild(c)
	}
	if n := len(parent.table.Load().slots); n > 128 {
		t.Errorf("%d slots for 10 children", n)
	}
}

// A node that lives long does not hold on to the filter that made it.
func TestLevelIsCopied(t *testing.T) {
	r := New(Config{})
	filter := "first/second"
	r.Subscribe(&session{id: 1}, "", filter, Options{})
	if level := r.root.only.Load().level; level != "first" || unsafe.StringData(level) == unsafe.StringData(filter) {
		t.Errorf("level %q is a view of the filter", level)
	}
}
