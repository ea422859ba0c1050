package main_test

import (
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
)

// endpoint is one client of the matrix: a library on a transport in a version.
type endpoint struct{ library, transport, version string }

// name is its Client Identifier, and part of the topics it publishes to.
func (e endpoint) name() string {
	return strings.NewReplacer(" ", "", ".", "").Replace(e.library + "-" + e.transport + "-" + e.version)
}

// library is a client library or program and what it can.
type library struct {
	name                 string
	transports, versions []string
	// unavailable says what to install, if it is not there.
	unavailable func() string
	// join makes all endpoints of the library subscribe to matrix/# at QoS 2 and
	// returns what makes each publish. What they get goes to m.received.
	join func(t *testing.T, m *matrix, all []endpoint) (publish func(t *testing.T))
}

var everywhere = []string{"tcp", "tls", "ws", "wss", "unix"}

func libraries() []library {
	available := func() string { return "" }
	return []library{
		{"Paho Go 3.1.1", everywhere, []string{"3.1.1"}, available, joinPaho},
		{"Paho Go 5", everywhere, []string{"5"}, available, joinPaho},
		{"mosquitto", []string{"tcp", "tls", "unix"}, []string{"3.1.1", "5"}, mosquittoUnavailable, joinPrograms},
		{"patchbay", everywhere, []string{"3.1.1", "5"}, available, joinPrograms},
		{"MQTT.js", everywhere, []string{"3.1.1", "5"}, mqttjsUnavailable, joinMQTTjs},
	}
}

// matrix is one broker at which every client talks to every other.
type matrix struct {
	broker *broker
	ca     *authority
	client *tls.Config

	mu      sync.Mutex
	got     map[string][]message // by name of the receiving endpoint
	changed chan struct{}        // closed with the next message
}

func (m *matrix) received(endpoint string, msg message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got[endpoint] = append(m.got[endpoint], msg)
	close(m.changed)
	m.changed = make(chan struct{})
}

// TestClients lets every client, over every transport and in both versions, get a
// message of every QoS from every other: real clients understand the broker, and
// each other through it.
func TestClients(t *testing.T) {
	t.Parallel()
	m := newMatrix(t)
	var libs []library
	why := map[string]string{}
	members := map[string][]endpoint{}
	var all []endpoint
	for _, l := range libraries() {
		libs = append(libs, l)
		if why[l.name] = l.unavailable(); why[l.name] != "" {
			continue
		}
		for _, version := range l.versions {
			for _, transport := range l.transports {
				members[l.name] = append(members[l.name], endpoint{l.name, transport, version})
			}
		}
		all = append(all, members[l.name]...)
	}
	var publish []func(*testing.T)
	for _, l := range libs {
		if len(members[l.name]) > 0 {
			publish = append(publish, l.join(t, m, members[l.name]))
		}
	}
	m.broker.metric("patchbay_subscriptions", is(float64(len(all))))
	for _, p := range publish {
		p(t)
	}
	want := wanted(all)
	for _, l := range libs {
		t.Run(l.name, func(t *testing.T) {
			if why[l.name] != "" {
				missing(t, "%s", why[l.name])
			}
			for _, e := range members[l.name] {
				t.Run(e.transport+" "+e.version, func(t *testing.T) { m.check(t, e, want) })
			}
		})
	}
}

func newMatrix(t *testing.T) *matrix {
	ca := newAuthority(t, t.TempDir(), "ca")
	server := ca.issue("server", "localhost")
	m := &matrix{ca: ca, client: ca.config(), got: map[string][]message{}, changed: make(chan struct{})}
	m.broker = start(t, fmt.Sprintf(`
listeners:
	- {name: tcp, tcp: "127.0.0.1:0"}
	- {name: tls, tls: "127.0.0.1:0", cert: %[1]q, key: %[2]q}
	- {name: ws, ws: "127.0.0.1:0"}
	- {name: wss, wss: "127.0.0.1:0", cert: %[1]q, key: %[2]q}
	- {name: unix, unix: mqtt.sock}
`, server.cert, server.key))
	m.broker.addr["unix"] = m.broker.dir + "/" + m.broker.addr["unix"]
	return m
}

func (m *matrix) target(e endpoint) target { return m.broker.target(e.transport, m.client) }

// wanted is what each endpoint has to get.
func wanted(all []endpoint) []string {
	var want []string
	for _, e := range all {
		for qos := range byte(3) {
			want = append(want, message{fmt.Sprintf("matrix/%d/%s", qos, e.name()), "from " + e.name(), qos}.String())
		}
	}
	slices.Sort(want)
	return want
}

// check waits for as many messages as an endpoint has to get and compares.
func (m *matrix) check(t *testing.T, e endpoint, want []string) {
	limit := deadline(t)
	for {
		m.mu.Lock()
		var got []string
		for _, msg := range m.got[e.name()] {
			got = append(got, msg.String())
		}
		changed := m.changed
		m.mu.Unlock()
		if len(got) >= len(want) {
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("not what was published:\n%s", difference(got, want))
			}
			return
		}
		select {
		case <-changed:
		case <-limit:
			slices.Sort(got)
			t.Fatalf("%d of %d messages:\n%s", len(got), len(want), difference(got, want))
		}
	}
}

// difference lists what is missing (-), and what is too many (+).
func difference(got, want []string) string {
	count := map[string]int{}
	for _, s := range got {
		count[s]++
	}
	for _, s := range want {
		count[s]--
	}
	var lines []string
	for _, s := range slices.Sorted(maps.Keys(count)) {
		switch n := count[s]; {
		case n < 0:
			lines = append(lines, "- "+s)
		case n > 0:
			lines = append(lines, "+ "+s)
		}
	}
	return strings.Join(lines, "\n")
}
