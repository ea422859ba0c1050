package client

import (
	"bufio"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// proxy stands between a client and the broker, records what the client sends and can cut the line.
type proxy struct {
	port string
	mu   sync.Mutex
	open []net.Conn
	sent []byte
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{port: portOf(l)}
	t.Cleanup(func() { l.Close(); p.cut() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", "127.0.0.1:"+to)
			if err != nil {
				client.Close()
				continue
			}
			p.mu.Lock()
			p.open = append(p.open, client, server)
			p.mu.Unlock()
			go func() { io.Copy(client, server); client.Close() }()
			go func() { io.Copy(server, io.TeeReader(client, p)); server.Close() }()
		}
	}()
	return p
}

func (p *proxy) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = append(p.sent, b...)
	return len(b), nil
}

// waitForLast returns when the client has sent a packet of this type after all others.
func (p *proxy) waitForLast(t *testing.T, want packet.Type) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		types := p.packets(t)
		if len(types) > 0 && types[len(types)-1] == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the client sent %v, want %v last", types, want)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// packets is the types of what the client has sent.
func (p *proxy) packets(t *testing.T) []packet.Type {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	var types []packet.Type
	rest := p.sent
	for {
		h, n, err := packet.ReadHeader(rest)
		if err != nil {
			t.Fatalf("the client sent something that is no packet: % x (%v)", rest, err)
		}
		if n == 0 || len(rest) < n+h.Remaining {
			return types // the rest is on its way
		}
		types = append(types, h.Type)
		rest = rest[n+h.Remaining:]
	}
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		c.Close()
	}
	p.open = nil
}

func portOf(l net.Listener) string { return strconv.Itoa(l.Addr().(*net.TCPAddr).Port) }

// script is a broker that answers the packets of a type, in order, with bytes. An empty answer is silence,
// the answer "close" closes the connection. Packets without an answer left are ignored.
type script map[packet.Type][]string

// serve runs the script, its answers counted over all connections, and returns its port.
func (s script) serve(t *testing.T) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			s.talk(c)
		}
	})
	return portOf(l)
}

func (s script) talk(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		var head []byte
		var h packet.Header
		for n := 0; n == 0; {
			b, err := r.ReadByte()
			if err != nil {
				return
			}
			head = append(head, b)
			if h, n, err = packet.ReadHeader(head); err != nil {
				return
			}
		}
		body := make([]byte, h.Remaining)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		if len(s[h.Type]) == 0 {
			continue
		}
		answer := []byte(s[h.Type][0])
		s[h.Type] = s[h.Type][1:]
		if string(answer) == "close" {
			return
		}
		// SUBACK, UNSUBACK and the acknowledgements of PUBLISH carry the client's Packet Identifier,
		// which the script cannot know: it writes ii.
		for i := range len(answer) - 1 {
			if answer[i] == 'i' && answer[i+1] == 'i' {
				copy(answer[i:], packetID(h, body))
			}
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

func packetID(h packet.Header, body []byte) []byte {
	if h.Type == packet.TypePublish {
		topic := int(body[0])<<8 | int(body[1])
		return body[2+topic : 4+topic]
	}
	return body[:2]
}
