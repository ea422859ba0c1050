package main_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestReadme does what README.md tells a newcomer to do, line by line: the first
// shell block of the section "A first session".
//
// The broker starts on a free port and its clients are led there. A subscriber
// runs on, and has to print something for each publish after it; every other
// command has to succeed and say something.
func TestReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := firstSession(string(text))
	if len(lines) < 4 {
		t.Fatalf("the section \"A first session\" has these commands: %q", lines)
	}
	var b *broker
	subscribers := map[string]<-chan string{}
	for _, line := range lines {
		words := strings.Fields(strings.TrimSuffix(line, "&"))
		sub := ""
		if len(words) > 1 {
			sub = words[1]
		}
		switch {
		case words[0] == "go" && sub == "build": // done
		case words[0] == "./patchbay" && (sub == "" || sub == "serve"), strings.HasPrefix(line, "go run ./cmd/patchbay"):
			b = serveHere(t)
		case b == nil:
			t.Fatalf("%s: no line before has started the broker", line)
		case sub == "sub":
			before := b.metrics()["patchbay_subscriptions"]
			subscribers[line] = background(t, "sh", "-c", "cd "+b.dir+" && exec "+strings.Join(words, " "))
			b.metric("patchbay_subscriptions", atLeast(before+1))
		default:
			out := command{dir: b.dir}.must(t, "sh", "-c", line)
			if sub != "pub" && out == "" {
				t.Errorf("%s: said nothing", line)
			}
			if sub == "pub" {
				expectLines(t, line, subscribers)
			}
		}
	}
	if b == nil || len(subscribers) == 0 {
		t.Errorf("no broker, or no subscriber, in %q", lines)
	}
}

// firstSession returns the command lines of the block without their comments.
func firstSession(text string) (lines []string) {
	_, text, _ = strings.Cut(text, "\n## A first session\n")
	_, text, _ = strings.Cut(text, "```sh\n")
	text, _, _ = strings.Cut(text, "```")
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, " # ")
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}

// serveHere starts the broker where nobody else is, and makes ./patchbay a program
// whose clients find it there.
func serveHere(t *testing.T) *broker {
	t.Helper()
	b := start(t, `listeners: [{name: tcp, tcp: "127.0.0.1:0"}]`)
	host, port, err := net.SplitHostPort(b.addr["tcp"])
	if err != nil {
		t.Fatal(err)
	}
	script := `#!/bin/sh
case "$1" in
pub|sub|rr) exec "` + patchbay + `" "$@" -h ` + host + ` -p ` + port + ` ;;
*) exec "` + patchbay + `" "$@" ;;
esac
`
	if err := os.WriteFile(filepath.Join(b.dir, "patchbay"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return b
}

// expectLines waits for every subscriber to print something.
func expectLines(t *testing.T, published string, subscribers map[string]<-chan string) {
	t.Helper()
	for line, printed := range subscribers {
		select {
		case got, more := <-printed:
			if !more || got == "" {
				t.Errorf("%s: %s printed nothing", published, line)
			}
		case <-time.After(patience):
			t.Errorf("%s: nothing came to %s", published, line)
		}
	}
}
