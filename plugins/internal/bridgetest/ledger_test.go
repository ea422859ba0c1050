package bridgetest

import (
	"slices"
	"strings"
	"testing"
)

func TestMessage(t *testing.T) {
	for _, m := range []Message{{"a/b", 0}, {`quote " and \ and ü`, 12345}} {
		for _, pad := range []int{0, 100} {
			b := m.Payload(pad)
			got, err := ParseMessage(b)
			if err != nil || got != m {
				t.Errorf("%s: %v, %v", b, got, err)
			}
			if len(b) < pad {
				t.Errorf("%d bytes", len(b))
			}
		}
	}
	for _, text := range []string{"", "{}", "[]", `{"n":1}`, "hello"} {
		if m, err := ParseMessage([]byte(text)); err == nil {
			t.Errorf("%q is %v", text, m)
		}
	}
}

func TestLedger(t *testing.T) {
	l := NewLedger()
	var a, b []Message
	for range 4 {
		a, b = append(a, l.Next("a")), append(b, l.Next("b"))
	}
	l.Acknowledged(a[0])
	l.Acknowledged(a[0]) // by two PUBACKs
	l.Refused(a[1])
	l.Acknowledged(b[3])
	if sent, acknowledged, refused := l.Counts(); sent != 8 || acknowledged != 2 || refused != 1 {
		t.Errorf("%d sent, %d acknowledged, %d refused", sent, acknowledged, refused)
	}
	p := l.Promised(nil)
	if len(p) != 2 || p.String() != `2 messages, as "a 0"` {
		t.Errorf("promised: %s", p)
	}
	l.Acknowledged(a[2]) // later: not promised at that moment
	p.Keep(slices.Concat(b, a[1:]))
	if len(p) != 1 || p.String() != `1 messages, as "a 0"` {
		t.Errorf("left: %s", p)
	}
	if p := l.Promised(func(key string) bool { return key == "b" }); len(p) != 1 {
		t.Errorf("of b: %s", p)
	}
	p.Keep(a)
	if p.String() != "nothing" {
		t.Errorf("left: %s", p)
	}
}

func TestCheck(t *testing.T) {
	l := NewLedger()
	for range 4 {
		l.Next("a")
		l.Next("b")
	}
	a := func(n ...int) (list []Message) {
		for _, n := range n {
			list = append(list, Message{"a", n})
		}
		return list
	}
	for _, c := range []struct {
		arrived []Message
		twice   int
		problem string
	}{
		{a(0, 1, 2, 3), 0, ""},
		{slices.Concat(a(0, 1), []Message{{"b", 0}}, a(2)), 0, ""},
		{a(0, 3), 0, ""}, // 1 and 2 may have been refused
		{a(0, 1, 2, 0, 1, 2, 3), 3, ""},
		{a(0, 2, 1), 0, `"a 1" came for the first time after 2`},
		{a(0, 2, 0, 1), 1, `"a 1" came for the first time after 2`},
		{a(0, 4), 0, `"a 4" was never published`},
		{[]Message{{"c", 0}}, 0, `"c 0" was never published`},
	} {
		twice, problems := l.Check(c.arrived)
		if got := strings.Join(problems, "; "); twice != c.twice || got != c.problem {
			t.Errorf("%v: %d came again, %q", c.arrived, twice, got)
		}
	}
}
