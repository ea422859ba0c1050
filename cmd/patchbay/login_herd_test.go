package main_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// herdFull has the herd's passwords hashed at the cost that patchbay passwd writes.
var herdFull = flag.Bool("herd.full", false, "TestLoginHerd: hash at full cost, which takes minutes")

// dialPatiently connects also while thousands of others do.
func dialPatiently(address string) (net.Conn, error) {
	var err error
	for range 5 {
		var conn net.Conn
		if conn, err = net.DialTimeout("tcp", address, patience); err == nil {
			return conn, nil
		}
		time.Sleep(time.Duration(rand.Int64N(int64(time.Second))))
	}
	return nil, err
}

// connack waits for CONNACK for as long as it takes, and returns its return code.
func (r raw) connack() (byte, error) {
	_ = r.SetReadDeadline(time.Now().Add(5 * patience))
	var b [4]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, err
	}
	if !bytes.Equal(b[:3], []byte{0x20, 2, 0}) {
		return 0, fmt.Errorf("% x is no CONNACK", b)
	}
	return b[3], r.SetReadDeadline(time.Time{})
}

// peakMemory is the largest resident set that the broker has had, in bytes; 0 where the
// system does not say.
func (b *broker) peakMemory() float64 {
	b.t.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(b.cmd.Process.Pid) + "/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	line, _, _ := strings.Cut(rest, "kB")
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		b.t.Fatal(err)
	}
	return float64(n) * 1024
}

// TestLoginHerd: 2,000 clients, each with a user of its own and a password that is costly to
// verify, connect at the same moment, as after a restart. All are served in the end, memory
// is bounded by what the operator has said, and those that are connected do not notice; with
// guard too, which sees all of them come from one address.
//
// It runs alone, because it measures.
func TestLoginHerd(t *testing.T) {
	for _, before := range []string{"", "{name: guard, grants: [ban, kv]}, "} {
		name := "authfile"
		if before != "" {
			name = "guard and authfile"
		}
		t.Run(name, func(t *testing.T) { loginHerd(t, before) })
	}
}

func loginHerd(t *testing.T, plugins string) {
	const maxMemory = 64 * mebibyte
	n, memory, passes := 2000, uint32(4096), uint32(1)
	if testing.Short() || raceEnabled {
		n = 300
	}
	if *herdFull {
		memory, passes = 19456, 2
	}
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint("user-", i)
	}
	b := newBroker(t, "")
	b.configure(fmt.Sprintf(`
listeners: [{name: tcp, tcp: "127.0.0.1:0"}]
plugins: [%s{name: authfile, config: {file: %q, allow_anonymous: true, max_memory: 64MiB}}]
`, plugins, b.users(argonHash("right", memory, passes), names...)))
	b.begin(nil, "serve", "--config", b.file, "--set", "admin.listen=127.0.0.1:0", "--set", "log.format=json")
	b.ready()
	others := newPairs(t, b, 3)
	others.round(t) // everything has been used once
	before, resident := others.p99(t, nil), b.peakMemory()

	began := time.Now()
	herd := stampede(t, b, names)
	var rounds []time.Duration
	for {
		rounds = append(rounds, others.round(t))
		if herd.in.Load() >= int64(n) || t.Failed() {
			break
		}
	}
	herd.clients.Wait()
	took := time.Since(began)
	slices.Sort(rounds)
	with, peak := rounds[len(rounds)/2], b.peakMemory()
	t.Logf("%d clients in %v, %d times refused or cut off and tried again, the last one after %d tries", n, took.Round(time.Millisecond), herd.again.Load(), herd.most.Load())
	t.Logf("others' p99: %v before, %v meanwhile (median of %d rounds, worst %v)", before, with, len(rounds), rounds[len(rounds)-1])
	t.Logf("peak memory: %.1f MiB before, %.1f MiB after", resident/mebibyte, peak/mebibyte)
	if most := rounds[len(rounds)*9/10]; with > 5*before+250*time.Millisecond || most > 5*before+time.Second {
		t.Errorf("p99 has moved from %v to %v, in one of ten rounds to %v", before, with, most)
	}
	// The collector lets garbage come up to about what is in use, and each connection has
	// its share; a broker that verified all of them at once would need many GiB.
	if limit := resident + 3*maxMemory + float64(n)*40*1024; peak > limit && !raceEnabled {
		t.Errorf("peak memory %.1f MiB, more than %.1f", peak/mebibyte, limit/mebibyte)
	}
	b.metric("patchbay_connections", is(float64(n+2*len(others))))
}

// herd are clients that want in.
type herd struct {
	in, again, most atomic.Int64
	clients         sync.WaitGroup
}

// stampede has all of them connect at once. Who is refused, or cut off, tries again after a
// pause that grows, as good clients do.
func stampede(t *testing.T, b *broker, names []string) *herd {
	h := new(herd)
	var mu sync.Mutex
	var open []net.Conn
	t.Cleanup(func() {
		h.clients.Wait()
		for _, c := range open {
			c.Close()
		}
	})
	address, start := b.addr["tcp"], make(chan struct{})
	until := time.Now().Add(15 * patience)
	for _, name := range names {
		h.clients.Go(func() {
			<-start
			for tries := int64(1); ; tries++ {
				r, code, err := loginRaw(address, "c-"+name, name, "right")
				if err == nil && code == 0 {
					h.in.Add(1)
					for most := h.most.Load(); tries > most && !h.most.CompareAndSwap(most, tries); most = h.most.Load() {
					}
					mu.Lock()
					defer mu.Unlock()
					open = append(open, r.Conn)
					return
				}
				// 3 is "server unavailable", what MQTT 3.1.1 has for busy.
				if err == nil && code != 3 || time.Now().After(until) {
					t.Errorf("%s: return code %d, %v", name, code, errors.Join(err))
					return
				}
				h.again.Add(1)
				time.Sleep(time.Duration(rand.Int64N(int64(time.Second) * min(tries, 8))))
			}
		})
	}
	close(start)
	return h
}
