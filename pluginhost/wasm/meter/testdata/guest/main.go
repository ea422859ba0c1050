//go:build wasip1

// Command guest is what the tests and benchmarks of package meter take for a plugin: a reactor that decodes events
// from its input buffer, decides about each, and answers with one byte per event.
//
// An event is: length of the topic, topic, length of the payload, payload; lengths are two bytes, big endian.
package main

import (
	"encoding/binary"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

func main() {}

var (
	input   []byte
	verdict []byte
	seen    = map[string]uint32{}
)

// rules are Topic Filters with what they allow.
var rules = []struct {
	filter string
	allow  bool
}{
	{"$SYS/#", false},
	{"plant/+/secret/#", false},
	{"plant/+/line/+/temperature", true},
	{"plant/+/line/+/state", true},
	{"fleet/#", true},
}

//go:wasmexport buffer
func buffer(size uint32) uint32 {
	if uint32(len(input)) < size {
		input = make([]byte, size)
	}
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(input))))
}

// decide answers for the events in the first n bytes of the buffer: pointer to the verdicts, and their number.
//
//go:wasmexport decide
func decide(n uint32) uint64 {
	verdict = verdict[:0]
	for b := input[:n]; len(b) > 0; {
		var topic, payload []byte
		topic, b = field(b)
		payload, b = field(b)
		verdict = append(verdict, judge(topic, payload))
	}
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(verdict))))<<32 | uint64(len(verdict))
}

func field(b []byte) (value, rest []byte) {
	n := int(binary.BigEndian.Uint16(b))
	return b[2 : 2+n], b[2+n:]
}

func judge(topic, payload []byte) byte {
	if len(topic) == 0 || !utf8.Valid(topic) {
		return 0
	}
	t := string(topic)
	seen[t]++
	for _, r := range rules {
		if matches(r.filter, t) {
			if !r.allow {
				return 0
			}
			return 1 + digest(payload)&1
		}
	}
	return 0
}

func matches(filter, topic string) bool {
	for {
		level, rest, more := strings.Cut(filter, "/")
		if level == "#" {
			return true
		}
		have, left, deeper := strings.Cut(topic, "/")
		if level != "+" && level != have || more != deeper {
			return false
		}
		if !more {
			return true
		}
		filter, topic = rest, left
	}
}

func digest(payload []byte) byte {
	h := fnv.New32a()
	h.Write(payload)
	return byte(h.Sum32())
}

// parse reads the first n bytes of the buffer, times over, as "name=number,name=number,…" into a map, and adds up
// what is in it: the kind of code that makes garbage.
//
//go:wasmexport parse
func parse(n, times uint32) float64 {
	sum := 0.0
	for range times {
		values := map[string]float64{}
		for _, field := range strings.Split(string(input[:n]), ",") {
			name, text, _ := strings.Cut(field, "=")
			v, err := strconv.ParseFloat(text, 64)
			if err != nil {
				continue
			}
			values[strings.ToLower(name)] = v
		}
		names := make([]string, 0, len(values))
		for name := range values {
			names = append(names, name)
		}
		slices.Sort(names)
		for i, name := range names {
			sum += float64(i+1) * values[name]
		}
	}
	return sum
}

//go:wasmexport spin
func spin() {
	for i := 0; ; i++ {
		verdict = append(verdict[:0], byte(i))
	}
}

// hoard allocates without end.
//
//go:wasmexport hoard
func hoard() {
	var all [][]byte
	for {
		all = append(all, make([]byte, 1<<16))
		all[len(all)-1][0] = byte(len(all))
	}
}
