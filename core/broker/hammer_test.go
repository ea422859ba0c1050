package broker

import (
	"fmt"
	"math/rand"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// Many connections fight for few client ids, subscribe, publish, and go in every
// way there is. In the end nothing of them is left: no session, no subscription,
// no goroutine.
func TestHammerTakeovers(t *testing.T) {
	b, addr := start(t, func(o *Options) { o.Sys.Interval = 0 })
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewSource(int64(w)))
			for i := range 60 {
				nc, err := net.Dial("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				nc.SetDeadline(time.Now().Add(patience))
				hammerOnce(rng, nc, i)
				nc.Close()
			}
		}()
	}
	wg.Wait()
	eventually(t, "the connections to end", func() bool { return b.Gauges().Connected == 0 })
	for i := range 3 { // a clean start ends what has stayed
		p := connect(t, addr, fmt.Sprint("h", i))
		p.send(&packet.Disconnect{})
		p.expectEnd(packet.Success)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%+v", b.Gauges())
			b.Clients(func(c ClientInfo) bool { t.Logf("%+v", c); return true })
		}
	})
	eventually(t, "all sessions and subscriptions to end", func() bool {
		g := b.Gauges()
		return g.Sessions == 0 && g.Subscriptions == 0 && g.SharedGroups == 0 && g.Connected == 0
	})
	eventually(t, "the goroutines to end", func() bool { return runtime.NumGoroutine() <= before+2 })
}

func hammerOnce(rng *rand.Rand, nc net.Conn, i int) {
	c := packet.Connect{Version: packet.V5, CleanStart: rng.Intn(2) == 0, ClientID: fmt.Sprint("h", rng.Intn(3)), KeepAlive: 60}
	if rng.Intn(2) == 0 {
		c.Props.SetSessionExpiry(60)
	}
	if rng.Intn(3) == 0 {
		c.Will = &packet.Will{Topic: "t/will", QoS: 1}
	}
	out, _ := c.Append(nil, packet.V5)
	s := packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: "t/#", QoS: 2}, {Filter: "$share/g/t/+", QoS: 1}}}
	out, _ = s.Append(out, packet.V5)
	for j := range rng.Intn(20) {
		out, _ = packet.AppendPublish(out, packet.V5, &packet.PublishOut{
			Topic: []byte("t/x"), Payload: make([]byte, rng.Intn(6000)), QoS: byte(j % 3), PacketID: uint16(j + 1), Retain: rng.Intn(5) == 0,
		})
	}
	switch rng.Intn(4) {
	case 0:
		out = append(out, 0xe0, 0) // DISCONNECT
	case 1:
		out = append(out, 0xe0, 2, 4, 0) // with Will
	case 2:
		out = append(out, 0xff) // malformed
	}
	nc.Write(out)
	buf := make([]byte, 4096)
	for range rng.Intn(4) {
		if _, err := nc.Read(buf); err != nil {
			return
		}
	}
}

// FuzzConnection sends bytes to a broker, before and after CONNECT: it must
// neither crash nor keep others waiting, and must end the connection or go on.
func FuzzConnection(f *testing.F) {
	hello := func(v packet.Version) []byte {
		b, _ := (&packet.Connect{Version: v, CleanStart: true, ClientID: "fuzz", KeepAlive: 60}).Append(nil, v)
		return b
	}
	sub, _ := (&packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: "#", QoS: 2}}}).Append(nil, packet.V5)
	pub, _ := packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: []byte("a"), QoS: 2, PacketID: 1, Payload: []byte("x")})
	f.Add(byte(0), []byte{0x10, 0})
	f.Add(byte(5), append(sub, pub...))
	f.Add(byte(4), []byte{0x30, 3, 0, 1, 'a', 0xc0, 0})
	_, addr := start(f)
	control := connect(f, addr, "control")
	f.Fuzz(func(t *testing.T, version byte, data []byte) {
		p := dial(t, addr)
		var out []byte
		if version >= 3 && version <= 5 {
			out = hello(packet.Version(version))
		}
		p.nc.Write(append(out, data...))
		p.nc.(*net.TCPConn).CloseWrite()
		buf := make([]byte, 64<<10)
		p.nc.SetReadDeadline(time.Now().Add(patience))
		for {
			if _, err := p.nc.Read(buf); err != nil {
				if ne, ok := err.(net.Error); ok && ne.Timeout() {
					t.Fatal("the broker neither answers nor ends the connection")
				}
				break
			}
		}
		control.t = t
		control.expectQuiet()
	})
}
