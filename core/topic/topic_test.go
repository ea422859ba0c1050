package topic

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestValidName(t *testing.T) {
	for _, c := range []struct {
		name string
		want error
	}{
		{"a", nil}, {"/", nil}, {"a/b", nil}, {"a//b", nil}, {"/a/", nil}, {" ", nil}, {"$SYS/x", nil}, {"größe/€", nil},
		{strings.Repeat("x", MaxLen), nil},
		{"", ErrEmpty}, {strings.Repeat("x", MaxLen+1), ErrTooLong}, {"a\x00", ErrNUL}, {"a\xff", ErrUTF8}, {"\xed\xa0\x80", ErrUTF8},
		{"+", ErrWildcard}, {"a/#", ErrWildcard}, {"a+b", ErrWildcard},
	} {
		var want Error
		if c.want != nil {
			want = c.want.(Error)
		}
		for _, err := range []error{ValidNameString(c.name), ValidName([]byte(c.name))} {
			if !errors.Is(err, c.want) || (err == nil) != (want == 0) {
				t.Errorf("%.20q: %v, want %v", c.name, err, c.want)
			}
		}
	}
}

func TestValidFilter(t *testing.T) {
	for _, c := range []struct {
		filter string
		want   error
	}{
		// The examples of §4.7.1 first.
		{"sport/tennis/player1/#", nil}, {"sport/#", nil}, {"#", nil}, {"sport/tennis/#", nil},
		{"sport/tennis#", ErrMultiLevel}, {"sport/tennis/#/ranking", ErrMultiLevel},
		{"+", nil}, {"+/tennis/#", nil}, {"sport+", ErrSingleLevel}, {"sport/+/player1", nil}, {"/+", nil}, {"+/+", nil},
		{"+x", ErrSingleLevel}, {"a/+x/b", ErrSingleLevel}, {"a/x+/b", ErrSingleLevel}, {"++", ErrSingleLevel}, {"+#", ErrSingleLevel},
		{"##", ErrMultiLevel}, {"#/", ErrMultiLevel}, {"/#", nil}, {"a//#", nil}, {"//", nil}, {"$share", nil}, {"$share/", nil},
		{"", ErrEmpty}, {"\x00", ErrNUL}, {"a/\xc3", ErrUTF8}, {strings.Repeat("/", MaxLen), nil}, {strings.Repeat("/", MaxLen+1), ErrTooLong},
	} {
		if err := ValidFilter(c.filter); !errors.Is(err, c.want) {
			t.Errorf("%.30q: %v, want %v", c.filter, err, c.want)
		}
	}
}

func TestParseFilter(t *testing.T) {
	for _, c := range []struct {
		in     string
		group  string
		filter string
		shared bool
		want   error
	}{
		{"a/b", "", "a/b", false, nil},
		{"$share", "", "$share", false, nil},
		{"$SHARE/g/a", "", "$SHARE/g/a", false, nil},
		{"$shared/g/a", "", "$shared/g/a", false, nil},
		{"$share/g/a/b", "g", "a/b", true, nil},
		{"$share/g/#", "g", "#", true, nil},
		{"$share/g/+", "g", "+", true, nil},
		{"$share/g//", "g", "/", true, nil},
		{"$share/g//a", "g", "/a", true, nil},
		{"$share/grüße/a", "grüße", "a", true, nil},
		{"$share/g/$SYS/x", "g", "$SYS/x", true, nil},
		{"$share/g/$share/h/x", "g", "$share/h/x", true, nil},
		{"$share/", "", "", false, ErrShareName},
		{"$share//a", "", "", false, ErrShareName},
		{"$share/+/a", "", "", false, ErrShareName},
		{"$share/g", "", "", false, ErrShareFilter},
		{"$share/g/", "", "", false, ErrShareFilter},
		{"$share/g+/a", "", "", false, ErrSingleLevel},
		{"$share/#/a", "", "", false, ErrMultiLevel},
		{"$share/#", "", "", false, ErrShareName},
		{"$share/g/a#", "", "", false, ErrMultiLevel},
		{"$share/g/a+/b", "", "", false, ErrSingleLevel},
		{"", "", "", false, ErrEmpty},
	} {
		f, err := ParseFilter(c.in)
		if !errors.Is(err, c.want) || f != (Filter{c.group, c.filter, c.shared}) {
			t.Errorf("%q: %+v, %v; want %q, %q, %v, %v", c.in, f, err, c.group, c.filter, c.shared, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	seen := map[string]bool{}
	for e := ErrEmpty; e <= ErrShareFilter; e++ {
		if s := e.Error(); seen[s] || !strings.Contains(s, "[MQTT-") {
			t.Errorf("error %d reads %q", e, s)
		}
		seen[e.Error()] = true
	}
	if Error(99).Error() != "topic: invalid" {
		t.Error("an unknown error has no text")
	}
}

func TestLevelsAndWildcards(t *testing.T) {
	for s, want := range map[string]int{"a": 1, "/": 2, "a/b": 2, "a//b": 3, "/a/": 3} {
		if got := Levels(s); got != want {
			t.Errorf("%q has %d levels, want %d", s, got, want)
		}
	}
	for s, want := range map[string]bool{"a": false, "a/+": true, "#": true, "$SYS": false} {
		if HasWildcard(s) != want {
			t.Errorf("%q: wildcard %v", s, !want)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		filter, name string
		want         bool
	}{
		// §4.7.1 and §4.7.2, example by example.
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/#", "sport", true},
		{"sport/tennis/+", "sport/tennis/player1", true},
		{"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false}, {"sport/+", "sport/", true},
		{"+/+", "/finance", true}, {"/+", "/finance", true}, {"+", "/finance", false},
		{"#", "$SYS/x", false}, {"+/monitor/Clients", "$SYS/monitor/Clients", false},
		{"$SYS/#", "$SYS/x", true}, {"$SYS/#", "$SYS", true}, {"$SYS/monitor/+", "$SYS/monitor/Clients", true},
		{"ACCOUNTS", "Accounts", false}, {"a", "/a", false}, {"a/", "a", false}, {"a", "a/", false},
		{"#", "a", true}, {"#", "/", true}, {"#", "a/$b", true}, {"a/#", "a/$b", true}, {"a/+", "a/$b", true},
		{"a/#", "ab", false}, {"a/#", "b/a", false}, {"a/+/#", "a", false}, {"a/+/#", "a/b", true}, {"+/#", "a", true},
		{"a//b", "a//b", true}, {"a/+/b", "a//b", true}, {"a/+/b", "a/b", false}, {"a/b/c", "a/b", false}, {"a/b", "a/b/c", false},
		{"a/+/c/#", "a/b/c/d/e", true}, {"/#", "/", true}, {"/#", "", true}, {"+/a", "$x/a", false},
	} {
		if got := Match(c.filter, c.name); got != c.want {
			t.Errorf("%q and %q: %v", c.filter, c.name, got)
		}
	}
}

// naiveMatch splits and recurses: another way to the same answer.
func naiveMatch(filter, name string) bool {
	if strings.HasPrefix(name, "$") && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false
	}
	var walk func(f, n []string) bool
	walk = func(f, n []string) bool {
		switch {
		case len(f) == 0:
			return len(n) == 0
		case f[0] == "#":
			return true
		case len(n) == 0:
			return false
		}
		return (f[0] == "+" || f[0] == n[0]) && walk(f[1:], n[1:])
	}
	return walk(strings.Split(filter, "/"), strings.Split(name, "/"))
}

// naiveFilter is ValidFilter level by level.
func naiveFilter(f string) bool {
	levels := strings.Split(f, "/")
	for i, l := range levels {
		if strings.Contains(l, "#") && (l != "#" || i != len(levels)-1) || strings.Contains(l, "+") && l != "+" {
			return false
		}
	}
	return f != "" && len(f) <= MaxLen && utf8.ValidString(f) && !strings.Contains(f, "\x00")
}

func check(t *testing.T, filter, name string) {
	t.Helper()
	if got, want := ValidFilter(filter) == nil, naiveFilter(filter); got != want {
		t.Fatalf("filter %q is valid: %v, want %v", filter, got, want)
	}
	if got, want := ValidNameString(name) == nil, naiveFilter(name) && !strings.ContainsAny(name, "+#"); got != want {
		t.Fatalf("name %q is valid: %v, want %v", name, got, want)
	}
	if naiveFilter(filter) && name != "" && !strings.ContainsAny(name, "+#") {
		if got, want := Match(filter, name), naiveMatch(filter, name); got != want {
			t.Fatalf("filter %q and name %q: %v, want %v", filter, name, got, want)
		}
	}
	f, err := ParseFilter(filter)
	if err != nil {
		return
	}
	whole := f.Filter
	if f.Shared {
		whole = SharePrefix + f.Group + "/" + f.Filter
	}
	if whole != filter || !naiveFilter(f.Filter) || f.Shared != strings.HasPrefix(filter, SharePrefix) || f.Shared == (f.Group == "") || strings.ContainsAny(f.Group, "+#/") {
		t.Fatalf("%q is parsed as %+v", filter, f)
	}
}

func TestAgainstNaive(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	random := func(parts []string) string {
		var s strings.Builder
		for range 1 + rng.IntN(6) {
			s.WriteString(parts[rng.IntN(len(parts))])
		}
		return s.String()
	}
	matched := 0
	for range 100_000 {
		filter, name := random([]string{"a", "b", "+", "#", "/", "/", "/+", "/#", "$"}), random([]string{"a", "b", "/", "/", "$"})
		check(t, filter, name)
		if naiveFilter(filter) && Match(filter, name) {
			matched++
		}
	}
	if matched < 3_000 {
		t.Errorf("only %d pairs matched", matched)
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"a/b", "+/#", "$share/g/a/+", "$SYS/#", "//", "a#", "+a", "\x00", "\xff"} {
		f.Add(s, "a/b")
		f.Add(s, "$SYS/broker")
	}
	f.Fuzz(check)
}

// Long and deep input takes time in proportion, and no memory.
func TestNoAllocations(t *testing.T) {
	deep := strings.Repeat("/", MaxLen)
	filter, name := "+"+deep[1:], []byte("gebäude/größe")
	var failed bool
	if n := testing.AllocsPerRun(10, func() {
		failed = failed || !Match(filter, deep[1:]) || !Match("a/+/c/#", "a/b/c/d") || ValidName(name) != nil ||
			ValidFilter("gebäude/+/#") != nil || Levels(deep) != MaxLen+1
		_, err := ParseFilter("$share/g/a/#")
		failed = failed || err != nil
	}); n != 0 || failed {
		t.Errorf("%v allocations, failed: %v", n, failed)
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, c := range [][2]string{
		{"sensors/building-7/floor-3/temperature", "sensors/building-7/floor-3/temperature"},
		{"sensors/+/+/temperature", "sensors/building-7/floor-3/temperature"},
		{"sensors/#", "sensors/building-7/floor-3/temperature"},
	} {
		b.Run(c[0], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Match(c[0], c[1])
			}
		})
	}
}

func BenchmarkValidFilter(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if ValidFilter("sensors/+/floor-3/temperature/#") != nil {
			b.Fatal("refused")
		}
	}
}
