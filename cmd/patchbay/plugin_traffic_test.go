package main_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// takePublish takes a PUBLISH with a QoS of 1 or 2 apart.
func takePublish(first byte, body []byte) (qos byte, id, payload []byte) {
	rest := body[2+int(binary.BigEndian.Uint16(body)):]
	return first >> 1 & 3, rest[:2], rest[2:]
}

// traffic is a number of publishers, each with subscribers of its own that count what
// they get.
type traffic struct {
	publishers  []*steady
	subscribers []*counting
	stop        chan struct{}
	busy        sync.WaitGroup
}

// steady publishes numbers, one after the other, at a steady rate.
type steady struct {
	raw
	topic string
	qos   byte

	mu      sync.Mutex
	sent    int
	since   map[uint16]time.Time // when what is not acknowledged was sent
	slowest time.Duration        // from a message to its last acknowledgement
	failed  error
}

// counting demands that it gets each number once and in order, by plugins whose versions
// never go back.
type counting struct {
	raw
	plugins []string // that each message has to have been through

	last  atomic.Int64
	alive chan struct{} // closed with PINGRESP

	mu       sync.Mutex
	versions map[string]string
	failed   error
}

// newTraffic connects publishers, one in four of them at QoS 2, the others at QoS 1, and
// as many subscribers as make it size clients. interval is that of each publisher.
func newTraffic(t *testing.T, b *broker, size, publishers int, interval time.Duration, plugins ...string) *traffic {
	tr := &traffic{stop: make(chan struct{})}
	all := connectMany(t, size, func(i int) (raw, error) {
		r, err := connectRaw(b.addr["tcp"], fmt.Sprint("swap-", i))
		if group := i % publishers; err == nil && i >= publishers {
			err = r.subscribe(fmt.Sprintf("edit/%d/stamp", group), qosOf(group))
		}
		return r, err
	})
	t.Cleanup(func() {
		for _, r := range all {
			r.Close()
		}
		tr.busy.Wait()
	})
	for i, r := range all {
		if i < publishers {
			s := &steady{raw: r, topic: fmt.Sprintf("edit/%d/stamp", i), qos: qosOf(i), since: map[uint16]time.Time{}}
			tr.publishers = append(tr.publishers, s)
			tr.busy.Go(s.read)
			tr.busy.Go(func() { s.write(interval, tr.stop) })
			continue
		}
		c := &counting{raw: r, plugins: plugins, alive: make(chan struct{}), versions: map[string]string{}}
		tr.subscribers = append(tr.subscribers, c)
		tr.busy.Go(c.read)
	}
	return tr
}

func qosOf(group int) byte {
	if group%4 == 0 {
		return 2
	}
	return 1
}

func (s *steady) write(interval time.Duration, stop <-chan struct{}) {
	due := time.NewTicker(interval)
	defer due.Stop()
	for {
		select {
		case <-due.C:
		case <-stop:
			return
		}
		s.mu.Lock()
		s.sent++
		n, id := s.sent, uint16(s.sent%0xFFFF)+1
		s.since[id] = time.Now()
		s.mu.Unlock()
		if _, err := s.Write(packet(0x30|s.qos<<1, text(s.topic), []byte{byte(id >> 8), byte(id)}, strconv.AppendInt(nil, int64(n), 10))); err != nil {
			s.fail(err)
			return
		}
	}
}

func (s *steady) read() {
	r := bufio.NewReader(s)
	for {
		first, _, body, err := readPacket(r)
		if err != nil {
			s.fail(err)
			return
		}
		switch first & 0xF0 {
		case 0x50: // PUBREC
			if _, err := s.Write(packet(0x62, body)); err != nil {
				s.fail(err)
				return
			}
		case 0x40, 0x70: // PUBACK, PUBCOMP
			id := binary.BigEndian.Uint16(body)
			s.mu.Lock()
			s.slowest = max(s.slowest, time.Since(s.since[id]))
			delete(s.since, id)
			s.mu.Unlock()
		}
	}
}

func (s *steady) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}

// state returns how many messages were sent, and how many are not acknowledged.
func (s *steady) state() (sent, open int, failed error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent, len(s.since), s.failed
}

func (c *counting) read() {
	r := bufio.NewReader(c)
	for {
		first, _, body, err := readPacket(r)
		if err == nil {
			err = c.take(first, body)
		}
		if err != nil {
			c.mu.Lock()
			c.failed = errors.Join(c.failed, err)
			c.mu.Unlock()
			return
		}
	}
}

func (c *counting) take(first byte, body []byte) error {
	switch first & 0xF0 {
	case 0xD0: // PINGRESP
		close(c.alive)
		return nil
	case 0x60: // PUBREL
		_, err := c.Write(packet(0x70, body))
		return err
	}
	qos, id, payload := takePublish(first, body)
	if err := c.check(string(payload)); err != nil {
		return err
	}
	_, err := c.Write(packet(map[byte]byte{1: 0x40, 2: 0x50}[qos], id))
	return err
}

// check is about "NAME=VERSION NAME=VERSION NUMBER".
func (c *counting) check(payload string) error {
	parts := strings.Fields(payload)
	stamps, number := parts[:len(parts)-1], parts[len(parts)-1]
	if n, err := strconv.ParseInt(number, 10, 64); err != nil || n != c.last.Load()+1 {
		return fmt.Errorf("got %q after number %d", payload, c.last.Load())
	}
	if len(stamps) != len(c.plugins) {
		return fmt.Errorf("got %q, and plugins %v are in force", payload, c.plugins)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range stamps {
		name, version, _ := strings.Cut(s, "=")
		if before := c.versions[name]; older(version, before) {
			return fmt.Errorf("got %q after %s=%s", payload, name, before)
		}
		c.versions[name] = version
	}
	c.last.Add(1)
	return nil
}

// older compares versions "BUILT.NUMBER", of which either part may be older.
func older(a, b string) bool {
	builtA, a, _ := strings.Cut(a, ".")
	builtB, b, _ := strings.Cut(b, ".")
	numberA, _ := strconv.Atoi(a)
	numberB, _ := strconv.Atoi(b)
	return builtA < builtB || numberA < numberB
}

// finish stops the publishers, after another message of each, and demands that everything has been acknowledged and has
// arrived, and that nobody has lost the connection. It returns how many messages were
// sent and delivered, and the longest time that one has waited for its acknowledgement.
func (tr *traffic) finish(t *testing.T) (sent, delivered int, slowest time.Duration) {
	t.Helper()
	for i, s := range tr.publishers {
		before, _, _ := s.state()
		eventually(t, patience, func() bool {
			n, _, err := s.state()
			return n > before+1 || err != nil
		}, "publisher %d goes on", i)
	}
	close(tr.stop)
	for i, s := range tr.publishers {
		var n, open int
		eventually(t, patience, func() bool {
			var err error
			if n, open, err = s.state(); err != nil {
				t.Fatalf("publisher %d: %v", i, err)
			}
			return open == 0
		}, "all messages of publisher %d are acknowledged", i)
		sent, slowest = sent+n, max(slowest, s.slowest)
	}
	for i, c := range tr.subscribers {
		want, _, _ := tr.publishers[i%len(tr.publishers)].state()
		eventually(t, patience, func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.failed != nil {
				t.Fatalf("subscriber %d: %v", i, c.failed)
			}
			return c.last.Load() == int64(want)
		}, "subscriber %d has all %d messages", i, want)
		delivered += want
		// What would come again, would come before this.
		if _, err := c.Write([]byte{0xC0, 0}); err != nil {
			t.Fatalf("subscriber %d: %v", i, err)
		}
	}
	for i, c := range tr.subscribers {
		select {
		case <-c.alive:
		case <-time.After(patience):
			t.Fatalf("subscriber %d: no PINGRESP, %v", i, c.failed)
		}
	}
	return sent, delivered, slowest
}

// TestCountingNotices: what the subscribers of these tests count would show every fault
// that they are there for.
func TestCountingNotices(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		payloads []string
		good     bool
	}{
		{[]string{"p=a.1 b=a.1 1", "p=a.1 b=a.2 2", "p=b.1 b=a.2 3"}, true},
		{[]string{"p=a.1 b=a.1 1", "p=a.1 b=a.1 3"}, false},              // lost
		{[]string{"p=a.1 b=a.1 1", "p=a.1 b=a.1 1"}, false},              // twice
		{[]string{"p=a.1 b=a.1 1", "p=a.1 2"}, false},                    // one was not asked
		{[]string{"p=a.1 b=a.2 1", "p=a.1 b=a.1 2"}, false},              // an old config again
		{[]string{"p=b.1 b=a.1 1", "p=a.1 b=a.1 2"}, false},              // an old file again
		{[]string{"p=a.9 b=a.1 1", "p=a.10 b=a.1 2", "x"}, false},        // no number
		{[]string{"p=a.9 b=a.1 1", "p=a.10 b=a.1 2", "p=a.10 3"}, false}, // again one
		{[]string{"p=a.9 b=a.1 1", "p=a.10 b=a.1 2", "p=a.10 b=b.1 3"}, true},
	} {
		counting := &counting{plugins: []string{"p", "b"}, versions: map[string]string{}}
		var err error
		for _, p := range c.payloads {
			err = errors.Join(err, counting.check(p))
		}
		if (err == nil) != c.good {
			t.Errorf("%q: %v", c.payloads, err)
		}
	}
}
