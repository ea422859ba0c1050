package main_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// maxHops is how many plugins may publish in answer to each other.
const maxHops = 8

// loopEntries has plugins that publish what they are told of: to where they are told of it
// again (loop), or two of them to where the other one is (ping and pong).
func loopEntries(built *builtPlugins) string {
	var all strings.Builder
	for _, r := range runtimes {
		add := func(name, config string) {
			all.WriteString(built.entry(name+"-"+r.letter, r.runtime, "hooks: {authenticate: off, intercept_publish: off}, grants: [publish], config: {"+config+"}"))
		}
		add("loop", "only: loop-"+r.letter+", from: loop, to: loop")
		add("ping", "only: pair-"+r.letter+", from: ping, to: pong")
		add("pong", "only: pair-"+r.letter+", from: pong, to: ping")
	}
	return all.String()
}

// loops are messages that plugins publish again.
type loops struct {
	t *testing.T
	b *broker
	w *watcher
}

// startLoops publishes what starts each loop, at the hooks and at the consumers.
func startLoops(t *testing.T, b *broker, w *watcher) loops {
	t.Helper()
	c := mustConnect5(t, b.target("tcp", nil), "looper")
	for _, r := range runtimes {
		for _, root := range []string{"watch", "consume"} {
			for _, topic := range []string{"loop-" + r.letter + "/loop", "pair-" + r.letter + "/ping"} {
				if err := c.publish(root+"/"+topic, 1, "x"); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return loops{t, b, w}
}

// check is called after a while: loops have come to their end by themselves.
func (l loops) check() {
	l.t.Helper()
	for _, r := range runtimes {
		for _, root := range []string{"watch", "consume"} {
			// A plugin is not shown what it has published itself.
			l.count(root+"/loop-"+r.letter+"/loop", 2)
			// Of maxHops messages one half comes from each.
			l.count(root+"/pair-"+r.letter+"/ping", 1+maxHops/2)
			l.count(root+"/pair-"+r.letter+"/pong", maxHops/2)
		}
		// The ninth would have been of the plugin that was told of the first.
		status, seen := l.b.get("/plugins/ping-" + r.letter + "/seen")
		if status != http.StatusOK || !strings.Contains(seen, fmt.Sprintf("refused the message comes of what %d plugins have published", maxHops)) {
			l.t.Errorf("ping-%s has seen (%d):\n%s", r.letter, status, seen)
		}
	}
}

func (l loops) count(topic string, want int) {
	l.t.Helper()
	if n, _ := l.w.last(topic); n != want {
		l.t.Errorf("%s has had %d messages, want %d", topic, n, want)
	}
}
