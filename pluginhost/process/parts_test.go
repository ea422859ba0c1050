//go:build unix

package process

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

func FuzzHandshake(f *testing.F) {
	for _, line := range []string{"", "1|1|unix|/x|grpc|" + strings.Repeat("A", 60), "1|2|unix|/x|grpc|", "2|1|a|b", "\xff|||||||"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		err := checkHandshake(line)
		var e *Error
		if err == nil {
			if f := strings.Split(strings.TrimSpace(line), "|"); len(f) < 6 || f[0] != "1" || f[1] != "1" || f[4] != "grpc" || len(f[5]) < 50 {
				t.Errorf("%q passes", line)
			}
		} else if !errors.As(err, &e) || !e.Cause.Permanent() || !utf8.ValidString(e.Reason) {
			t.Errorf("%q: %#v", line, err)
		}
	})
}

func FuzzOutput(f *testing.F) {
	for _, s := range []string{
		"plain\n\n\r\n", "[WARN] careful\n[\n[ERR]\n", `{"@level":"error","@message":"m","@x":1,"a":{"b":null}}` + "\n", "{\n",
		"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\npanic: no\n12\n", strings.Repeat("a\xff", 5000), "panic: x\n" + strings.Repeat("at\n", 20),
	} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		write := func(parts ...[]byte) (lines, last []string) {
			log := newLogger(plugintest.NewHost(), &Options{LogRate: 1 << 20, Log: func(level pluginv1.LogLevel, text string) {
				lines = append(lines, level.String()+" "+text)
				if len(text) > maxLine || !utf8.ValidString(text) || strings.Contains(text, "\n") {
					t.Errorf("%q", text)
				}
			}})
			o := newOutput(log, new(tail))
			for _, part := range parts {
				if n, err := o.Write(part); n != len(part) || err != nil {
					t.Errorf("%d, %v", n, err)
				}
			}
			o.readAll(strings.NewReader(""))
			return lines, o.tail.get()
		}
		lines, last := write(b)
		at := min(int(cut), len(b))
		lines2, last2 := write(b[:at], b[at:])
		if !slices.Equal(lines, lines2) || !slices.Equal(last, last2) {
			t.Errorf("%q and %q differ when written in two parts: %q, %q", b[:at], b[at:], lines, lines2)
		}
		if len(last) > maxTail || len(last) > len(lines) {
			t.Errorf("%q of %q", last, lines)
		}
	})
}

func FuzzParseReattach(f *testing.F) {
	f.Add(`{"a":{"protocol":"grpc","pid":1,"addr":{"network":"unix","string":"/x"}}}`)
	f.Add(`{"a":{"pid":1,"addr":{"network":"tcp","string":"127.0.0.1:1"}}}`)
	f.Fuzz(func(t *testing.T, value string) {
		if strings.Contains(value, "tcp") {
			return // a name would be looked up
		}
		plugins, err := ParseReattach(value)
		for name, r := range plugins {
			if err != nil || r.PID <= 0 || r.Addr.String == "" {
				t.Errorf("%s: %+v, %v", name, r, err)
			}
		}
	})
}

// TestThrottle writes more than a program may: it waits, until the process ends.
func TestThrottle(t *testing.T) {
	o := newOutput(newLogger(plugintest.NewHost(), &Options{LogRate: 1, Log: func(pluginv1.LogLevel, string) {}}), nil)
	block := make([]byte, 64<<10)
	began := time.Now()
	for range (outputBurst + outputRate/4) / len(block) {
		_, _ = o.Write(block)
	}
	if d := time.Since(began); d < 200*time.Millisecond {
		t.Errorf("5.25 MiB took %v", d)
	}
	o.hurry()
	began = time.Now()
	for range 4 * outputBurst / len(block) {
		_, _ = o.Write(block)
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("after the end 16 MiB took %v", d)
	}
}

// TestFifo compares the queue with a slice, and sees that it allocates nothing once it is large enough.
func TestFifo(t *testing.T) {
	var f fifo[int]
	var model []int
	for i := range 100_000 {
		if rand.IntN(2) == 0 || len(model) == 0 {
			f.push(i)
			model = append(model, i)
			continue
		}
		if got := f.pop(); got != model[0] {
			t.Fatalf("%d, not %d", got, model[0])
		}
		model = model[1:]
		if f.len() != len(model) {
			t.Fatalf("%d, not %d", f.len(), len(model))
		}
	}
	var g fifo[int]
	for range 8 {
		g.push(1)
	}
	if n := testing.AllocsPerRun(1000, func() { g.pop(); g.push(1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
