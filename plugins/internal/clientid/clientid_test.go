package clientid

import "testing"

func TestAllowed(t *testing.T) {
	for _, c := range []struct {
		patterns     []string
		username, id string
		want         bool
	}{
		{nil, "ann", "anything", true},
		{nil, "ann", "", true},
		{[]string{}, "ann", "ann", false},
		{[]string{"%u"}, "ann", "ann", true},
		{[]string{"%u"}, "ann", "bob", false},
		{[]string{"%u"}, "ann", "", false},
		{[]string{"%u-*", "x"}, "ann", "ann-7", true},
		{[]string{"%u-*", "x"}, "ann", "x", true},
		{[]string{"%u-*"}, "ann", "annie-7", false},
		{[]string{"%u"}, "*", "bob", false},
		{[]string{"%u"}, "*", "*", false},
		{[]string{"b*"}, "*", "bob", true},
	} {
		if got := Allowed(c.patterns, c.username, c.id); got != c.want {
			t.Errorf("%q, user %q, id %q: %v", c.patterns, c.username, c.id, got)
		}
	}
}
