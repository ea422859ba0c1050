package bridgetest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	os.Exit(Main(m, map[string]func(args []string) error{"echo": echo, "fails": func([]string) error { return errors.New("as it shall") }}))
}

// echo is another side that sends back what it gets.
func echo(args []string) error {
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(c, c)
			c.Close()
		}()
	}
}

// A role is killed and started again, and keeps its address.
func TestProcess(t *testing.T) {
	addr := FreeAddr(t)
	p := StartProcess(t, ProcessOptions{Name: "echo", Command: Role(t, "echo", addr), Ready: Listens(addr)})
	first := p.PID()
	for range 3 {
		p.Kill()
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			t.Fatal("it listens after it was killed")
		}
		p.Start()
		p.AwaitReady()
	}
	if p.PID() == first {
		t.Error("it is still the same process")
	}
}

// One that ends by itself is started again where that is wanted.
func TestAgain(t *testing.T) {
	p := StartProcess(t, ProcessOptions{Name: "fails", Command: Role(t, "fails"), Again: true})
	Eventually(t, "it has been started again", func() error {
		if n := strings.Count(p.Log(), "as it shall"); n < 3 {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
}

// link is a connection over a Proxy to an echo.
type link struct {
	t *testing.T
	net.Conn
}

func (l link) say(text string) {
	l.t.Helper()
	if _, err := l.Write([]byte(text)); err != nil {
		l.t.Fatal(err)
	}
}

func (l link) expect(text string) {
	l.t.Helper()
	_ = l.SetReadDeadline(time.Now().Add(Patience))
	b := make([]byte, len(text))
	if _, err := io.ReadFull(l, b); err != nil || string(b) != text {
		l.t.Fatalf("%q, %v in place of %q", b, err, text)
	}
}

func (l link) expectEnd() {
	l.t.Helper()
	_ = l.SetReadDeadline(time.Now().Add(Patience))
	var timeout net.Error
	if n, err := l.Read(make([]byte, 1)); n > 0 || errors.As(err, &timeout) && timeout.Timeout() {
		l.t.Fatalf("the connection is open: %d, %v", n, err)
	}
}

func TestProxy(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c) }()
		}
	}()
	p := StartProxy(t, server.Addr().String())
	connect := func() link {
		c, err := net.Dial("tcp", p.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return link{t, c}
	}
	a := connect()
	a.say("one")
	a.expect("one")
	p.Cut()
	a.expectEnd()
	p.Refuse(true)
	connect().expectEnd()
	p.Refuse(false)

	b := connect()
	p.HalfOpen(true)
	b.say("two")
	_ = b.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := b.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("half-open: %d, %v", n, err)
	}
	c := connect() // is accepted
	c.say("three")
	p.Heal()
	b.expect("two")
	c.expect("three")

	p.Slow(1 << 10)
	began := time.Now()
	c.say(strings.Repeat("x", 300)) // 0.3 s each way
	c.expect(strings.Repeat("x", 300))
	if d := time.Since(began); d < 550*time.Millisecond {
		t.Errorf("600 bytes at 1 KB/s took %s", d)
	}
	c.say(strings.Repeat("y", 64<<10))
	p.Slow(0) // in the middle of it
	c.expect(strings.Repeat("y", 64<<10))
}

// What a Publisher is told that it is safe arrives at a Subscriber, in order, while the broker
// between them is killed; a proxy can be there too.
func TestClients(t *testing.T) {
	b := StartBroker(t, BrokerOptions{})
	net := StartProxy(t, b.Addr)
	l := NewLedger()
	s := Subscribe(t, net.Addr, "s", nil, "t/#")
	p := Publish(t, l, PublisherOptions{Addr: b.Addr, Keys: []string{"t/1", "t/2"}, Rate: 500, Window: 50, Pad: 10, Limit: 500})
	for i := range 3 {
		Eventually(t, "some are there", func() error {
			if n := s.Count(); n < 200*(i+1) {
				return fmt.Errorf("%d", n)
			}
			return nil
		})
		if i == 1 {
			net.Cut()
			continue
		}
		b.Kill()
		b.Start()
	}
	var arrived []Message
	Eventually(t, "all are there", func() error {
		if !p.Done() {
			return fmt.Errorf("%d have no answer", p.Waiting())
		}
		arrived, _ = s.Arrived(t.Context())
		promises := l.Promised(nil)
		if promises.Keep(arrived); len(promises) > 0 {
			return errors.New(promises.String())
		}
		return nil
	})
	twice, problems := l.Check(arrived)
	if sent, acknowledged, refused := l.Counts(); sent != 1000 || acknowledged != 1000 || refused != 0 || len(arrived)-twice != 1000 || problems != nil {
		t.Errorf("%d sent, %d acknowledged, %d refused, %d arrived, %d again, %v", sent, acknowledged, refused, len(arrived), twice, problems)
	}
	if out, err := b.Command("clients", "list"); err != nil || !strings.Contains(out, "publisher-0-t-1") {
		t.Errorf("%v\n%s", err, out)
	}
	b.measure()
	if b.memory.own < 1000 {
		t.Errorf("the broker has had %d KiB", b.memory.own)
	}
}
