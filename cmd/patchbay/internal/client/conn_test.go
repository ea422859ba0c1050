package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// slow is a destination whose writes wait for the test.
type slow struct {
	bytes.Buffer
	gate  chan struct{}
	calls int
	err   error
}

func (s *slow) Write(p []byte) (int, error) {
	<-s.gate
	s.calls++
	if s.err != nil {
		return 0, s.err
	}
	return s.Buffer.Write(p)
}

func TestFlushWriterJoinsWrites(t *testing.T) {
	dst := &slow{gate: make(chan struct{})}
	w := newFlushWriter(dst)
	var want bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&want, "%d ", i)
		if n, err := fmt.Fprintf(w, "%d ", i); n == 0 || err != nil {
			t.Fatal(n, err)
		}
	}
	close(dst.gate)
	if err := w.Close(); err != nil || !bytes.Equal(dst.Bytes(), want.Bytes()) {
		t.Fatalf("%v, %d bytes arrived of %d", err, dst.Len(), want.Len())
	}
	if dst.calls > 2 {
		t.Errorf("%d writes, want the first and one for what came meanwhile", dst.calls)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write after Close: %v", err)
	}
}

func TestFlushWriterWaitsAtHighWater(t *testing.T) {
	dst := &slow{gate: make(chan struct{})}
	w := newFlushWriter(dst)
	chunk := make([]byte, writeHighWater)
	written := make(chan int, 10)
	go func() {
		for i := range 3 { // one in the destination, one in the buffer, one that must wait
			if _, err := w.Write(chunk); err != nil {
				t.Error(err)
			}
			written <- i
		}
	}()
	<-written
	<-written
	select {
	case <-written:
		t.Fatal("the third write did not wait, though the buffer is full")
	case <-time.After(20 * time.Millisecond):
	}
	close(dst.gate)
	<-written
	if err := w.Close(); err != nil || dst.Len() != 3*len(chunk) {
		t.Errorf("%v, %d bytes", err, dst.Len())
	}
}

func TestFlushWriterError(t *testing.T) {
	broken := errors.New("broken")
	dst := &slow{gate: make(chan struct{}), err: broken}
	close(dst.gate)
	w := newFlushWriter(dst)
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != broken {
		t.Errorf("Flush: %v", err)
	}
	if _, err := w.Write([]byte("y")); err != broken {
		t.Errorf("Write after an error: %v", err)
	}
	if err := w.Close(); err != broken {
		t.Errorf("Close: %v", err)
	}
}

func TestFlushWriterConcurrent(t *testing.T) {
	var dst bytes.Buffer
	w := newFlushWriter(&dst)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 500 {
				if _, err := w.Write(bytes.Repeat([]byte{byte('a' + i)}, 100)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for rest := dst.Bytes(); len(rest) > 0; rest = rest[100:] {
		if !bytes.Equal(rest[:100], bytes.Repeat(rest[:1], 100)) {
			t.Fatalf("writes are mixed: %q", rest[:100])
		}
	}
	if dst.Len() != 8*500*100 {
		t.Errorf("%d bytes", dst.Len())
	}
}

// A peer that does not read cannot hold Close for ever.
func TestConnCloseIsBounded(t *testing.T) {
	client, server := net.Pipe() // without a buffer: nothing gets through until somebody reads
	defer server.Close()
	c := newConn(client)
	if _, err := c.Write([]byte("never read")); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := c.Close(); err == nil {
		t.Error("Close says that all was sent")
	}
	if took := time.Since(began); took < closeFlush || took > closeFlush+5*time.Second {
		t.Errorf("Close took %v, want %v", took, closeFlush)
	}
}

func BenchmarkFlushWriter(b *testing.B) {
	w := newFlushWriter(io.Discard)
	p := make([]byte, 64)
	b.ReportAllocs()
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if _, err := w.Write(p); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
}
