package conformance

import (
	"slices"
	"strings"
	"testing"
)

// matches lists Topic Filters with names that they match and names that they do
// not. B stands for a level that no other test uses.
var matches = []struct {
	filter  string
	yes, no []string
}{
	{"B", []string{"B"}, []string{"B/", "/B", "BB", "B/a"}},
	{"B/", []string{"B/"}, []string{"B", "B//", "B/a"}},
	{"/B", []string{"/B"}, []string{"B", "//B", "a/B"}},
	{"B/#", []string{"B", "B/", "B/a", "B/a/b", "B//", "B/$a"}, []string{"BB", "/B", "BB/a"}},
	{"B/+", []string{"B/", "B/a", "B/ ", "B/$a"}, []string{"B", "B/a/", "B/a/b", "B//"}},
	{"B/+/c", []string{"B/a/c", "B//c"}, []string{"B/c", "B/a/b/c", "B/a/c/"}},
	{"B/+/+", []string{"B//", "B/a/b", "B/a/"}, []string{"B/a", "B/a/b/c", "B"}},
	{"B/+/#", []string{"B/", "B/a", "B/a/b", "B/a/b/c"}, []string{"B"}},
	{"+/B", []string{"/B", "a/B"}, []string{"B", "a/b/B", "$a/B"}},
	{"+/B/#", []string{"/B", "a/B", "a/B/c", "a/B/"}, []string{"B", "B/B2", "$a/B/c"}},
	{"/+/B", []string{"//B", "/a/B"}, []string{"/B", "a//B"}},
	{"B/a/#", []string{"B/a", "B/a/", "B/a/b"}, []string{"B", "B/ab", "B/aa/b"}},
}

func TestTopicMatching(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.3.2-3", "MQTT-4.7.0-1", "MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-4.7.2-1"},
		v311: {"MQTT-3.3.2-3", "MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-4.7.1-3", "MQTT-4.7.2-1"},
	}, func(t *testing.T, v version) {
		speaker := open(t, fresh(v))
		for _, m := range matches {
			base := unique()
			c := open(t, fresh(v))
			c.listen(1, replaceB(m.filter, base))
			for _, name := range m.no {
				speaker.say(replaceB(name, base), "no")
			}
			for _, name := range m.yes {
				speaker.say(replaceB(name, base), "yes")
			}
			var got, want []string
			for range m.yes {
				p := c.hears("yes")
				got = append(got, p.topic)
			}
			for _, name := range m.yes {
				want = append(want, replaceB(name, base))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: got %q, want %q", m.filter, got, want)
			}
			c.quiet()
			c.leave()
		}
	})
}

func replaceB(s, base string) string { return strings.ReplaceAll(s, "B", base) }

// Filters that begin with a wildcard see everything but the names that begin
// with "$"; the filters here see other tests' messages, too.
func TestDollarTopics(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-4.7.2-1"}, v311: {"MQTT-4.7.2-1"}}, func(t *testing.T, v version) {
		base := unique()
		named, all, one := open(t, fresh(v)), open(t, fresh(v)), open(t, fresh(v))
		speaker := open(t, fresh(v))
		if codes := named.subscribe(sub{"$" + base + "/#", 1}); codes[0] >= 0x80 {
			t.Skip("the broker keeps all topics with $ to itself")
		}
		all.subscribe(sub{"#", 0})
		one.subscribe(sub{"+/" + base, 0}, sub{"+/" + base + "/#", 0})
		speaker.say("$"+base+"/"+base, "dollar")
		speaker.say("a/"+base, "end")
		for _, c := range []*client{all, one} {
			for {
				p := c.take(PUBLISH)
				if strings.HasPrefix(p.topic, "$") {
					t.Errorf("got %v", p)
				}
				if p.topic == "a/"+base {
					break
				}
			}
			c.cut()
		}
		for _, p := range named.drain() {
			if p.topic != "$"+base+"/"+base {
				t.Errorf("got %v", p)
			}
		}
	})
}

var invalidFilters = []string{
	"", "a#", "#a", "a/#/b", "a/b#", "#/", "#/a", "##", "+#", "a+", "+a", "a/+b", "a/b+/c", "++", "a/#+",
}

var invalidShares = []string{
	"$share/", "$share/g", "$share/g/", "$share//a", "$share/g+/a", "$share/+/a", "$share/#/a", "$share/g#/a",
	"$share/g/a#", "$share/g/#/a", "$share/g/+a",
}

func TestInvalidFilters(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-4.7.3-1"},
		v311: {"MQTT-4.7.1-2", "MQTT-4.7.1-3", "MQTT-4.7.3-1"},
	}, func(t *testing.T, v version) { refusedFilters(t, v, invalidFilters) })
}

func TestInvalidSharedFilters(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-4.8.2-1", "MQTT-4.8.2-2")
	refusedFilters(t, v5, invalidShares)
}

// refusedFilters expects that the broker refuses each of the filters, by its
// code in the SUBACK or by ending the connection, and never subscribes.
func refusedFilters(t *testing.T, v version, filters []string) {
	t.Helper()
	good := unique()
	for _, filter := range filters {
		c := open(t, fresh(v))
		c.send(subscribe(v, 5, nil, sub{good, 1}, sub{filter, 1}, sub{good + "/2", 0}))
		p, err := c.read()
		switch {
		case err == errClosed && (v == v311 || !strict()):
		case err == nil && p.typ == DISCONNECT && slices.Contains([]byte{0x81, 0x82, 0x8F}, p.code):
			c.gone()
		case err == nil && p.typ == SUBACK && len(p.codes) == 3 && p.codes[0] == 1 && p.codes[2] == 0 &&
			(v == v5 && p.codes[1] == 0x8F || v == v311 && p.codes[1] == 0x80):
			c.quiet()
		default:
			t.Errorf("subscribe %q: got %v, %v, want it refused", filter, p, err)
		}
		c = open(t, fresh(v))
		c.send(unsubscribe(v, 6, nil, filter))
		p, err = c.read()
		if err == nil && p.typ == UNSUBACK && v == v5 && p.codes[0] != 0x8F && p.codes[0] != 0x11 {
			t.Errorf("unsubscribe %q: got %v", filter, p)
		}
	}
}

func TestWildcardsInTopicNames(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.3.2-2", "MQTT-4.7.0-1"},
		v311: {"MQTT-3.3.2-2", "MQTT-4.7.1-1"},
	}, func(t *testing.T, v version) {
		base := unique()
		watcher := open(t, fresh(v))
		watcher.listen(0, base+"/#")
		for _, name := range []string{"#", "/#", "+", "/+", "/a+", "/a#b", "/+/b", "/#/b"} {
			for qos := range byte(3) {
				c := open(t, fresh(v))
				c.send(publishPacket{topic: base + name, payload: "x", qos: qos, id: 3}.bytes(v))
				c.dropped(0x90, 0x81, 0x82)
				if t.Failed() {
					t.Fatalf("publish to %q", base+name)
				}
			}
		}
		watcher.quiet()
	})
}

func TestEmptyTopicName(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-4.7.3-1"}, v311: {"MQTT-4.7.3-1"}}, func(t *testing.T, v version) {
		for qos := range byte(3) {
			c := open(t, fresh(v))
			c.send(publishPacket{payload: "x", qos: qos, id: 3}.bytes(v))
			c.dropped(0x82)
		}
	})
}
