package transport

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// rawClients opens n client sockets without any Go object per socket, so that memory measured is the server's.
func rawClients(t testing.TB, l *Listener, n int) []int {
	t.Helper()
	fds := make([]int, 0, n)
	t.Cleanup(func() { closeAll(fds) })
	var ip [4]byte
	var port int
	if _, err := fmt.Sscanf(l.Addr().String(), "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	ip = [4]byte{127, 0, 0, 1}
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: ip}); err != nil {
			t.Fatal(err)
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			t.Fatal(err)
		}
		// Closing resets, so that thousands of ports do not wait for the next run.
		if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
			t.Fatal(err)
		}
	}
	return fds
}

func closeAll(fds []int) {
	for i, fd := range fds {
		if fd >= 0 {
			unix.Close(fd)
			fds[i] = -1
		}
	}
}

// memory is what the process holds: resident pages, live heap, goroutines.
func memory(t testing.TB) (rss, heap, goroutines int64) {
	t.Helper()
	runtime.GC()
	runtime.GC()
	debug.FreeOSMemory()
	var size, resident int64
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		t.Fatal(err)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return resident * int64(os.Getpagesize()), int64(m.HeapAlloc), int64(runtime.NumGoroutine())
}

// idleHandler is the least a connection can have.
type idleHandler struct{}

func (idleHandler) Data(p *Pass, b []byte) (int, int) { return len(b), 0 }
func (idleHandler) Woken(*Pass)                       {}
func (idleHandler) Closed(*Pass, error)               {}

// Idle connections cost little, and nothing is left of them.
func TestIdleConnections(t *testing.T) {
	t.Run("loops", func(t *testing.T) { testIdleConnections(t, Loops(), 2<<10) })
	t.Run("portable", func(t *testing.T) { testIdleConnections(t, Portable(), 6<<10) })
}

func testIdleConnections(t *testing.T, driver Driver, most int64) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	n := min(10000, (int(limit.Cur)-300)/2)
	if raceEnabled || testing.Short() {
		n = min(n, 1000)
	}
	e := newTestEngine(t, Config{Driver: driver})
	l, err := e.Listen(ListenerConfig{Network: "tcp", Address: "127.0.0.1:0"}, func(*Conn) Handler { return idleHandler{} })
	if err != nil {
		t.Fatal(err)
	}
	round := func() (heapLeft int64) {
		rss0, heap0, goroutines0 := memory(t)
		fds := rawClients(t, l, n)
		eventually(t, "all are connected", func() bool { return l.Connections() == n })
		// Each has been active once.
		for _, fd := range fds {
			if _, err := unix.Write(fd, []byte("0123456789")); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "all has been read", func() bool {
			for _, c := range l.snapshot() {
				if c.BytesIn() != 10 {
					return false
				}
			}
			return true
		})
		rss1, heap1, goroutines1 := memory(t)
		t.Logf("%d idle connections: %d bytes RSS, %d bytes heap, %.2f goroutines each", n,
			(rss1-rss0)/int64(n), (heap1-heap0)/int64(n), float64(goroutines1-goroutines0)/float64(n))
		if per := (rss1 - rss0) / int64(n); per > most && !raceEnabled {
			t.Errorf("%d bytes of RSS per idle connection", per)
		}
		closeAll(fds)
		eventually(t, "all are gone", func() bool { return e.Connections() == 0 })
		eventually(t, "the goroutines have ended", func() bool { return int64(runtime.NumGoroutine()) <= goroutines0+2 })
		_, heap2, _ := memory(t)
		// How many passes there are by now depends on how often goroutines were interrupted with one in hand.
		return heap2 - int64(len(e.passes.snapshot())*readBufferSize)
	}
	// The runtime keeps its records of ended goroutines, some 400 bytes each, for the next ones; so a second round tells what leaks.
	// A connection that is kept by mistake has more than a kilobyte.
	first, second := round(), round()
	if grown := second - first; grown > int64(n)*300+256<<10 {
		t.Errorf("the second %d connections left %d bytes of heap", n, grown)
	}
}

// A read, what it causes and its flush allocate nothing.
func TestPassAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops at random under the race detector")
	}
	t.Run("loops", func(t *testing.T) { testPassAllocs(t, Loops()) })
	t.Run("portable", func(t *testing.T) { testPassAllocs(t, Portable()) })
}

func testPassAllocs(t *testing.T, driver Driver) {
	e := newTestEngine(t, Config{Driver: driver})
	l, _ := listen(t, e, ListenerConfig{}, nil)
	fd := rawClients(t, l, 1)[0]
	pkt := frame(pattern(1, 300))
	answer := make([]byte, len(pkt))
	turn := func() {
		if _, err := unix.Write(fd, pkt[:100]); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(fd, pkt[100:]); err != nil {
			t.Fatal(err)
		}
		for got := 0; got < len(pkt); {
			n, err := unix.Read(fd, answer[got:])
			if err != nil || n == 0 {
				t.Fatal(n, err)
			}
			got += n
		}
	}
	for range 100 {
		turn()
	}
	if n := testing.AllocsPerRun(2000, turn); n != 0 {
		t.Errorf("%v allocations per packet, want 0", n)
	}
}
